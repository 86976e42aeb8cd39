//! Reading maps of options, and writing maps.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustler::{Atom, Binary, Decoder, Env, Error, NifResult, Term};

use crate::atoms;

pub fn need<'a, T: Decoder<'a>>(term: Term<'a>, key: Atom) -> NifResult<T> {
    term.map_get(key).map_err(|_| Error::BadArg)?.decode()
}

/// Text that is no UTF-8 fails the grammar of urls and refs, not the call.
pub fn text(term: Term<'_>, key: Atom) -> NifResult<String> {
    let bytes: Binary = need(term, key)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub fn optional<'a, T: Decoder<'a>>(term: Term<'a>, key: Atom) -> NifResult<Option<T>> {
    match term.map_get(key) {
        Ok(value)
            if value
                .decode::<Atom>()
                .is_ok_and(|atom| atom == atoms::undefined()) =>
        {
            Ok(None)
        }
        Ok(value) => value.decode().map(Some),
        Err(_) => Ok(None),
    }
}

pub fn path_of(path: &Binary<'_>) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

pub fn map<'a>(env: Env<'a>, pairs: &[(Atom, Term<'a>)]) -> Term<'a> {
    pairs.iter().fold(Term::map_new(env), |map, (key, value)| {
        map.map_put(*key, *value).unwrap_or(map)
    })
}
