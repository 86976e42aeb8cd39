//! Submodules: fetched into directories of their own, with the same credentials, limits and grammar.
//!
//! Neither the name of a submodule nor `.git/modules` is used: its place is the path of its entry in
//! the tree, which libgit2 has checked and written as an empty directory.

use std::path::Path;

use git2::{Oid, Repository};

use super::checkout::Job;
use super::error::{Fact, GitError, Kind, Result};
use super::worktree::Contents;
use crate::url::Url;

/// Submodules in submodules.
const MAX_DEPTH: usize = 8;

/// Submodules of one repository.
const MAX_COUNT: usize = 200;

/// Brings all submodules of a work tree to the commits that its commit names.
pub(crate) fn update(
    job: &Job<'_>,
    parent: &Url,
    path: &Path,
    repository: &Repository,
    contents: &Contents,
    depth: usize,
) -> Result<()> {
    if contents.submodules.is_empty() {
        return Ok(());
    }
    if depth >= MAX_DEPTH || contents.submodules.len() > MAX_COUNT {
        let message =
            format!("more than {MAX_COUNT} submodules, or more than {MAX_DEPTH} in one another");
        return Err(GitError::new(Kind::Submodule, message).with(Fact::Path, path.display()));
    }
    for (name, commit) in &contents.submodules {
        one(job, parent, path, repository, name, *commit, depth)
            .map_err(|error| named(error, name))?;
    }
    Ok(())
}

fn one(
    job: &Job<'_>,
    parent: &Url,
    path: &Path,
    repository: &Repository,
    name: &str,
    commit: Oid,
    depth: usize,
) -> Result<()> {
    let missing = || GitError::new(Kind::Submodule, "`.gitmodules` has no url for it");
    let submodule = repository.find_submodule(name).map_err(|_| missing())?;
    let url = submodule.url().ok().flatten().ok_or_else(missing)?;
    let url = parent.join(url, job.auth.policy)?;
    job.control.check()?;
    job.bring(
        &url,
        &path.join(name),
        &commit.to_string(),
        false,
        depth + 1,
    )
    .map(drop)
}

/// Says which submodule failed. What stops the whole job keeps its kind.
fn named(error: GitError, name: &str) -> GitError {
    let kind = match error.kind {
        Kind::Timeout | Kind::Cancelled | Kind::TooLarge | Kind::Unreachable => error.kind,
        _ => Kind::Submodule,
    };
    let message = format!("submodule {name}: {}", error.message);
    GitError {
        kind,
        message,
        ..error
    }
    .with(Fact::Submodule, name)
}
