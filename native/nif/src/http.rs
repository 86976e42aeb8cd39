//! Downloads.

use bc_gitops_core::http::{DEFAULT_MAX_BYTES, Download, Downloaded, Progress, Target};
use rustler::{Binary, Encoder, Env, Error, LocalPid, NifResult, Term};

use crate::atoms;
use crate::errors::binary;
use crate::git::decode_auth;
use crate::job::{self, Spoken};
use crate::terms::{map, need, optional, path_of, text};

impl Spoken for Download {
    fn answer(env: Env<'_>, done: Downloaded) -> Term<'_> {
        map(
            env,
            &[
                (atoms::bytes(), done.bytes.encode(env)),
                (atoms::sha256(), binary(env, &done.sha256)),
                (atoms::resumed(), done.resumed.encode(env)),
            ],
        )
    }

    fn progress(env: Env<'_>, progress: Progress) -> Term<'_> {
        let total = progress
            .total_bytes
            .map_or(atoms::undefined().encode(env), |total| total.encode(env));
        map(
            env,
            &[
                (atoms::received_bytes(), progress.received_bytes.encode(env)),
                (atoms::total_bytes(), total),
            ],
        )
    }
}

#[rustler::nif]
fn download_start<'a>(
    env: Env<'a>,
    request: Term<'a>,
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    job::start(env, request, decode_download(request)?, (pid, reference))
}

fn decode_download(request: Term<'_>) -> NifResult<Download> {
    let sha256 = match optional::<Binary>(request, atoms::sha256())? {
        Some(digest) => Some(digest.as_slice().try_into().map_err(|_| Error::BadArg)?),
        None => None,
    };
    Ok(Download {
        url: text(request, atoms::url())?,
        target: Target {
            path: path_of(&need(request, atoms::path())?),
            max_bytes: optional(request, atoms::max_bytes())?.unwrap_or(DEFAULT_MAX_BYTES),
            sha256,
            unfinished: optional::<Binary>(request, atoms::unfinished())?
                .map(|path| path_of(&path)),
        },
        auth: decode_auth(need(request, atoms::auth())?)?,
    })
}
