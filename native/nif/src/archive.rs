//! Unpacking.

use bc_gitops_core::archive::{Limits, Unpack, Unpacked};
use rustler::{Encoder, Env, LocalPid, NifResult, Term};

use crate::atoms;
use crate::job::{self, Spoken};
use crate::terms::{map, need, optional, path_of};

impl Spoken for Unpack {
    fn answer(env: Env<'_>, done: Unpacked) -> Term<'_> {
        Self::progress(env, done)
    }

    fn progress(env: Env<'_>, progress: Unpacked) -> Term<'_> {
        map(
            env,
            &[
                (atoms::entries(), progress.entries.encode(env)),
                (atoms::bytes(), progress.bytes.encode(env)),
            ],
        )
    }
}

#[rustler::nif]
fn unpack_start<'a>(
    env: Env<'a>,
    request: Term<'a>,
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    let unpack = Unpack {
        archive: path_of(&need(request, atoms::archive())?),
        path: path_of(&need(request, atoms::path())?),
        limits: decode_limits(request)?,
    };
    job::start(env, request, unpack, (pid, reference))
}

fn decode_limits(request: Term<'_>) -> NifResult<Limits> {
    let mut limits = Limits::default();
    let Ok(given) = request.map_get(atoms::limits()) else {
        return Ok(limits);
    };
    if let Some(entries) = optional(given, atoms::entries())? {
        limits.entries = entries;
    }
    for (key, place) in [
        (atoms::file_bytes(), &mut limits.file_bytes),
        (atoms::bytes(), &mut limits.bytes),
        (atoms::ratio(), &mut limits.ratio),
    ] {
        if let Some(value) = optional(given, key)? {
            *place = value;
        }
    }
    Ok(limits)
}
