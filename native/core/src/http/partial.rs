//! A file that is on its way: its bytes, its length and its digest so far.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{HttpError, Result};

/// It goes with its value, unless it is kept.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    length: u64,
    kept: bool,
}

impl Partial {
    /// Makes the file beside the one that it is to become.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let mut name = OsString::from(target);
        name.push(".part");
        let path = PathBuf::from(name);
        // What stands there is left over from a job that was killed; a link is not written through.
        let _ = std::fs::remove_file(&path);
        let file = File::create_new(&path).map_err(|error| HttpError::io(&path, &error))?;
        Ok(Self {
            file,
            path,
            hasher: Sha256::new(),
            length: 0,
            kept: false,
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| HttpError::io(&self.path, &error))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) -> Result<()> {
        if self.length == 0 {
            return Ok(());
        }
        let cleared = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map_err(|error| HttpError::io(&self.path, &error))?;
        self.hasher = Sha256::new();
        self.length = 0;
        Ok(())
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }

    /// Gives the file its name.
    pub(super) fn keep(mut self, target: &Path) -> Result<()> {
        std::fs::rename(&self.path, target).map_err(|error| HttpError::io(target, &error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // What can't be removed lies in a scratch directory, which is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
