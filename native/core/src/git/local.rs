//! Reading and moving a local clone; no network.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{ErrorCode, Repository};

use crate::job::Control;

use super::error::{Fact, GitError, Kind, Result};
use super::place::{self, Place};
use super::{grammar, lock, options, worktree};

/// How long a local call waits for a job on the same path.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Local calls hold their locks under this number, which no job has.
const LOCAL: u64 = 0;

/// One commit of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The commit id.
    pub hash: String,
    /// The author's name, as the commit has it.
    pub author: Vec<u8>,
    /// The author's address.
    pub email: Vec<u8>,
    /// Seconds since 1970, UTC.
    pub timestamp: i64,
    /// The first paragraph of the message on one line.
    pub subject: Vec<u8>,
}

/// The commit that HEAD names.
pub fn head(path: &[u8]) -> Result<String> {
    let (path, repository) = open(path)?;
    head_commit(&path, &repository).map(|commit| commit.id().to_string())
}

/// The newest commits that HEAD leads to, in the order of `git log`: by time, and those of one second
/// as they are found. Reads no more of the history than it answers.
pub fn log(path: &[u8], count: usize) -> Result<Vec<LogEntry>> {
    let (path, repository) = open(path)?;
    let head = head_commit(&path, &repository)?;
    let mut entries = Vec::new();
    let mut seen = HashSet::from([head.id()]);
    let mut found = 0_usize;
    let mut next = BinaryHeap::from([(head.time().seconds(), Reverse(found), head.id())]);
    while entries.len() < count
        && let Some((_, _, id)) = next.pop()
    {
        let commit = repository
            .find_commit(id)
            .map_err(|error| place::local(&path, &error))?;
        // The parents of a shallow clone's oldest commits are not there.
        for parent in commit.parents().filter(|parent| seen.insert(parent.id())) {
            found += 1;
            next.push((parent.time().seconds(), Reverse(found), parent.id()));
        }
        entries.push(entry(&commit));
    }
    Ok(entries)
}

/// Moves the work tree to a branch, tag or commit that the clone has.
pub fn checkout(path: &[u8], reference: &str) -> Result<()> {
    grammar::reference(reference)?;
    let control = Control::new(LOCAL, LOCK_WAIT);
    let held = grammar::path(path)?;
    let lock = lock::acquire(&held, &control)?;
    let (path, repository) = open(path)?;
    let target = worktree::resolve(&repository, reference)?
        .ok_or_else(|| worktree::ref_missing(reference).with(Fact::Path, path.display()))?;
    place::sweep(&path)?;
    worktree::write(
        &repository,
        &path,
        &target,
        &worktree::Limits {
            clean: false,
            max_bytes: u64::MAX,
        },
    )?;
    drop(lock);
    Ok(())
}

/// Opens the repository at a path.
fn open(path: &[u8]) -> Result<(PathBuf, Repository)> {
    options::set();
    let path = grammar::path(path)?;
    match place::inspect(&path)? {
        Place::Clone(repository) => Ok((path, repository)),
        Place::Damaged(error) => Err(error),
        Place::Free => {
            let message = format!("{} holds no repository", path.display());
            Err(GitError::new(Kind::NotFound, message).with(Fact::Path, path.display()))
        }
    }
}

fn head_commit<'r>(path: &Path, repository: &'r Repository) -> Result<git2::Commit<'r>> {
    repository
        .head()
        .and_then(|head| head.peel_to_commit())
        .map_err(|error| match error.code() {
            ErrorCode::UnbornBranch | ErrorCode::NotFound => {
                GitError::new(Kind::EmptyRepository, "the repository has no commit yet")
                    .with(Fact::Path, path.display())
            }
            _ => place::local(path, &error),
        })
}

fn entry(commit: &git2::Commit<'_>) -> LogEntry {
    let author = commit.author();
    LogEntry {
        hash: commit.id().to_string(),
        author: author.name_bytes().to_vec(),
        email: author.email_bytes().to_vec(),
        timestamp: author.when().seconds(),
        subject: commit.summary_bytes().unwrap_or_default().to_vec(),
    }
}
