//! A file that is on its way: its bytes, its length and its digest so far.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::job::Control;

use super::error::{HttpError, Result};

/// What is shorter is not worth the request for the rest.
const WORTH_LEAVING: u64 = 64 * 1024;

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
        let path = beside(target);
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

    /// Goes on with what an earlier download left; without such a thing it begins. Whoever takes it
    /// has it alone.
    pub(super) fn take_up(target: &Path, left: &Path, control: &Control) -> Result<Self> {
        let path = beside(target);
        if std::fs::rename(left, &path).is_ok()
            && let Ok(file) = open_own(&path)
        {
            let mut partial = Self {
                file,
                path,
                hasher: Sha256::new(),
                length: 0,
                kept: false,
            };
            if partial.read_again(control)? {
                return Ok(partial);
            }
        }
        Self::create(target)
    }

    /// Learns length and digest of what is there; false when it cannot be read.
    fn read_again(&mut self, control: &Control) -> Result<bool> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            control.check()?;
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
    }

    /// Leaves it for a later download, unless somebody left more, or it is not worth it.
    pub(super) fn leave(mut self, at: &Path) {
        let more = std::fs::symlink_metadata(at).is_ok_and(|other| other.len() >= self.length);
        if self.length < WORTH_LEAVING || more {
            return;
        }
        // Where it cannot be left the next download begins anew.
        let made = at.parent().map_or(Ok(()), std::fs::create_dir_all);
        self.kept = made.and_then(|()| std::fs::rename(&self.path, at)).is_ok();
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

fn beside(target: &Path) -> PathBuf {
    let mut name = OsString::from(target);
    name.push(".part");
    PathBuf::from(name)
}

/// An ordinary file that has no other name.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() && metadata.nlink() == 1 {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}
