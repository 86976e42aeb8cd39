//! Removing mirrors.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::error::{GitError, Result};
use super::super::{grammar, lock};
use super::{all, name, share};
use crate::job::Control;

/// Of the mirrors of these urls, or of all when none is named, removes those that were used longest
/// ago until what is left has `keep` bytes. One that a job works on stays. Answers how many went.
pub(crate) fn run(root: &[u8], only: &[String], keep: u64, control: &Control) -> Result<u64> {
    let root = grammar::path(root)?;
    let names: Vec<_> = only.iter().map(|url| name(url)).collect();
    let mut mirrors: Vec<_> = all(&root)
        .into_iter()
        .filter(|path| names.is_empty() || names.iter().any(|name| path.ends_with(name)))
        .map(|path| (share::last_used(&path), size(&path), path))
        .collect();
    mirrors.sort_unstable();
    let mut total: u64 = mirrors.iter().map(|(_, size, _)| size).sum();
    let mut removed = 0;
    for (_, size, path) in &mirrors {
        control.check()?;
        if total > keep || keep == 0 {
            if remove(path, control)? {
                removed += 1;
            }
            total -= size;
        }
    }
    Ok(removed)
}

/// The lock of other VMs goes with the directory: who waits for it makes another.
pub(super) fn remove(path: &Path, control: &Control) -> Result<bool> {
    let failed = |error: std::io::Error| GitError::io(path, &error);
    let Some(_lock) = lock::try_acquire(path, control) else {
        return Ok(false);
    };
    let Some(_held) = share::try_hold(path).map_err(failed)? else {
        return Ok(false);
    };
    fs::remove_dir_all(path).map_err(failed)?;
    Ok(true)
}

/// The bytes of its files. What cannot be read counts nothing, and goes first.
fn size(path: &Path) -> u64 {
    let mut dirs = vec![PathBuf::from(path)];
    let mut total = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => dirs.push(entry.path()),
                Ok(found) => total += found.len(),
                Err(_) => {}
            }
        }
    }
    total
}
