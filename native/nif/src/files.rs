//! BEAM files, digests and identicons.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bc_gitops_core::beam;
use bc_gitops_core::digest::{self, Algorithm};
use bc_gitops_core::identicon;
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term};

use crate::atoms;
use crate::errors::{Failure, binary};

/// `bc_gitops_identicon` gives the digest of what is longer.
const MAX_IDENTICON_INPUT: usize = 64 * 1024;

#[rustler::nif(schedule = "DirtyIo")]
fn beam_md5<'a>(env: Env<'a>, path: Binary<'a>) -> Result<Term<'a>, Failure> {
    let module = beam::module(as_path(&path))?;
    Ok(binary(env, &module.md5))
}

#[rustler::nif(schedule = "DirtyIo")]
fn beam_scan<'a>(env: Env<'a>, dirs: Vec<Binary<'a>>) -> Result<Vec<Term<'a>>, Failure> {
    let dirs: Vec<PathBuf> = dirs.iter().map(|dir| as_path(dir).to_path_buf()).collect();
    Ok(beam::scan(&dirs)?
        .iter()
        .map(|module| encode_module(env, module))
        .collect())
}

#[rustler::nif(schedule = "DirtyIo")]
fn digest_file<'a>(
    env: Env<'a>,
    algorithm: Term<'a>,
    path: Binary<'a>,
) -> NifResult<Result<Term<'a>, Failure>> {
    let digest = digest::of_file(decode_algorithm(algorithm)?, as_path(&path));
    Ok(digest
        .map(|digest| binary(env, &digest))
        .map_err(Failure::from))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn digest_bytes<'a>(env: Env<'a>, algorithm: Term<'a>, bytes: Term<'a>) -> NifResult<Term<'a>> {
    let bytes = Binary::from_iolist(bytes)?;
    Ok(binary(
        env,
        &digest::of_bytes(decode_algorithm(algorithm)?, &bytes),
    ))
}

#[rustler::nif]
fn identicon<'a>(env: Env<'a>, input: Binary<'a>, size: u32) -> NifResult<Term<'a>> {
    let svg = identicon::svg(short_input(&input)?, size);
    Ok(binary(env, svg.as_bytes()))
}

#[rustler::nif]
fn identicon_uri<'a>(env: Env<'a>, input: Binary<'a>, size: u32) -> NifResult<Term<'a>> {
    let uri = identicon::data_uri(short_input(&input)?, size);
    Ok(binary(env, &uri))
}

/// Hashing more would hold the scheduler for too long.
fn short_input<'b>(input: &'b Binary<'_>) -> NifResult<&'b [u8]> {
    if input.len() > MAX_IDENTICON_INPUT {
        return Err(Error::BadArg);
    }
    Ok(input.as_slice())
}

pub fn as_path<'a>(path: &'a Binary<'_>) -> &'a Path {
    Path::new(OsStr::from_bytes(path))
}

fn decode_algorithm(term: Term<'_>) -> NifResult<Algorithm> {
    let name: Atom = term.decode()?;
    if name == atoms::sha256() {
        Ok(Algorithm::Sha256)
    } else if name == atoms::blake3() {
        Ok(Algorithm::Blake3)
    } else {
        Err(Error::BadArg)
    }
}

fn encode_module<'a>(env: Env<'a>, module: &beam::Module) -> Term<'a> {
    let path = binary(env, module.path.as_os_str().as_bytes());
    (module.name.as_str(), path, binary(env, &module.md5)).encode(env)
}
