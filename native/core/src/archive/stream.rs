//! The bytes of an archive: unpacked when they are packed, counted, and stopped in time.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::job::Control;

use super::error::{ArchiveError, Kind, Result};

/// What an archive may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most entries.
    pub entries: usize,
    /// The most bytes in one file.
    pub file_bytes: u64,
    /// The most bytes in all.
    pub bytes: u64,
    /// How many times more than its packed bytes it may be, once it is larger than [`RATIO_FROM`].
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            file_bytes: 2 << 30,
            bytes: 4 << 30,
            ratio: 200,
        }
    }
}

/// Small archives may be packed as well as they like.
const RATIO_FROM: u64 = 32 << 20;

/// How many bytes are read between two looks at the control.
const CHUNK: usize = 64 * 1024;

/// Writers fill up their last record with zeros; the usual one has 10 KiB.
const MAX_AFTER: usize = 1 << 20;

/// The size of tar's blocks.
pub(super) const BLOCK: usize = 512;

/// A stream of tar blocks.
pub(super) struct Stream<'a> {
    reader: Box<dyn Read + 'a>,
    control: &'a Control,
    read: u64,
    most: u64,
    ratio_limit: u64,
}

impl<'a> Stream<'a> {
    /// `packed` is the length of the archive as it is.
    pub(super) fn new(
        source: impl Read + 'a,
        packed: u64,
        limits: &Limits,
        control: &'a Control,
    ) -> Result<Self> {
        let mut source = BufReader::with_capacity(CHUNK, source);
        let magic = std::io::BufRead::fill_buf(&mut source).map_err(|error| damaged(&error))?;
        let reader: Box<dyn Read + 'a> = match magic {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
            _ => Box::new(source),
        };
        // Headers, padding and what follows the end are no content, and no free place either.
        let around = (limits.entries as u64).saturating_mul(4 * BLOCK as u64);
        Ok(Self {
            reader,
            control,
            read: 0,
            most: limits.bytes.saturating_add(around),
            ratio_limit: packed.saturating_mul(limits.ratio).max(RATIO_FROM),
        })
    }

    pub(super) fn control(&self) -> &'a Control {
        self.control
    }

    /// Fills a buffer; says how much of it, which is less at the end of the stream only.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.control.check()?;
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged(&error)),
            }
        }
        self.read += filled as u64;
        if self.read > self.most {
            return Err(ArchiveError::new(
                Kind::TooLarge,
                "the archive is too large",
            ));
        }
        if self.read > self.ratio_limit {
            let why = "the archive unpacks to far more than its size: it looks like a bomb";
            return Err(ArchiveError::new(Kind::TooLarge, why));
        }
        Ok(filled)
    }

    /// Reads that many bytes and hands them over in parts.
    pub(super) fn pass(
        &mut self,
        length: u64,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; CHUNK.min(length.try_into().unwrap_or(CHUNK))];
        let mut left = length;
        while left > 0 {
            let part = (buffer.len() as u64).min(left) as usize;
            if self.fill(&mut buffer[..part])? < part {
                return Err(cut_off());
            }
            each(&buffer[..part])?;
            left -= part as u64;
        }
        self.padding(length)
    }

    fn padding(&mut self, length: u64) -> Result<()> {
        let padding = (BLOCK as u64 - length % BLOCK as u64) % BLOCK as u64;
        let mut rest = [0; BLOCK];
        match self.fill(&mut rest[..padding as usize])? == padding as usize {
            true => Ok(()),
            false => Err(cut_off()),
        }
    }

    /// After the last block there is nothing but some zeros. Reading them checks the sum of a gzip
    /// stream.
    pub(super) fn end(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        for _ in 0..MAX_AFTER / CHUNK {
            let count = self.fill(&mut buffer)?;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                break;
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
        Err(ArchiveError::bad(
            "something follows the end of the archive",
        ))
    }
}

pub(super) fn cut_off() -> ArchiveError {
    ArchiveError::bad("the archive is cut off")
}

fn damaged(error: &std::io::Error) -> ArchiveError {
    ArchiveError::bad(format!("the archive can't be read: {error}"))
}
