//! The errors of this room: a kind that says what happens next, and a sentence for a person.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::job::{Failure, Stop};

/// What is wrong with an archive, or with the place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Neither tar nor tar.gz, cut off, damaged, or of a kind of tar that is not read here.
    BadArchive,
    /// The name of an entry is absolute, leads upwards or is malformed.
    BadPath,
    /// A link leads out of the archive.
    LinkOutside,
    /// A device, a pipe or another thing that is neither file, directory nor link.
    SpecialFile,
    /// Two entries have one name.
    Duplicate,
    /// Too many bytes, in all or in one file, or far more than the packed ones promise.
    TooLarge,
    /// Too many entries.
    TooMany,
    /// Names that are too long or directories that are too deep.
    TooDeep,
    /// The archive is not there.
    NotFound,
    /// Something stands already where the archive is to be unpacked.
    Exists,
    /// The local disk is full.
    DiskFull,
    /// The local disk.
    Io,
    /// The job's deadline has passed.
    Timeout,
    /// The job was cancelled.
    Cancelled,
}

/// An error of this room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ArchiveError {
    /// What callers tell errors apart by.
    pub kind: Kind,
    /// A sentence that says what happened and, where it helps, what to do.
    pub message: String,
    /// The name of the entry, as the archive has it, in what can be shown of it.
    pub entry: Option<String>,
}

impl ArchiveError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            entry: None,
        }
    }

    /// An archive that makes no sense.
    pub(super) fn bad(message: impl fmt::Display) -> Self {
        Self::new(Kind::BadArchive, message)
    }

    /// The same error, about this entry.
    #[must_use]
    pub(super) fn about(mut self, name: &[u8]) -> Self {
        self.entry.get_or_insert_with(|| shown(name));
        self
    }

    /// An error of the local disk.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::DiskFull,
            _ => Kind::Io,
        };
        Self::new(kind, format!("{}: {error}", path.display()))
    }
}

/// A name as it may be shown: short and without control characters.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(200)]);
    text.chars().flat_map(char::escape_debug).collect()
}

impl From<Stop> for ArchiveError {
    fn from(stop: Stop) -> Self {
        let kind = match stop {
            Stop::Cancelled => Kind::Cancelled,
            Stop::Timeout => Kind::Timeout,
        };
        Self::new(kind, stop)
    }
}

impl From<Failure> for ArchiveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stopped(stop) => stop.into(),
            other => Self::new(Kind::Io, other),
        }
    }
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, ArchiveError>;
