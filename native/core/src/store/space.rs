//! How full a disk is.

use std::path::Path;

use super::{Result, StoreError};

/// What the file system of a path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that a process without privileges may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Files that may still be made; file systems without that limit say 0 of 0.
    pub free_files: u64,
    /// Files that may be made in all.
    pub total_files: u64,
}

/// The space on the disk where `path` is.
pub fn space(path: &Path) -> Result<Space> {
    let stat = rustix::fs::statvfs(path).map_err(|errno| StoreError::io(path)(errno.into()))?;
    Ok(Space {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_files: stat.f_favail,
        total_files: stat.f_files,
    })
}
