//! The bytes of files, compressed or not, within limits.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{BeamErrorKind, MAX_BYTES};

const GZIP: [u8; 2] = [0x1f, 0x8b];

pub(crate) fn is_beam(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "beam")
}

/// The BEAM files of a directory, in no order.
pub(crate) fn beam_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if is_beam(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The kind is asked for before the file is opened: opening a pipe would wait for its writer.
pub(crate) fn read(path: &Path, buffer: &mut Vec<u8>) -> Result<(), BeamErrorKind> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(BeamErrorKind::NotAFile);
    }
    bounded(File::open(path)?, metadata.len(), buffer)
}

/// What is in the file: unpacked if it is packed.
pub(crate) fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, BeamErrorKind> {
    if !bytes.starts_with(&GZIP) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut unpacked = Vec::new();
    let expected = 4 * bytes.len() as u64;
    bounded(MultiGzDecoder::new(bytes), expected, &mut unpacked)?;
    Ok(Cow::Owned(unpacked))
}

fn bounded(from: impl Read, expected: u64, into: &mut Vec<u8>) -> Result<(), BeamErrorKind> {
    into.clear();
    into.reserve(expected.min(MAX_BYTES) as usize + 1);
    from.take(MAX_BYTES + 1).read_to_end(into)?;
    if into.len() as u64 > MAX_BYTES {
        return Err(BeamErrorKind::TooLarge);
    }
    Ok(())
}
