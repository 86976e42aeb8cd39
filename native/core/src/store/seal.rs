//! Sealing: every file is digested, made read-only and brought to the disk; then their list is.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rayon::prelude::*;

use super::list::{self, Entry};
use super::walk::{Found, walk};
use super::{FILES, LIB, Result, StoreError};
use crate::digest::{self, Algorithm};
use crate::pool;

const READ: u32 = 0o444;
const READ_AND_RUN: u32 = 0o555;

/// What a sealed build is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// SHA-256 of the list of files.
    pub files: [u8; 32],
    /// How many there are.
    pub count: u64,
    /// Their sizes together.
    pub bytes: u64,
}

/// Makes `dir/lib` read-only, writes `dir/files`, and brings both to the disk. A build that was
/// sealed before is sealed anew.
pub fn seal(dir: &Path) -> Result<Sealed> {
    pool::disk(|| {
        let tree = walk(dir, Path::new(LIB))?;
        if let Some(path) = tree.special.first() {
            return Err(StoreError::Special(dir.join(path)));
        }
        let entries: Result<Vec<Entry>> =
            tree.files.par_iter().map(|file| keep(dir, file)).collect();
        let entries = entries?;
        tree.dirs
            .par_iter()
            .try_for_each(|found| keep_directory(&dir.join(&found.path)))?;
        let files = list::to_bytes(&entries);
        write(&dir.join(FILES), &files)?;
        sync(dir)?;
        Ok(Sealed {
            files: digest::of_bytes(Algorithm::Sha256, &files),
            count: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.size).sum(),
        })
    })
}

fn keep(dir: &Path, found: &Found) -> Result<Entry> {
    let path = dir.join(&found.path);
    let executable = found.is_executable();
    let mode = if executable { READ_AND_RUN } else { READ };
    let kept = || -> std::io::Result<(u64, [u8; 32])> {
        let file = File::open(&path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        let sha256 = digest::of_open(Algorithm::Sha256, &file)?;
        file.sync_all()?;
        Ok((file.metadata()?.len(), sha256))
    };
    let (size, sha256) = kept().map_err(StoreError::io(&path))?;
    Ok(Entry {
        path: found.path.clone(),
        size,
        executable,
        sha256,
    })
}

fn keep_directory(path: &Path) -> Result<()> {
    let mode = Permissions::from_mode(READ_AND_RUN);
    std::fs::set_permissions(path, mode).map_err(StoreError::io(path))?;
    sync(path)
}

/// A list that was there before may be read-only: it makes room.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = || -> std::io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(READ))?;
        file.sync_all()
    };
    written().map_err(StoreError::io(path))
}

fn sync(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io(dir))
}
