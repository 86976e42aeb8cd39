//! The files of builds on disk.

use bc_gitops_core::store::{self, Sealed, Space};
use rustler::{Binary, Encoder, Env, Error, NifResult, Term};

use crate::atoms;
use crate::errors::{Failure, binary};
use crate::files::as_path;
use crate::terms::map;

#[rustler::nif(schedule = "DirtyIo")]
fn store_seal<'a>(env: Env<'a>, dir: Binary<'a>) -> Result<Term<'a>, Failure> {
    Ok(encode_sealed(env, store::seal(as_path(&dir))?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn store_check<'a>(
    env: Env<'a>,
    dir: Binary<'a>,
    files: Binary<'a>,
) -> NifResult<Result<Term<'a>, Failure>> {
    let files = files.as_slice().try_into().map_err(|_| Error::BadArg)?;
    let stamp = store::check(as_path(&dir), files);
    Ok(stamp
        .map(|stamp| binary(env, &stamp))
        .map_err(Failure::from))
}

#[rustler::nif(schedule = "DirtyIo")]
fn store_stamp<'a>(env: Env<'a>, dir: Binary<'a>) -> Result<Term<'a>, Failure> {
    Ok(binary(env, &store::stamp(as_path(&dir))?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn disk_space<'a>(env: Env<'a>, path: Binary<'a>) -> Result<Term<'a>, Failure> {
    Ok(encode_space(env, store::space(as_path(&path))?))
}

fn encode_sealed(env: Env<'_>, sealed: Sealed) -> Term<'_> {
    let pairs = [
        (atoms::files(), binary(env, &sealed.files)),
        (atoms::count(), sealed.count.encode(env)),
        (atoms::bytes(), sealed.bytes.encode(env)),
    ];
    map(env, &pairs)
}

fn encode_space(env: Env<'_>, space: Space) -> Term<'_> {
    let pairs = [
        (atoms::free(), space.free.encode(env)),
        (atoms::total(), space.total.encode(env)),
        (atoms::free_files(), space.free_files.encode(env)),
        (atoms::total_files(), space.total_files.encode(env)),
    ];
    map(env, &pairs)
}
