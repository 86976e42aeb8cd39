//! The errors of this room: a kind that says what happens next, and a sentence for a person.

use std::path::Path;
use std::{fmt, io};

use crate::job::{Failure, Stop};

/// What went wrong, as callers tell errors apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The repository has no package of this name, or does not show it to us.
    PackageNotFound,
    /// The package has no such version.
    VersionNotFound,
    /// The version that was asked for has been retired by its owner.
    VersionRetired,
    /// No set of versions satisfies all requirements.
    NoResolution,
    /// A tarball is not the one that the repository vouches for.
    ChecksumMismatch,
    /// The repository vouches for another tarball than when the lock was made.
    ChecksumChanged,
    /// A tarball contradicts itself.
    Tampered,
    /// An answer is not signed by the repository's key, or is signed for something else.
    BadSignature,
    /// A signed answer cannot be read.
    BadRegistry,
    /// A package's `metadata.config` cannot be read.
    BadMetadata,
    /// The repository cannot be reached, or answers with a failure of its own.
    RegistryUnreachable,
    /// The repository wants a key that we don't have, or refuses the one that we have.
    RegistryUnauthorized,
    /// A repository that nobody configured.
    UnknownRepo,
    /// A public key or an auth key that cannot be read.
    BadKey,
    /// A name or version outside the grammar.
    BadName,
    /// A lock that cannot be used, or that lacks something.
    BadLock,
    /// A limit on sizes or counts was passed.
    TooLarge,
    /// The job's deadline has passed.
    Timeout,
    /// The job was cancelled.
    Cancelled,
    /// The local disk is full.
    DiskFull,
    /// The local disk.
    Io,
}

/// Names of the further facts of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A package.
    Package,
    /// A version of it.
    Version,
    /// The newest versions that there are instead.
    Versions,
    /// A repository.
    Repo,
    /// The reason of a retirement.
    Reason,
    /// A path on the local disk.
    Path,
    /// A checksum that was expected.
    Expected,
    /// The checksum that was found.
    Found,
}

/// An error of a Hex job. Its texts hold no key and no user information of any url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HexError {
    /// What callers tell errors apart by.
    pub kind: Kind,
    /// A sentence that says what happened and, where it helps, what to do.
    pub message: String,
    /// Further facts by name.
    pub facts: Vec<(Fact, String)>,
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, HexError>;

impl HexError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            facts: Vec::new(),
        }
    }

    /// The same error with a further fact; what it knew of that name before stays.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: impl fmt::Display) -> Self {
        if self.facts.iter().all(|(name, _)| *name != fact) {
            self.facts.push((fact, value.to_string()));
        }
        self
    }

    /// The same error, about this version of a package.
    #[must_use]
    pub(super) fn about(self, name: &str, version: impl fmt::Display, repo: &str) -> Self {
        self.with(Fact::Package, name)
            .with(Fact::Version, version)
            .with(Fact::Repo, repo)
    }

    /// An error of the local disk.
    pub fn io(path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DiskFull,
            _ => Kind::Io,
        };
        Self::new(kind, format!("{}: {error}", path.display())).with(Fact::Path, path.display())
    }
}

impl From<Stop> for HexError {
    fn from(stop: Stop) -> Self {
        let kind = match stop {
            Stop::Cancelled => Kind::Cancelled,
            Stop::Timeout => Kind::Timeout,
        };
        Self::new(kind, stop)
    }
}

impl From<Failure> for HexError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stopped(stop) => stop.into(),
            Failure::Refused => Self::new(Kind::RegistryUnreachable, failure),
            Failure::Crashed | Failure::NoThread(_) => Self::new(Kind::Io, failure),
        }
    }
}
