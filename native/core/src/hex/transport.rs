//! What this room needs of HTTP.

use std::path::Path;

use super::error::{Fact, HexError, Kind};
use super::repo::Repo;

/// Gets files of repositories.
pub(super) trait Transport: Sync {
    /// A small file, unless it is still the one with this entity tag.
    fn get(
        &self,
        repo: &Repo,
        path: &str,
        etag: Option<&str>,
        limit: u64,
    ) -> Result<Answer, Trouble>;

    /// A file onto disk; `progress` hears of bytes received and, where known, in all.
    fn download(
        &self,
        repo: &Repo,
        path: &str,
        to: &Path,
        limit: u64,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Trouble>;
}

/// What a repository answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The file is the one that we have.
    Unchanged,
    /// The file.
    Found {
        /// Its bytes as they travel.
        body: Vec<u8>,
        /// Its entity tag.
        etag: Option<String>,
    },
}

/// Why there is no answer. Texts hold no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Status 404, 410, or 403 to somebody without a key: hex.pm answers so for what is not there.
    NotFound,
    /// Status 401, or 403 to somebody with a key.
    Unauthorized,
    /// More bytes than allowed.
    TooLarge,
    /// Anything else, in words.
    Unreachable(String),
    /// What has nothing to do with the repository: the job ends, the disk is full.
    Other(HexError),
}

impl Trouble {
    /// The error, when it is not about a missing file.
    pub(super) fn about(self, repo: &Repo, what: &str) -> HexError {
        let name = &repo.name;
        let (kind, message) = match self {
            Trouble::NotFound => (
                Kind::RegistryUnreachable,
                format!("repository {name} names {what} and does not have it; try again later"),
            ),
            Trouble::Unauthorized => (Kind::RegistryUnauthorized, unauthorized(repo, what)),
            Trouble::TooLarge => (
                Kind::TooLarge,
                format!("{what} of repository {name} is larger than allowed"),
            ),
            Trouble::Unreachable(reason) => (
                Kind::RegistryUnreachable,
                format!("repository {name} cannot be reached for {what}: {reason}"),
            ),
            Trouble::Other(error) => return error.with(Fact::Repo, name),
        };
        HexError::new(kind, message).with(Fact::Repo, name)
    }
}

fn unauthorized(repo: &Repo, what: &str) -> String {
    let name = &repo.name;
    match repo.auth_key {
        Some(_) => format!("repository {name} refuses the configured auth key for {what}"),
        None => {
            format!("repository {name} wants an auth key for {what}; add it to hex_repos")
        }
    }
}
