//! BEAM files: the MD5 of a module's code, as `beam_lib:md5/1` and `module_info(md5)` give it, and
//! what its chunks say of it.
//!
//! A file is `FOR1`, size, `BEAM`, then chunks: four letters, big-endian size, data padded to four
//! bytes; or gzip of that. What is broken is an error and never a panic.

mod atoms;
mod chunks;
mod code;
mod error;
mod file;
mod info;
mod scan;

use std::path::{Path, PathBuf};

use crate::md5_lanes;
use code::Code;

pub use error::{BeamError, BeamErrorKind};
pub(crate) use file::{beam_files, read, unpacked};
pub use info::{Info, info, info_of};
pub use scan::scan;

/// Largest file that is read, and largest size that a compressed one may unpack to.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Most files that one scan reads.
pub const MAX_FILES: usize = 200_000;

/// One module of a scanned directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The module's name as the file's atom table has it (UTF-8).
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// MD5 of its code.
    pub md5: [u8; 16],
}

/// The module in the file at `path`.
pub fn module(path: &Path) -> Result<Module, BeamError> {
    let mut bytes = Vec::new();
    let digested = file::read(path, &mut bytes).and_then(|()| digest(&bytes));
    named(path, digested)
}

fn named(
    path: &Path,
    digested: Result<(String, [u8; 16]), BeamErrorKind>,
) -> Result<Module, BeamError> {
    let path = path.to_path_buf();
    match digested {
        Ok((name, md5)) => Ok(Module { name, path, md5 }),
        Err(kind) => Err(BeamError { path, kind }),
    }
}

/// Name and MD5 of the module in `bytes`, a whole file, compressed or not.
pub fn digest(bytes: &[u8]) -> Result<(String, [u8; 16]), BeamErrorKind> {
    with_code(bytes, |code| {
        let md5 = code.md5();
        (code.name, md5)
    })
}

/// For fuzzing: any bytes, digested alone and beside others, have one digest or none.
pub fn fuzz(bytes: &[u8]) {
    let message = with_code(bytes, |code| code.message());
    match (digest(bytes), message) {
        (Ok((_, md5)), Ok(message)) => assert_eq!(md5_lanes::digests(&[message]), [md5]),
        (Err(_), Err(_)) => {}
        _ => panic!("read once and not twice"),
    }
    if let (Ok(info), Ok((name, md5))) = (info_of(bytes), digest(bytes)) {
        assert_eq!((info.module, info.md5), (name, md5));
    }
}

fn with_code<R>(bytes: &[u8], take: impl FnOnce(Code<'_>) -> R) -> Result<R, BeamErrorKind> {
    Ok(take(Code::of(&file::unpacked(bytes)?)?))
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
