//! The code of a module: the chunks that its MD5 runs over.
//!
//! The digest is over the data of these chunks in [`SIGNIFICANT`]'s order; debug information, lines
//! and attributes are left out (OTP: `beam_lib.erl`, `beamfile.c`).

use md5::{Digest, Md5};

use super::BeamErrorKind;
use super::atoms::AtomTable;
use super::chunks::chunks;
use crate::md5_lanes;

/// Ids of the chunks of code, in the order in which they are digested.
const SIGNIFICANT: [&[u8; 4]; 9] = [
    b"Atom", b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT", b"FunT", b"LitT", b"Meta",
];
const ATOMS_LATIN1: usize = 0;
const ATOMS_UTF8: usize = 1;
pub(super) const IMPORTS: usize = 4;
pub(super) const EXPORTS: usize = 5;
const FUNS: usize = 6;
/// Code, StrT, ImpT and ExpT: no module is without them.
const REQUIRED: std::ops::Range<usize> = 2..6;

/// What of a file is its code.
pub(super) struct Code<'b> {
    pub name: String,
    chunks: [Option<&'b [u8]>; SIGNIFICANT.len()],
}

impl<'b> Code<'b> {
    /// Of a whole, unpacked file.
    pub fn of(bytes: &'b [u8]) -> Result<Self, BeamErrorKind> {
        let chunks = significant(bytes)?;
        let missing = BeamErrorKind::MissingChunk("AtU8");
        let table = atom_table(&chunks);
        let name = table
            .and_then(AtomTable::module)
            .ok_or(missing)?
            .into_owned();
        for required in REQUIRED {
            chunks[required].ok_or(BeamErrorKind::MissingChunk(chunk_name(required)))?;
        }
        Ok(Self { name, chunks })
    }

    pub fn atoms(&self) -> Option<AtomTable<'b>> {
        atom_table(&self.chunks)
    }

    /// A chunk by its place in [`SIGNIFICANT`].
    pub fn chunk(&self, index: usize) -> &'b [u8] {
        self.chunks[index].unwrap_or_default()
    }

    pub fn len(&self) -> usize {
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
    pub fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.len() + 2 * 64);
        self.feed(|bytes| message.extend_from_slice(bytes));
        md5_lanes::pad(&mut message);
        message
    }

    pub fn md5(&self) -> [u8; 16] {
        let mut md5 = Md5::new();
        self.feed(|bytes| md5.update(bytes));
        md5.finalize().into()
    }
}

/// The data of each significant chunk, by its index in [`SIGNIFICANT`].
fn significant(bytes: &[u8]) -> Result<[Option<&[u8]>; SIGNIFICANT.len()], BeamErrorKind> {
    let mut found = [None; SIGNIFICANT.len()];
    for chunk in chunks(bytes)? {
        let (id, data) = chunk?;
        if let Some(index) = SIGNIFICANT.iter().position(|known| **known == id)
            && found[index].replace(data).is_some()
        {
            return Err(BeamErrorKind::Malformed(offset(bytes, data) - 8));
        }
    }
    Ok(found)
}

/// Where a part of the file begins.
fn offset(bytes: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - bytes.as_ptr().addr()
}

fn chunk_name(index: usize) -> &'static str {
    std::str::from_utf8(SIGNIFICANT[index]).unwrap_or("?")
}

fn atom_table<'b>(chunks: &[Option<&'b [u8]>]) -> Option<AtomTable<'b>> {
    match (chunks[ATOMS_UTF8], chunks[ATOMS_LATIN1]) {
        (Some(table), _) => AtomTable::new(table, false),
        (None, Some(table)) => AtomTable::new(table, true),
        (None, None) => None,
    }
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
