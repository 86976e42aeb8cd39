//! Content by its digest: content ids, and jobs that verify, copy and lay out.

use bc_gitops_core::job::{Failure as Ended, Stop};
use bc_gitops_core::mesh::{Kind, Mcid, MeshError, Op, Outcome, Published};
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, Term};

use crate::atoms;
use crate::errors::{Detail, Failure, binary, io_kind};
use crate::job::{self, Spoken};
use crate::terms::{map, need, optional, path_of, text};

/// Bytes of a text that are looked at, more than any content id has.
const LONGEST_ID: usize = 200;

impl Spoken for Op {
    fn answer(env: Env<'_>, outcome: Outcome) -> Term<'_> {
        encode(env, &outcome)
    }

    fn progress(env: Env<'_>, bytes: u64) -> Term<'_> {
        map(env, &[(atoms::bytes(), bytes.encode(env))])
    }
}

#[rustler::nif]
fn mesh_mcid<'a>(env: Env<'a>, text: Binary<'a>) -> Result<Term<'a>, Failure> {
    // Longer ones are none, and this is a scheduler of the VM's own.
    let start = &text[..text.len().min(LONGEST_ID)];
    let id = Mcid::parse(&String::from_utf8_lossy(start))?;
    Ok(encode_id(env, &id))
}

#[rustler::nif]
fn mesh_start<'a>(
    env: Env<'a>,
    request: Term<'a>,
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    match decode(request)? {
        Ok(op) => job::start(env, request, op, (pid, reference)),
        Err(error) => Ok((atoms::error(), Failure::from(error)).encode(env)),
    }
}

/// A content id that is none is an error of its own, the rest is misuse.
fn decode(request: Term<'_>) -> NifResult<Result<Op, MeshError>> {
    let op: Atom = need(request, atoms::op())?;
    let path = |key| need::<Binary>(request, key).map(|path| path_of(&path));
    if op == atoms::manifest() {
        let path = path(atoms::path())?;
        return Ok(Ok(Op::Manifest { path }));
    }
    if op == atoms::lay_out() {
        return Ok(Ok(Op::LayOut {
            manifest: path(atoms::manifest())?,
            pieces: path(atoms::pieces())?,
            to: path(atoms::to())?,
        }));
    }
    if op == atoms::publish() {
        return Ok(Ok(Op::Publish {
            from: path(atoms::from())?,
            store: path(atoms::store())?,
            chunk: optional(request, atoms::chunk())?,
        }));
    }
    let id = match Mcid::parse(&text(request, atoms::mcid())?) {
        Ok(id) => id,
        Err(error) => return Ok(Err(error)),
    };
    let limit = need(request, atoms::limit())?;
    if op == atoms::verify() {
        let path = path(atoms::path())?;
        return Ok(Ok(Op::Verify { path, id, limit }));
    }
    if op == atoms::admit() {
        let (from, to) = (path(atoms::from())?, path(atoms::to())?);
        return Ok(Ok(Op::Admit {
            from,
            to,
            id,
            limit,
        }));
    }
    Err(Error::BadArg)
}

fn encode<'a>(env: Env<'a>, outcome: &Outcome) -> Term<'a> {
    let bytes = |bytes: u64| (atoms::bytes(), bytes.encode(env));
    match outcome {
        Outcome::Verified(size) => map(env, &[bytes(*size)]),
        Outcome::Listed {
            is_archive,
            bytes: size,
            pieces,
        } => {
            let kind = if *is_archive {
                atoms::archive()
            } else {
                atoms::files()
            };
            let pieces: Vec<Term> = pieces
                .iter()
                .map(|piece| {
                    let id = Mcid::of(Kind::Raw, &piece.digest);
                    (binary(env, id.to_string().as_bytes()), piece.size).encode(env)
                })
                .collect();
            map(
                env,
                &[
                    (atoms::kind(), kind.encode(env)),
                    bytes(*size),
                    (atoms::pieces(), pieces.encode(env)),
                ],
            )
        }
        Outcome::Laid(laid) => map(
            env,
            &[(atoms::files(), laid.files.encode(env)), bytes(laid.bytes)],
        ),
        Outcome::Published(Published { id, bytes: size }) => map(
            env,
            &[
                (atoms::mcid(), binary(env, id.to_string().as_bytes())),
                bytes(*size),
            ],
        ),
    }
}

fn encode_id<'a>(env: Env<'a>, id: &Mcid) -> Term<'a> {
    let kind = match id.kind() {
        Kind::Raw => atoms::raw(),
        Kind::Manifest => atoms::manifest(),
    };
    map(
        env,
        &[
            (atoms::kind(), kind.encode(env)),
            (atoms::digest(), binary(env, id.hex().as_bytes())),
            (atoms::mcid(), binary(env, id.to_string().as_bytes())),
        ],
    )
}

impl From<MeshError> for Failure {
    fn from(error: MeshError) -> Self {
        let bytes = |text: &String| Detail::Bytes(text.clone().into_bytes());
        match &error {
            MeshError::BadMcid(_) => Failure::new(atoms::bad_mcid(), &error),
            MeshError::BadManifest(_) => Failure::new(atoms::bad_manifest(), &error),
            MeshError::Mismatch { expected, found } => {
                Failure::new(atoms::content_mismatch(), &error)
                    .with(atoms::expected(), bytes(expected))
                    .with(atoms::found(), bytes(found))
            }
            MeshError::TooLarge { path, .. } => {
                Failure::new(atoms::too_large(), &error).with_path(path)
            }
            MeshError::NotAFile(path) | MeshError::Unpublishable { path, .. } => {
                Failure::new(atoms::not_a_file(), &error).with_path(path)
            }
            MeshError::Ended(ended) => {
                let kind = match ended {
                    Ended::Stopped(Stop::Cancelled) => atoms::cancelled(),
                    Ended::Stopped(Stop::Timeout) => atoms::timeout(),
                    _ => atoms::io(),
                };
                Failure::new(kind, ended)
            }
            MeshError::Io { path, error: io } => Failure::new(io_kind(io), &error).with_path(path),
        }
    }
}
