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
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn chunk(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = chunks.concat();
        let mut bytes = b"FOR1".to_vec();
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(b"BEAM");
        bytes.extend(body);
        bytes
    }

    fn sample() -> Vec<Vec<u8>> {
        let mut funs = 1_u32.to_be_bytes().to_vec();
        funs.extend(1..=24);
        vec![
            chunk(b"AtU8", b"\0\0\0\x01\x04demo"),
            chunk(b"Code", b"code"),
            chunk(b"StrT", b""),
            chunk(b"ImpT", b"imp"),
            chunk(b"ExpT", b"exp"),
            chunk(b"FunT", &funs),
            chunk(b"Dbgi", b"not digested"),
        ]
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn digests_the_significant_chunks_in_order() {
        let mut md5 = Md5::new();
        md5.update(b"\0\0\0\x01\x04democodeimpexp\0\0\0\x01");
        md5.update((1..=20).collect::<Vec<u8>>());
        md5.update([0; 4]);
        let expected: [u8; 16] = md5.finalize().into();
        let plain = file(&sample());
        assert_eq!(digest(&plain).unwrap(), ("demo".to_owned(), expected));
        assert_eq!(digest(&gzip(&plain)).unwrap().1, expected);
    }

    #[test]
    fn reads_the_long_atom_table_of_otp_28() {
        let long = [b'x'; 300];
        let mut table = (-1_i32).to_be_bytes().to_vec();
        table.extend([0b0010_1000, 44]);
        table.extend(long);
        assert_eq!(first_atom(&table), Some(&long[..]));
        assert_eq!(first_atom(b"\xff\xff\xff\xff\x40demo"), Some(&b"demo"[..]));
    }

    #[test]
    fn names_what_is_wrong() {
        let chunks = sample();
        assert!(matches!(digest(b"FOR1"), Err(BeamErrorKind::NotBeam)));
        assert!(matches!(
            digest(&file(&chunks[1..])),
            Err(BeamErrorKind::MissingChunk("AtU8"))
        ));
        assert!(matches!(
            digest(&file(&chunks[..3])),
            Err(BeamErrorKind::MissingChunk("ImpT"))
        ));
        let twice = [&chunks[..], &chunks[1..2]].concat();
        assert!(matches!(
            digest(&file(&twice)),
            Err(BeamErrorKind::Malformed(_))
        ));
        let whole = file(&chunks);
        assert!(matches!(
            digest(&whole[..whole.len() - 6]),
            Err(BeamErrorKind::Malformed(_))
        ));
        assert!(matches!(digest(&GZIP), Err(BeamErrorKind::Io(_))));
    }

    #[test]
    fn a_gzip_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; MAX_BYTES as usize + 1]);
        assert!(matches!(digest(&bomb), Err(BeamErrorKind::TooLarge)));
    }

    #[test]
    fn scans_directories_and_names_the_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        let ebin = dir.path().to_path_buf();
        std::fs::write(ebin.join("demo.beam"), file(&sample())).unwrap();
        std::fs::write(ebin.join("demo.app"), b"{application, demo, []}.").unwrap();
        let found = scan(std::slice::from_ref(&ebin)).unwrap();
        assert_eq!((found.len(), found[0].name.as_str()), (1, "demo"));
        std::fs::create_dir(ebin.join("odd.beam")).unwrap();
        let one = scan(&[ebin.join("demo.beam"), ebin.join("demo.beam")]);
        assert_eq!(one.unwrap().len(), 2);
        let error = scan(&[ebin]).unwrap_err();
        assert!(matches!(error.kind, BeamErrorKind::NotAFile));
        assert!(error.path.ends_with("odd.beam"));
        assert!(matches!(
            scan(&["/no/such".into()]).unwrap_err().kind,
            BeamErrorKind::Io(_)
        ));
    }

    proptest! {
        #[test]
        fn never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = digest(&bytes);
        }

        #[test]
        fn never_panics_on_a_mutated_file(at in any::<prop::sample::Index>(), byte in any::<u8>(),
                                          cut in any::<prop::sample::Index>()) {
            let mut bytes = file(&sample());
            let length = bytes.len();
            bytes[at.index(length)] = byte;
            bytes.truncate(cut.index(length) + 1);
            let _ = digest(&bytes);
        }
    }
}
