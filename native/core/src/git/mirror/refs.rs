//! The refs of a mirror: one file, so that they change at once, and HEAD.

use std::fs;
use std::path::Path;

use git2::{Oid, Reference};

use super::super::error::{GitError, Result};
use super::super::place;
use super::super::session::Head;

const PACKED: &str = "packed-refs";
/// Git finds out by itself what a tag names: that word would be the remote's.
const TITLE: &str = "# pack-refs with: sorted \n";

/// What a remote has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refs {
    packed: String,
    head: String,
    /// What all of them name.
    pub(super) ids: Vec<Oid>,
}

impl Refs {
    /// Full names with their ids; the short name of the default branch.
    pub(super) fn new<'a>(
        named: impl Iterator<Item = (&'a str, Oid)>,
        default: Option<&str>,
    ) -> Self {
        let mut named: Vec<_> = named
            .filter(|(name, _)| Reference::is_valid_name(name))
            .collect();
        named.sort_unstable();
        named.dedup_by_key(|(name, _)| *name);
        let lines = named.iter().map(|(name, id)| format!("{id} {name}\n"));
        let packed = TITLE.to_owned() + &lines.collect::<String>();
        let default = default
            .map(|name| format!("refs/heads/{name}"))
            .filter(|name| Reference::is_valid_name(name));
        Self {
            head: format!("ref: {}\n", default.as_deref().unwrap_or("refs/heads/main")),
            ids: ids(&packed),
            packed,
        }
    }

    /// Those of a mirror.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let git = place::git_dir(path);
        let packed = fs::read_to_string(git.join(PACKED)).ok()?;
        let head = fs::read_to_string(git.join("HEAD")).ok()?;
        Some(Self {
            head,
            ids: ids(&packed),
            packed,
        })
    }

    /// As a listing of the remote would have them.
    pub(super) fn heads(&self) -> Vec<Head> {
        let lines = self.packed.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter_map(|(id, name)| {
                Some(Head {
                    id: Oid::from_str(id).ok()?,
                    name: name.to_owned(),
                    target: None,
                })
            })
            .collect()
    }

    /// Writes them into the directory of a repository.
    pub(super) fn write(&self, git: &Path) -> Result<()> {
        whole(&git.join(PACKED), &self.packed)?;
        whole(&git.join("HEAD"), &self.head)
    }
}

fn ids(packed: &str) -> Vec<Oid> {
    let words = packed.lines().filter_map(|line| line.split(' ').next());
    let mut ids: Vec<_> = words.filter_map(|word| Oid::from_str(word).ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn whole(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("lock");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .map_err(|error| GitError::io(file, &error))
}
