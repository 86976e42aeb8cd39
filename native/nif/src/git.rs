//! Git jobs and local reads.

use bc_gitops_core::git::auth::Auth;
use bc_gitops_core::git::local::{self, LogEntry};
use bc_gitops_core::git::request::{
    CheckedOut, DEFAULT_MAX_BYTES, Followed, Listing, Mirrored, Op, Outcome, Progress, RefKind,
    Request,
};
use bc_gitops_core::url::Policy;
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, Term};

use crate::atoms;
use crate::errors::{Failure, binary};
use crate::job::{self, Spoken};
use crate::terms::{map, need, optional, path_of, text};

impl Spoken for Request {
    fn answer(env: Env<'_>, outcome: Outcome) -> Term<'_> {
        match outcome {
            Outcome::Listed(listing) => encode_listing(env, &listing),
            Outcome::Followed(followed) => encode_followed(env, &followed),
            Outcome::CheckedOut(done) => encode_checked_out(env, &done),
            Outcome::Mirrored(done) => encode_mirrored(env, &done),
            Outcome::Dropped(count) => map(env, &[(atoms::removed(), count.encode(env))]),
        }
    }

    fn progress(env: Env<'_>, progress: Progress) -> Term<'_> {
        map(
            env,
            &[
                (
                    atoms::received_objects(),
                    progress.received_objects.encode(env),
                ),
                (atoms::total_objects(), progress.total_objects.encode(env)),
                (atoms::received_bytes(), progress.received_bytes.encode(env)),
            ],
        )
    }
}

#[rustler::nif]
fn git_start<'a>(
    env: Env<'a>,
    request: Term<'a>,
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    job::start(env, request, decode_request(request)?, (pid, reference))
}

#[rustler::nif(schedule = "DirtyIo")]
fn git_head<'a>(env: Env<'a>, path: Binary<'a>) -> Result<Term<'a>, Failure> {
    Ok(binary(env, local::head(&path)?.as_bytes()))
}

#[rustler::nif(schedule = "DirtyIo")]
fn git_log<'a>(env: Env<'a>, path: Binary<'a>, count: usize) -> Result<Vec<Term<'a>>, Failure> {
    Ok(local::log(&path, count)?
        .iter()
        .map(|entry| encode_entry(env, entry))
        .collect())
}

#[rustler::nif(schedule = "DirtyIo")]
fn git_checkout<'a>(env: Env<'a>, path: Binary<'a>, reference: &str) -> Term<'a> {
    match local::checkout(&path, reference) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), Failure::from(error)).encode(env),
    }
}

fn decode_request(term: Term<'_>) -> NifResult<Request> {
    let op: Atom = need(term, atoms::op())?;
    let max_bytes = optional(term, atoms::max_bytes())?.unwrap_or(DEFAULT_MAX_BYTES);
    let auth = match term.map_get(atoms::auth()) {
        Ok(auth) => decode_auth(auth)?,
        Err(_) => Auth::default(),
    };
    Ok(Request {
        op: decode_op(op, term)?,
        auth,
        max_bytes,
    })
}

fn decode_op(op: Atom, term: Term<'_>) -> NifResult<Op> {
    let url = || text(term, atoms::url());
    let bytes = |key| need::<Binary>(term, key).map(|path| path.to_vec());
    let path = || bytes(atoms::path());
    let only = || Ok::<_, Error>(optional::<Vec<String>>(term, atoms::only())?.unwrap_or_default());
    let branch = || text(term, atoms::branch());
    let flag = |key| Ok::<_, Error>(optional(term, key)?.unwrap_or(false));
    if op == atoms::list() {
        Ok(Op::List {
            url: url()?,
            only: only()?,
        })
    } else if op == atoms::follow() {
        Ok(Op::Follow {
            url: url()?,
            path: path()?,
            branch: branch()?,
            repair: flag(atoms::repair())?,
        })
    } else if op == atoms::checkout() {
        let reference = text(term, atoms::ref_())?;
        Ok(Op::Checkout {
            url: url()?,
            path: path()?,
            reference,
            clean: flag(atoms::clean())?,
            mirrors: optional::<Binary>(term, atoms::mirrors())?.map(|path| path.to_vec()),
        })
    } else if op == atoms::clone() {
        Ok(Op::Clone {
            url: url()?,
            path: path()?,
            branch: branch()?,
        })
    } else if op == atoms::pull() {
        Ok(Op::Pull {
            path: path()?,
            branch: branch()?,
        })
    } else if op == atoms::mirror() {
        Ok(Op::Mirror {
            url: url()?,
            root: bytes(atoms::root())?,
            share: bytes(atoms::share())?,
        })
    } else if op == atoms::drop_mirrors() {
        Ok(Op::DropMirrors {
            root: bytes(atoms::root())?,
            only: only()?,
            keep: need(term, atoms::keep())?,
        })
    } else {
        Err(Error::BadArg)
    }
}

pub fn decode_auth(term: Term<'_>) -> NifResult<Auth> {
    let path = |key| Ok::<_, Error>(optional::<Binary>(term, key)?.map(|path| path_of(&path)));
    let flag = |key| Ok::<_, Error>(optional(term, key)?.unwrap_or(false));
    Ok(Auth {
        ssh_key: path(atoms::ssh_key())?,
        ssh_passphrase_file: path(atoms::ssh_passphrase_file())?,
        known_hosts: path(atoms::known_hosts())?,
        username: optional(term, atoms::username())?,
        token_file: path(atoms::token_file())?,
        token_env: optional(term, atoms::token_env())?,
        ca_file: path(atoms::ca_file())?,
        hosts: optional(term, atoms::hosts())?,
        policy: Policy {
            allow_http: flag(atoms::allow_http())?,
            allow_local: flag(atoms::allow_local())?,
        },
    })
}

fn encode_listing<'a>(env: Env<'a>, listing: &Listing) -> Term<'a> {
    let refs = listing
        .refs
        .iter()
        .map(|(name, id)| (binary(env, name.as_bytes()), binary(env, id.as_bytes())));
    let refs: Vec<(Term, Term)> = refs.collect();
    let head = listing
        .head
        .as_ref()
        .map_or(atoms::undefined().encode(env), |head| {
            binary(env, head.as_bytes())
        });
    let refs = Term::map_from_pairs(env, &refs).unwrap_or_else(|_| Term::map_new(env));
    map(env, &[(atoms::refs(), refs), (atoms::head(), head)])
}

fn encode_followed<'a>(env: Env<'a>, followed: &Followed) -> Term<'a> {
    let previous = followed.previous.as_ref();
    map(
        env,
        &[
            (atoms::commit(), binary(env, followed.commit.as_bytes())),
            (
                atoms::changed(),
                (previous != Some(&followed.commit)).encode(env),
            ),
            (
                atoms::previous(),
                previous.map_or(atoms::undefined().encode(env), |id| {
                    binary(env, id.as_bytes())
                }),
            ),
            (atoms::fetched_bytes(), followed.fetched_bytes.encode(env)),
        ],
    )
}

fn encode_checked_out<'a>(env: Env<'a>, done: &CheckedOut) -> Term<'a> {
    let kind = match done.kind {
        RefKind::Branch => atoms::branch(),
        RefKind::Tag => atoms::tag(),
        RefKind::Commit => atoms::commit(),
    };
    map(
        env,
        &[
            (atoms::commit(), binary(env, done.commit.as_bytes())),
            (atoms::kind(), kind.encode(env)),
            (atoms::fetched_bytes(), done.fetched_bytes.encode(env)),
        ],
    )
}

fn encode_mirrored<'a>(env: Env<'a>, done: &Mirrored) -> Term<'a> {
    let silent = done
        .silent
        .as_ref()
        .map_or(atoms::undefined().encode(env), |why| {
            binary(env, why.as_bytes())
        });
    map(
        env,
        &[
            (atoms::heard(), done.heard.encode(env)),
            (atoms::fetched_bytes(), done.fetched_bytes.encode(env)),
            (atoms::silent(), silent),
        ],
    )
}

fn encode_entry<'a>(env: Env<'a>, entry: &LogEntry) -> Term<'a> {
    map(
        env,
        &[
            (atoms::hash(), binary(env, entry.hash.as_bytes())),
            (atoms::author(), binary(env, &entry.author)),
            (atoms::email(), binary(env, &entry.email)),
            (atoms::timestamp(), entry.timestamp.encode(env)),
            (atoms::subject(), binary(env, &entry.subject)),
        ],
    )
}
