//! BEAM files: the MD5 of a module's code, as `beam_lib:md5/1` and `module_info(md5)` give it.
//!
//! A file is `FOR1`, size, `BEAM`, then chunks: four letters, big-endian size, data padded to four
//! bytes. The digest runs over the data of the chunks that make up the code, in [`SIGNIFICANT`]'s
//! order; debug information, lines and attributes are left out (OTP: `beam_lib.erl`, `beamfile.c`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use md5::{Digest, Md5};
use rayon::prelude::*;

use crate::{md5_lanes, pool};

/// Largest file that is read, and largest size that a compressed one may unpack to.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Most files that one scan reads.
pub const MAX_FILES: usize = 200_000;

/// How many files one thread reads and then digests side by side.
const GROUP: usize = 32;
/// How many bytes of code a file may have to be digested beside others.
const MAX_GROUPED: usize = 1024 * 1024;

/// Ids of the chunks of code, in the order in which they are digested.
const SIGNIFICANT: [&[u8; 4]; 9] = [
    b"Atom", b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT", b"FunT", b"LitT", b"Meta",
];
const ATOMS_LATIN1: usize = 0;
const ATOMS_UTF8: usize = 1;
const FUNS: usize = 6;
/// Code, StrT, ImpT and ExpT: no module is without them.
const REQUIRED: std::ops::Range<usize> = 2..6;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a file's code could not be digested.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct BeamError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: BeamErrorKind,
}

/// What is wrong with a BEAM file or with the directory it should be in.
#[derive(Debug, thiserror::Error)]
pub enum BeamErrorKind {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A directory, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// Larger than [`MAX_BYTES`], packed or unpacked.
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// More than [`MAX_FILES`] in one scan.
    #[error("more than {MAX_FILES} files")]
    TooMany,
    /// Does not begin as a BEAM file does.
    #[error("not a BEAM file")]
    NotBeam,
    /// Ends within a chunk, or has one of the code's chunks twice.
    #[error("malformed at byte {0}")]
    Malformed(usize),
    /// One of the chunks that every module has is not there.
    #[error("chunk {0} is missing")]
    MissingChunk(&'static str),
}

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
    let digested = read(path, &mut bytes).and_then(|()| digest(&bytes));
    named(path, digested)
}

/// All modules of `places`, each an `ebin` directory or a file; those of a directory are sorted by
/// file name. Files are read in parallel.
pub fn scan(places: &[PathBuf]) -> Result<Vec<Module>, BeamError> {
    let mut files = Vec::new();
    for place in places {
        let error = |kind| BeamError {
            path: place.clone(),
            kind,
        };
        if is_beam(place) && place.is_file() {
            files.push(place.clone());
        } else {
            let mut found = beam_files(place).map_err(|failed| error(failed.into()))?;
            found.sort_unstable();
            files.append(&mut found);
        }
        if files.len() > MAX_FILES {
            return Err(error(BeamErrorKind::TooMany));
        }
    }
    let groups: Result<Vec<Vec<Module>>, BeamError> =
        pool::run(|| files.par_chunks(GROUP).map(group).collect());
    Ok(groups?.into_iter().flatten().collect())
}

/// The modules of a few files, digested side by side; what is long would keep much in memory and is
/// digested by itself.
fn group(paths: &[PathBuf]) -> Result<Vec<Module>, BeamError> {
    let mut modules = Vec::with_capacity(paths.len());
    let mut messages = Vec::with_capacity(paths.len());
    let mut places = Vec::with_capacity(paths.len());
    let mut buffer = Vec::new();
    for path in paths {
        let mut message = None;
        let take = |code: Code<'_>| {
            let md5 = if code.len() > MAX_GROUPED {
                code.md5()
            } else {
                message = Some(code.message());
                [0; 16]
            };
            (code.name, md5)
        };
        let read = read(path, &mut buffer).and_then(|()| with_code(&buffer, take));
        if let Some(message) = message {
            places.push(modules.len());
            messages.push(message);
        }
        modules.push(named(path, read)?);
    }
    for (place, md5) in places.into_iter().zip(md5_lanes::digests(&messages)) {
        modules[place].md5 = md5;
    }
    Ok(modules)
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
}

fn with_code<R>(bytes: &[u8], take: impl FnOnce(Code<'_>) -> R) -> Result<R, BeamErrorKind> {
    if bytes.starts_with(&GZIP) {
        Ok(take(Code::of(&unpack(bytes)?)?))
    } else {
        Ok(take(Code::of(bytes)?))
    }
}

/// What of a file is its code.
struct Code<'b> {
    name: String,
    chunks: [Option<&'b [u8]>; SIGNIFICANT.len()],
}

impl<'b> Code<'b> {
    fn of(bytes: &'b [u8]) -> Result<Self, BeamErrorKind> {
        let chunks = chunks(bytes)?;
        let name = module_name(&chunks)?;
        for required in REQUIRED {
            chunks[required].ok_or(BeamErrorKind::MissingChunk(chunk_name(required)))?;
        }
        Ok(Self { name, chunks })
    }

    fn len(&self) -> usize {
        self.chunks.iter().flatten().map(|data| data.len()).sum()
    }

    /// Hands over what is digested, piece by piece.
    fn feed(&self, mut take: impl FnMut(&[u8])) {
        for (index, chunk) in self.chunks.iter().enumerate() {
            match chunk {
                Some(data) if index == FUNS => feed_funs(data, &mut take),
                Some(data) => take(data),
                None => {}
            }
        }
    }

    /// What is digested, as MD5 wants it at its end.
    fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.len() + 2 * 64);
        self.feed(|bytes| message.extend_from_slice(bytes));
        md5_lanes::pad(&mut message);
        message
    }

    fn md5(&self) -> [u8; 16] {
        let mut md5 = Md5::new();
        self.feed(|bytes| md5.update(bytes));
        md5.finalize().into()
    }
}

fn is_beam(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "beam")
}

fn beam_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
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
fn read(path: &Path, buffer: &mut Vec<u8>) -> Result<(), BeamErrorKind> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(BeamErrorKind::NotAFile);
    }
    bounded(File::open(path)?, metadata.len(), buffer)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, BeamErrorKind> {
    let mut unpacked = Vec::new();
    let expected = 4 * bytes.len() as u64;
    bounded(MultiGzDecoder::new(bytes), expected, &mut unpacked)?;
    Ok(unpacked)
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

/// The data of each significant chunk, by its index in [`SIGNIFICANT`].
fn chunks(bytes: &[u8]) -> Result<[Option<&[u8]>; SIGNIFICANT.len()], BeamErrorKind> {
    let is_beam = bytes.len() >= 12 && bytes.starts_with(b"FOR1") && &bytes[8..12] == b"BEAM";
    if !is_beam {
        return Err(BeamErrorKind::NotBeam);
    }
    let mut found = [None; SIGNIFICANT.len()];
    let mut position = 12;
    while position < bytes.len() {
        let malformed = || BeamErrorKind::Malformed(position);
        let (header, rest) = bytes[position..]
            .split_first_chunk::<8>()
            .ok_or_else(malformed)?;
        let [a, b, c, d, size @ ..] = *header;
        let size = u32::from_be_bytes(size) as usize;
        let data = rest.get(..size).ok_or_else(malformed)?;
        if let Some(index) = SIGNIFICANT.iter().position(|id| **id == [a, b, c, d])
            && found[index].replace(data).is_some()
        {
            return Err(malformed());
        }
        position += 8 + size.next_multiple_of(4);
    }
    Ok(found)
}

fn chunk_name(index: usize) -> &'static str {
    std::str::from_utf8(SIGNIFICANT[index]).unwrap_or("?")
}

/// The first atom of the table is the module's name. From OTP 28 on a negative count says that
/// lengths are in the compact form of operands; a name of up to 15 bytes has its length in the
/// upper half of one byte, a longer one (up to 2047) in eleven bits of two.
fn module_name(chunks: &[Option<&[u8]>]) -> Result<String, BeamErrorKind> {
    let missing = BeamErrorKind::MissingChunk("AtU8");
    let Some(table) = chunks[ATOMS_UTF8].or(chunks[ATOMS_LATIN1]) else {
        return Err(missing);
    };
    let name = first_atom(table).ok_or(BeamErrorKind::MissingChunk("AtU8"))?;
    if chunks[ATOMS_UTF8].is_none() {
        return Ok(name.iter().copied().map(char::from).collect());
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn first_atom(table: &[u8]) -> Option<&[u8]> {
    let (count, rest) = table.split_first_chunk::<4>()?;
    let (&first, rest) = rest.split_first()?;
    if i32::from_be_bytes(*count) >= 0 {
        return rest.get(..usize::from(first));
    }
    if first & 0b1000 == 0 {
        return rest.get(..usize::from(first >> 4));
    }
    let (&second, rest) = rest.split_first()?;
    rest.get(..usize::from(first & 0b1110_0000) << 3 | usize::from(second))
}

/// The last four of an entry's 24 bytes change with debug information and count as zero.
fn feed_funs(data: &[u8], take: &mut impl FnMut(&[u8])) {
    let (count, entries) = data.split_at(data.len().min(4));
    take(count);
    let mut whole = entries.chunks_exact(24);
    for entry in whole.by_ref() {
        take(&entry[..20]);
        take(&[0; 4]);
    }
    take(whole.remainder());
}

#[cfg(test)]
mod tests;
