//! The errors of this room: a kind that says what happens next, and a sentence for a person.

use std::fmt;

use crate::job::{Failure, Stop};
use crate::url::UrlError;

/// What went wrong, as callers tell errors apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The remote can't be reached, or answers with a failure of its own.
    Unreachable,
    /// The job's deadline has passed.
    Timeout,
    /// The job was cancelled.
    Cancelled,
    /// The remote wants credentials that we don't have, or refuses those that we have.
    AuthFailed,
    /// The SSH host key is unknown, changed or revoked.
    HostKey,
    /// The TLS certificate of the server isn't trusted.
    Certificate,
    /// There is no repository at the url or path.
    NotFound,
    /// The repository has no such branch.
    BranchNotFound,
    /// The repository has no commit at all.
    EmptyRepository,
    /// The url is outside the grammar, or of a kind that isn't allowed.
    BadUrl,
    /// The ref is outside the grammar.
    BadRef,
    /// The local path is outside the grammar, or holds something that isn't ours.
    BadPath,
    /// The commit holds entries that must not be written to disk.
    BadTree,
    /// A limit on received bytes, objects or refs was passed.
    TooLarge,
    /// No branch, tag or commit of this name.
    RefNotFound,
    /// A submodule is refused or can't be fetched.
    Submodule,
    /// The local repository is damaged.
    Corrupt,
    /// The path is in use by another job.
    Locked,
    /// The local disk.
    Io,
}

/// An error of a git job. Its texts hold no user information of any url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// What callers tell errors apart by.
    pub kind: Kind,
    /// A sentence that says what happened and, where it helps, what to do.
    pub message: String,
    /// The remote, without user information.
    pub url: Option<String>,
    /// Further facts by name, `fingerprint` or `path` for example.
    pub facts: Vec<(Fact, String)>,
}

/// Names of the further facts of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A path on the local disk.
    Path,
    /// A branch, tag or commit.
    Ref,
    /// The fingerprint of the key that the server showed.
    Fingerprint,
    /// A host name.
    Host,
    /// The path of a submodule in its repository.
    Submodule,
}

impl GitError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            url: None,
            facts: Vec::new(),
        }
    }

    /// The same error with a further fact.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: impl fmt::Display) -> Self {
        self.facts.push((fact, value.to_string()));
        self
    }

    /// The same error, about this remote unless it names one.
    #[must_use]
    pub fn about(mut self, url: &str) -> Self {
        self.url.get_or_insert_with(|| url.to_owned());
        self
    }

    /// An error of the local disk.
    pub fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Kind::Io, format!("{}: {error}", path.display())).with(Fact::Path, path.display())
    }

    /// An error of libgit2 about the local repository.
    pub fn local(error: &git2::Error) -> Self {
        use git2::{ErrorClass as Class, ErrorCode as Code};
        let kind = match (error.class(), error.code()) {
            (_, Code::Locked) => Kind::Locked,
            (Class::Os | Class::Filesystem, _) => Kind::Io,
            (
                Class::Odb
                | Class::Object
                | Class::Zlib
                | Class::Indexer
                | Class::Tree
                | Class::Sha1,
                _,
            ) => Kind::Corrupt,
            (Class::Reference | Class::Repository | Class::Config | Class::Index, _) => {
                Kind::Corrupt
            }
            _ => Kind::Io,
        };
        Self::new(kind, error.message())
    }
}

impl From<Stop> for Kind {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Kind::Cancelled,
            Stop::Timeout => Kind::Timeout,
        }
    }
}

impl From<Stop> for GitError {
    fn from(stop: Stop) -> Self {
        Self::new(stop.into(), stop)
    }
}

impl From<UrlError> for GitError {
    fn from(error: UrlError) -> Self {
        Self::new(Kind::BadUrl, error.message).about(&error.url)
    }
}

impl From<Failure> for GitError {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::Stopped(stop) => (*stop).into(),
            Failure::Refused => Kind::Unreachable,
            Failure::Crashed | Failure::NoThread(_) => Kind::Io,
        };
        Self::new(kind, failure)
    }
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, GitError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_url_stays() {
        let error = GitError::new(Kind::Io, "x").about("a").about("b");
        assert_eq!(error.url.as_deref(), Some("a"));
    }
}
