//! The entries of a tar stream: headers, and the long names of GNU and of POSIX before them.

use tar::{EntryType, Header};

use super::error::{ArchiveError, Kind, Result};
use super::pax;
use super::stream::{BLOCK, Stream, cut_off};

/// A long name or an extended header is never larger.
const MAX_EXTENSION: u64 = 64 * 1024;

/// One entry; its content, of `size` bytes, follows in the stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) what: What,
    pub(super) size: u64,
    pub(super) executable: bool,
    pub(super) mode: u32,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    File,
    Dir,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
}

/// What is said about an entry before it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    any: bool,
}

/// The next entry, or none at the end of the archive.
pub(super) fn next(stream: &mut Stream<'_>) -> Result<Option<Entry>> {
    let mut before = Before::default();
    loop {
        let Some(header) = header(stream)? else {
            if before.any {
                return Err(cut_off());
            }
            stream.end()?;
            return Ok(None);
        };
        let size = header
            .entry_size()
            .map_err(|_| ArchiveError::bad("the size of an entry is malformed"))?;
        if !extension(&header, size, &mut before, stream)? {
            return entry(&header, size, before).map(Some);
        }
    }
}

fn header(stream: &mut Stream<'_>) -> Result<Option<Header>> {
    let mut header = Header::new_old();
    let block = header.as_mut_bytes();
    if stream.fill(block)? < BLOCK {
        return Err(cut_off());
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let sum = sum(block);
    match header.cksum() {
        Ok(said) if said == sum => Ok(Some(header)),
        _ => Err(ArchiveError::bad(
            "neither tar nor tar.gz, or a damaged one: the sum of a header is wrong",
        )),
    }
}

/// The sum of a header's bytes, those of the sum itself taken for blanks.
pub(super) fn sum(block: &[u8]) -> u32 {
    let byte = |(at, byte): (usize, &u8)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    };
    block.iter().enumerate().map(byte).sum()
}

/// Reads what an extension says about the entry after it. Two extensions that name one thing can be
/// understood in two ways.
fn extension(
    header: &Header,
    size: u64,
    before: &mut Before,
    stream: &mut Stream<'_>,
) -> Result<bool> {
    let kind = header.entry_type();
    let known = [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ];
    if !known.contains(&kind) {
        return Ok(false);
    }
    if size > MAX_EXTENSION {
        return Err(ArchiveError::new(Kind::TooDeep, "a name is too long"));
    }
    let mut bytes = Vec::new();
    stream.pass(size, |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    let said = match kind {
        EntryType::GNULongName => pax::Records {
            path: Some(until_nul(bytes)),
            ..Default::default()
        },
        EntryType::GNULongLink => pax::Records {
            link: Some(until_nul(bytes)),
            ..Default::default()
        },
        _ => pax::parse(&bytes)?,
    };
    if kind == EntryType::XGlobalHeader {
        return match said == pax::Records::default() {
            true => Ok(true),
            false => Err(ArchiveError::bad("a global header names entries")),
        };
    }
    before.any = true;
    for (place, value) in [(&mut before.name, said.path), (&mut before.link, said.link)] {
        if value.is_some() && place.is_some() {
            return Err(ArchiveError::bad("an entry has two names"));
        }
        *place = place.take().or(value);
    }
    before.size = before.size.or(said.size);
    Ok(true)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn entry(header: &Header, size: u64, before: Before) -> Result<Entry> {
    let name = before
        .name
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let fail = |kind, why: &str| Err(ArchiveError::new(kind, why).about(&name));
    // A reader that takes the one and a reader that takes the other see two different archives.
    if before.size.is_some_and(|said| said != size) {
        return fail(Kind::BadArchive, "an entry has two sizes");
    }
    let link = || {
        let link = before.link.clone();
        link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
            .unwrap_or_default()
    };
    let what = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => What::Dir,
        EntryType::Regular | EntryType::Continuous => What::File,
        EntryType::Directory => What::Dir,
        EntryType::Symlink => What::Symlink(link()),
        EntryType::Link => What::HardLink(link()),
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            return fail(Kind::SpecialFile, "the archive holds a device or a pipe");
        }
        _ => {
            return fail(
                Kind::SpecialFile,
                "the archive holds an entry that is neither file, directory nor link",
            );
        }
    };
    if what != What::File && size > 0 {
        return fail(Kind::BadArchive, "an entry that is no file has content");
    }
    let mode = header.mode().unwrap_or(0o644);
    Ok(Entry {
        executable: mode & 0o111 != 0,
        mode,
        name,
        what,
        size,
    })
}
