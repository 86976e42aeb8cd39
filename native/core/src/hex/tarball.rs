//! A package's tarball, opened and verified.
//!
//! Source: `package_tarball.md` of <https://github.com/hexpm/specifications>: a tar file with
//! `VERSION` (3), `metadata.config`, `contents.tar.gz` and `CHECKSUM`. The inner checksum is the
//! SHA-256 of the first three one after another, in hex in the fourth; the outer one is that of the
//! whole file, and the repository signs it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::limits;
use super::metadata::{self, Metadata};

/// The formats of tarballs that there are today.
const VERSION: &[u8] = b"3";

/// What a tarball holds.
#[derive(Debug)]
pub(super) struct Tarball<F> {
    pub(super) metadata: Metadata,
    /// The inner checksum, in small hex digits.
    pub(super) inner: String,
    file: F,
    contents: Place,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    size: u64,
}

/// Why a tarball is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It contradicts itself, or is no tarball.
    Tampered(String),
    /// What the package says about itself cannot be read.
    Metadata(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Tampered(error.to_string())
    }
}

/// SHA-256 of an open file from its beginning, in small hex digits, in constant memory.
pub(super) fn checksum(mut file: &File) -> io::Result<String> {
    let mut hash = Sha256::new();
    file.rewind()?;
    feed(file, &mut hash)?;
    Ok(super::hex(&hash.finalize()))
}

fn feed(mut reader: impl Read, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut fed = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(fed),
            count => {
                hash.update(&buffer[..count]);
                fed += count as u64;
            }
        }
    }
}

/// What a repository vouches for is not what is here.
fn tampered(what: &str) -> Refused {
    Refused::Tampered(what.to_owned())
}

/// Opens a tarball whose outer checksum has been compared, and compares the inner one.
pub(super) fn open<F: Read + Seek>(mut file: F) -> Result<Tarball<F>, Refused> {
    let places = places(&mut file)?;
    let find = |name| {
        let place: Option<Place> = places.get(name).copied();
        place.ok_or_else(|| tampered(&format!("it has no {name}")))
    };
    let version = small(&mut file, find("VERSION")?, 16)?;
    if version != VERSION {
        return Err(tampered("its format is not version 3"));
    }
    let metadata = small(&mut file, find("metadata.config")?, limits::METADATA_BYTES)?;
    let contents = find("contents.tar.gz")?;
    let inner = inner_checksum(&[&version, &metadata], &mut file, contents)?;
    let said = small(&mut file, find("CHECKSUM")?, 128)?;
    if !said.eq_ignore_ascii_case(inner.as_bytes()) {
        return Err(tampered("its content is not what its CHECKSUM says"));
    }
    let metadata = metadata::read(&metadata).map_err(Refused::Metadata)?;
    Ok(Tarball {
        metadata,
        inner,
        file,
        contents,
    })
}

fn inner_checksum<F: Read + Seek>(
    before: &[&[u8]],
    file: &mut F,
    contents: Place,
) -> io::Result<String> {
    let mut hash = Sha256::new();
    before.iter().for_each(|bytes| hash.update(bytes));
    match feed(part(file, contents)?, &mut hash)? == contents.size {
        true => Ok(super::hex(&hash.finalize())),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl<F: Read + Seek> Tarball<F> {
    /// The package's files as a compressed tar file, and the length of that.
    pub(super) fn contents(&mut self) -> io::Result<(impl Read + '_, u64)> {
        Ok((part(&mut self.file, self.contents)?, self.contents.size))
    }
}

/// Where the files of a tar file are. Links, directories and names that stand twice are refused.
fn places<F: Read + Seek>(file: &mut F) -> Result<BTreeMap<String, Place>, Refused> {
    file.rewind()?;
    let mut archive = tar::Archive::new(file);
    let mut places = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || places.len() > 16 {
            return Err(Refused::Tampered(format!(
                "its entry {name:?} is no plain file"
            )));
        }
        let place = Place {
            at: entry.raw_file_position(),
            size: entry.size(),
        };
        if places.insert(name.clone(), place).is_some() {
            return Err(Refused::Tampered(format!("it has {name:?} twice")));
        }
    }
    Ok(places)
}

fn part<F: Read + Seek>(file: &mut F, place: Place) -> io::Result<io::Take<&mut F>> {
    file.seek(SeekFrom::Start(place.at))?;
    Ok(file.take(place.size))
}

fn small<F: Read + Seek>(file: &mut F, place: Place, limit: u64) -> Result<Vec<u8>, Refused> {
    if place.size > limit {
        return Err(Refused::Tampered(format!(
            "an entry has {} bytes",
            place.size
        )));
    }
    let mut bytes = Vec::new();
    part(file, place)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fuzz entry: any bytes are a tarball or not.
pub(super) fn fuzz(bytes: &[u8]) {
    if let Ok(mut tarball) = open(io::Cursor::new(bytes)) {
        let contents = tarball.contents();
        let _ = contents.map(|(mut contents, _)| io::copy(&mut contents, &mut io::sink()));
    }
}
