//! Whether a build is still what was sealed.
//!
//! Every file of the list must be there with its content. Where code is looked for (directories named
//! `ebin` and `consolidated`) there must be nothing else; elsewhere an application may have put files
//! of its own beside those that it came with.

use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::OFlags;

use super::list::{self, Entry};
use super::walk::{Found, Tree, walk};
use super::{FILES, LIB, Result, Stamp, StoreError};
use crate::digest::{self, Algorithm};
use crate::pool;

/// Directories from which the VM loads whatever is in them.
const CODE: [&str; 2] = ["ebin", "consolidated"];

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It has other bytes.
    #[error("has changed")]
    Changed,
    /// It may be run and may not have been, or the other way round.
    #[error("has another mode")]
    Mode,
    /// Nobody sealed it, and it stands where code is loaded from.
    #[error("was not there when the build was made")]
    Stranger,
    /// It is a link or a device.
    #[error("is no file")]
    Special,
}

/// Compares the build in `dir` with what was sealed: `files` is the SHA-256 of its list. The stamp is
/// that of what was compared.
pub fn check(dir: &Path, files: &[u8; 32]) -> Result<Stamp> {
    pool::disk(|| {
        let listed = read_list(dir, files)?;
        let tree = tree(dir)?;
        let damaged = damaged(dir, &listed, &tree);
        let Some((path, damage)) = damaged.first() else {
            return stamp_of(dir, &tree);
        };
        Err(StoreError::Damaged {
            path: dir.join(path),
            damage: *damage,
            more: damaged.len() - 1,
        })
    })
}

/// The stamp of a build as it is now; reads no content.
pub fn stamp(dir: &Path) -> Result<Stamp> {
    stamp_of(dir, &tree(dir)?)
}

fn read_list(dir: &Path, files: &[u8; 32]) -> Result<Vec<Entry>> {
    let damaged = |damage| StoreError::Damaged {
        path: dir.join(FILES),
        damage,
        more: 0,
    };
    let bytes = std::fs::read(dir.join(FILES)).map_err(|error| missing_or(error, dir, FILES))?;
    if digest::of_bytes(Algorithm::Sha256, &bytes) != *files {
        return Err(damaged(Damage::Changed));
    }
    list::from_bytes(&bytes).ok_or(damaged(Damage::Changed))
}

fn tree(dir: &Path) -> Result<Tree> {
    match walk(dir, Path::new(LIB)) {
        Err(StoreError::Io { path, error }) if path == dir.join(LIB) => {
            Err(missing_or(error, dir, LIB))
        }
        walked => walked,
    }
}

fn missing_or(error: std::io::Error, dir: &Path, name: &str) -> StoreError {
    let path = dir.join(name);
    if error.kind() == std::io::ErrorKind::NotFound {
        StoreError::Damaged {
            path,
            damage: Damage::Missing,
            more: 0,
        }
    } else {
        StoreError::Io { path, error }
    }
}

/// All that is wrong, by path.
fn damaged(dir: &Path, listed: &[Entry], tree: &Tree) -> Vec<(PathBuf, Damage)> {
    let mut damaged: Vec<_> = listed
        .par_iter()
        .filter_map(|entry| Some((entry.path.clone(), damage(dir, entry, tree)?)))
        .collect();
    let is_listed = |path: &PathBuf| listed.binary_search_by(|e| e.path.cmp(path)).is_ok();
    let found = tree.files.iter().map(|found| &found.path);
    let strangers = found
        .chain(&tree.special)
        .filter(|path| is_code(path) && !is_listed(path));
    damaged.extend(strangers.map(|path| (path.clone(), Damage::Stranger)));
    damaged.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    damaged
}

fn is_code(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name);
    parent.is_some_and(|name| CODE.iter().any(|code| name == *code))
}

fn damage(dir: &Path, entry: &Entry, tree: &Tree) -> Option<Damage> {
    let Ok(index) = tree.files.binary_search_by(|f| f.path.cmp(&entry.path)) else {
        let is_special = tree.special.binary_search(&entry.path).is_ok();
        return Some(if is_special {
            Damage::Special
        } else {
            Damage::Missing
        });
    };
    let found = &tree.files[index];
    if found.is_executable() != entry.executable {
        return Some(Damage::Mode);
    }
    if found.metadata.len() != entry.size {
        return Some(Damage::Changed);
    }
    match content(&dir.join(&entry.path)) {
        Ok(sha256) if sha256 == entry.sha256 => None,
        // What cannot be read is not what was sealed.
        _ => Some(Damage::Changed),
    }
}

fn content(path: &Path) -> std::io::Result<[u8; 32]> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    digest::of_open(Algorithm::Sha256, &file)
}

fn stamp_of(dir: &Path, tree: &Tree) -> Result<Stamp> {
    let path = dir.join(FILES);
    let metadata = std::fs::symlink_metadata(&path).map_err(|e| missing_or(e, dir, FILES))?;
    let list = Found {
        path: FILES.into(),
        metadata,
    };
    let mut hasher = blake3::Hasher::new();
    for found in tree.files.iter().chain([&list]) {
        let path = found.path.as_os_str().as_bytes();
        let meta = &found.metadata;
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path);
        for number in [meta.dev(), meta.ino(), meta.len(), u64::from(meta.mode())] {
            hasher.update(&number.to_le_bytes());
        }
        for time in [
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ] {
            hasher.update(&time.to_le_bytes());
        }
    }
    for path in &tree.special {
        hasher.update(path.as_os_str().as_bytes());
    }
    Ok(hasher.finalize().into())
}
