//! Where unpacked entries go.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{ArchiveError, Kind, Result};
use super::name::Name;

/// Takes entries whose names were checked. A parent directory always comes before what is in it.
pub(super) trait Sink {
    fn dir(&mut self, name: &Name) -> Result<()>;
    fn begin_file(&mut self, name: &Name, mode: u32) -> Result<()>;
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    fn end_file(&mut self) -> Result<()>;
    fn hard_link(&mut self, name: &Name, existing: &Name) -> Result<()>;
    fn symlink(&mut self, name: &Name, target: &str) -> Result<()>;
}

/// A new directory. It is removed again unless it is kept.
pub(super) struct Disk {
    root: PathBuf,
    open: Option<(File, PathBuf)>,
    kept: bool,
}

impl Disk {
    pub(super) fn create(root: &Path) -> Result<Self> {
        let made = DirBuilder::new().mode(0o755).create(root);
        made.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => ArchiveError::new(
                Kind::Exists,
                format!("{}: something is there already", root.display()),
            ),
            _ => ArchiveError::io(root, &error),
        })?;
        Ok(Self {
            root: root.to_owned(),
            open: None,
            kept: false,
        })
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn path(&self, name: &Name) -> PathBuf {
        name.parts()
            .iter()
            .fold(self.root.clone(), |path, part| path.join(part))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.kept {
            // What can't be removed lies in a scratch directory, which is.
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

impl Sink for Disk {
    fn dir(&mut self, name: &Name) -> Result<()> {
        let path = self.path(name);
        let made = DirBuilder::new().mode(0o755).create(&path);
        made.map_err(|error| ArchiveError::io(&path, &error))
    }

    fn begin_file(&mut self, name: &Name, mode: u32) -> Result<()> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        // A new file is never opened through a link (open(2), O_EXCL).
        let file = options.write(true).create_new(true).mode(mode).open(&path);
        let file = file.map_err(|error| ArchiveError::io(&path, &error))?;
        self.open = Some((file, path));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.open {
            Some((file, path)) => file
                .write_all(bytes)
                .map_err(|error| ArchiveError::io(path, &error)),
            None => Ok(()),
        }
    }

    fn end_file(&mut self) -> Result<()> {
        self.open = None;
        Ok(())
    }

    fn hard_link(&mut self, name: &Name, existing: &Name) -> Result<()> {
        let path = self.path(name);
        let linked = std::fs::hard_link(self.path(existing), &path);
        linked.map_err(|error| ArchiveError::io(&path, &error))
    }

    fn symlink(&mut self, name: &Name, target: &str) -> Result<()> {
        let path = self.path(name);
        let linked = std::os::unix::fs::symlink(target, &path);
        linked.map_err(|error| ArchiveError::io(&path, &error))
    }
}
