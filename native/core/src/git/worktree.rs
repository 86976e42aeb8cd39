//! Writing a commit into a work tree.
//!
//! libgit2 refuses names that lead out of the tree (`..`, `.git` and its disguises). What it would
//! write without a question are symbolic links to anywhere and files of any size: the tree is walked
//! before anything is written.

use std::collections::BTreeMap;
use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{ObjectType, Oid, Repository};

use super::error::{Fact, GitError, Kind, Result};
use super::request::RefKind;
use super::{grammar, place};

const MODE_LINK: i32 = 0o120_000;
const MODE_SUBMODULE: i32 = 0o160_000;

/// Directories in directories.
const MAX_DEPTH: usize = 128;

/// Files in a tree.
const MAX_FILES: usize = 1_000_000;

/// Links followed for one link.
const MAX_HOPS: usize = 40;

/// A link's target is a path; it can't be longer.
const MAX_TARGET: usize = 4096;

/// A ref that was found in a clone.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) commit: Oid,
    pub(crate) kind: RefKind,
    pub(crate) name: String,
}

/// What a checkout may do.
pub(crate) struct Limits {
    /// Remove files that the commit doesn't have.
    pub(crate) clean: bool,
    /// The size of all files together.
    pub(crate) max_bytes: u64,
}

/// What a tree holds besides files.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) submodules: BTreeMap<String, Oid>,
    links: BTreeMap<String, String>,
    bytes: u64,
    files: usize,
}

/// Finds a branch of origin, a tag, or a commit by its full or short id, in this order.
pub(crate) fn resolve(repository: &Repository, name: &str) -> Result<Option<Target>> {
    let target = |commit, kind, name: &str| {
        Some(Target {
            commit,
            kind,
            name: name.to_owned(),
        })
    };
    let branch = name.strip_prefix("refs/heads/").unwrap_or(name);
    if let Some(commit) = commit_of(repository, &format!("refs/remotes/origin/{branch}")) {
        return Ok(target(commit, RefKind::Branch, branch));
    }
    let tag = name.strip_prefix("refs/tags/").unwrap_or(name);
    if let Some(commit) = commit_of(repository, &format!("refs/tags/{tag}")) {
        return Ok(target(commit, RefKind::Tag, tag));
    }
    if grammar::is_full_id(name) {
        let id = Oid::from_str(name).map_err(|error| GitError::local(&error))?;
        return Ok(repository
            .find_commit(id)
            .ok()
            .and_then(|commit| target(commit.id(), RefKind::Commit, name)));
    }
    if !grammar::is_short_id(name) {
        return Ok(None);
    }
    match repository.find_object_by_prefix(name, Some(ObjectType::Commit)) {
        Ok(found) => Ok(target(found.id(), RefKind::Commit, name)),
        Err(error) if error.code() == git2::ErrorCode::Ambiguous => {
            let message = format!(
                "more than one object begins with {name}: write more digits of the commit id"
            );
            Err(GitError::new(Kind::RefNotFound, message).with(Fact::Ref, name))
        }
        Err(_) => Ok(None),
    }
}

fn commit_of(repository: &Repository, name: &str) -> Option<Oid> {
    let reference = repository.find_reference(name).ok()?;
    reference.peel_to_commit().ok().map(|commit| commit.id())
}

/// The error of a ref that isn't there.
pub(crate) fn ref_missing(name: &str) -> GitError {
    GitError::new(
        Kind::RefNotFound,
        format!("no branch, tag or commit {name}"),
    )
    .with(Fact::Ref, name)
}

/// Checks the tree of a commit, writes it into the work tree and moves HEAD.
pub(crate) fn write(
    repository: &Repository,
    path: &Path,
    target: &Target,
    limits: &Limits,
) -> Result<Contents> {
    let failed = |error: git2::Error| place::local(path, &error);
    let commit = repository.find_commit(target.commit).map_err(failed)?;
    let contents = inspect(repository, &commit, limits)?;
    let mut options = CheckoutBuilder::new();
    options
        .force()
        .remove_untracked(limits.clean)
        .remove_ignored(limits.clean);
    repository
        .checkout_tree(commit.as_object(), Some(&mut options))
        .map_err(failed)?;
    move_head(repository, target).map_err(failed)?;
    Ok(contents)
}

fn move_head(repository: &Repository, target: &Target) -> std::result::Result<(), git2::Error> {
    if target.kind != RefKind::Branch {
        return repository.set_head_detached(target.commit);
    }
    let local = format!("refs/heads/{}", target.name);
    repository.reference(&local, target.commit, true, "bc_gitops: checkout")?;
    let mut config = repository.config()?;
    config.set_str(&format!("branch.{}.remote", target.name), "origin")?;
    config.set_str(&format!("branch.{}.merge", target.name), &local)?;
    repository.set_head(&local)
}

/// Walks a commit's tree; an error for what must not be written.
fn inspect(
    repository: &Repository,
    commit: &git2::Commit<'_>,
    limits: &Limits,
) -> Result<Contents> {
    let mut contents = Contents::default();
    walk(repository, commit.tree_id(), "", 0, limits, &mut contents)?;
    for (path, target) in &contents.links {
        if !stays_inside(&contents.links, path) {
            let message = format!(
                "the symbolic link {path} leads out of the repository, to {}",
                target.escape_debug()
            );
            return Err(bad_tree(message, path));
        }
    }
    Ok(contents)
}

fn walk(
    repository: &Repository,
    tree: Oid,
    prefix: &str,
    depth: usize,
    limits: &Limits,
    contents: &mut Contents,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(bad_tree(
            format!("more than {MAX_DEPTH} directories in one another"),
            prefix,
        ));
    }
    let tree = repository
        .find_tree(tree)
        .map_err(|error| GitError::local(&error))?;
    let odb = repository.odb().map_err(|error| GitError::local(&error))?;
    for entry in &tree {
        let name = &*String::from_utf8_lossy(entry.name_bytes());
        let path = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        check_name(name, &path)?;
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => {
                walk(repository, entry.id(), &path, depth + 1, limits, contents)?
            }
            (_, MODE_SUBMODULE) => drop(contents.submodules.insert(path, entry.id())),
            (_, mode) => {
                let (size, _) = odb
                    .read_header(entry.id())
                    .map_err(|error| GitError::local(&error))?;
                contents.count(size as u64, limits)?;
                if mode == MODE_LINK {
                    contents.links.insert(
                        path.clone(),
                        link_target(repository, entry.id(), size, &path)?,
                    );
                }
            }
        }
    }
    Ok(())
}

impl Contents {
    fn count(&mut self, size: u64, limits: &Limits) -> Result<()> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.files > MAX_FILES || self.bytes > limits.max_bytes {
            let message = format!(
                "the commit holds more than {MAX_FILES} files or {} bytes",
                limits.max_bytes
            );
            return Err(GitError::new(Kind::TooLarge, message));
        }
        Ok(())
    }
}

/// libgit2 refuses these too, in the middle of a checkout; here nothing is written yet.
fn check_name(name: &str, path: &str) -> Result<()> {
    let forbidden = matches!(name, "" | "." | "..")
        || name.contains(['/', '\\', '\0'])
        || name
            .trim_end_matches(['.', ' '])
            .eq_ignore_ascii_case(".git")
        || name.eq_ignore_ascii_case("git~1");
    if forbidden {
        return Err(bad_tree(
            format!("the file name `{}` is not allowed", path.escape_debug()),
            path,
        ));
    }
    Ok(())
}

fn link_target(repository: &Repository, blob: Oid, size: usize, path: &str) -> Result<String> {
    let refuse = || {
        bad_tree(
            format!("the symbolic link {path} has no readable target"),
            path,
        )
    };
    // A path that is no UTF-8 has no name of its own here, so links are not found by it.
    if size > MAX_TARGET || path.contains(char::REPLACEMENT_CHARACTER) {
        return Err(refuse());
    }
    let blob = repository
        .find_blob(blob)
        .map_err(|error| GitError::local(&error))?;
    String::from_utf8(blob.content().to_vec()).map_err(|_| refuse())
}

/// Follows a link through the links of the tree, as the system would.
fn stays_inside(links: &BTreeMap<String, String>, link: &str) -> bool {
    let mut at: Vec<String> = Vec::new();
    let mut todo: Vec<String> = link.split('/').rev().map(str::to_owned).collect();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                if at.pop().is_none() {
                    return false;
                }
                continue;
            }
            _ => at.push(part),
        }
        if let Some(target) = links.get(&at.join("/")) {
            hops += 1;
            if hops > MAX_HOPS {
                return true; // a loop: the system opens nothing through it
            }
            if target.starts_with('/') || target.contains('\0') {
                return false;
            }
            at.pop();
            todo.extend(target.split('/').rev().map(str::to_owned));
        }
    }
    true
}

fn bad_tree(message: String, path: &str) -> GitError {
    GitError::new(Kind::BadTree, message).with(Fact::Path, path.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(links: &[(&str, &str)], link: &str) -> bool {
        let links = links
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect();
        stays_inside(&links, link)
    }

    #[test]
    fn links() {
        assert!(inside(&[("a", "b/c")], "a"));
        assert!(inside(&[("d/a", "../b")], "d/a"));
        assert!(inside(&[("a", "b"), ("b", "a")], "a"));
        assert!(!inside(&[("a", "/etc/passwd")], "a"));
        assert!(!inside(&[("a", "..")], "a"));
        assert!(!inside(&[("d/a", "../../x")], "d/a"));
        assert!(
            !inside(&[("p/q", ".."), ("r", "p/q/../x")], "r"),
            "through another link"
        );
        assert!(!inside(&[("a", "b/../../x")], "a"));
    }

    #[test]
    fn names() {
        for bad in [
            ".git", ".GIT", ".git.", ".git ", "git~1", "..", ".", "", "a/b", "a\\b",
        ] {
            assert_eq!(
                check_name(bad, bad).unwrap_err().kind,
                Kind::BadTree,
                "{bad:?}"
            );
        }
        assert!(check_name(".gitignore", ".gitignore").is_ok());
    }
}
