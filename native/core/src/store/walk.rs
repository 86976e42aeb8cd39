//! What stands on disk below a directory: regular files and directories, sorted by path.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{MAX_DEPTH, MAX_FILES, Result, StoreError};

/// A file or a directory.
pub(crate) struct Found {
    /// From the root on.
    pub path: PathBuf,
    pub metadata: Metadata,
}

impl Found {
    pub fn is_executable(&self) -> bool {
        self.metadata.mode() & 0o100 != 0
    }
}

/// What a walk found; links and devices are not followed and not opened.
#[derive(Default)]
pub(crate) struct Tree {
    pub files: Vec<Found>,
    /// Parents before what is in them.
    pub dirs: Vec<Found>,
    /// Links, pipes, sockets and devices.
    pub special: Vec<PathBuf>,
}

/// Everything below `root/start`, that directory included.
pub(crate) fn walk(root: &Path, start: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut open = vec![(start.to_path_buf(), 0)];
    let metadata = std::fs::symlink_metadata(root.join(start));
    let metadata = metadata.map_err(StoreError::io(&root.join(start)))?;
    place(&mut tree, start.to_path_buf(), metadata);
    if tree.dirs.is_empty() {
        return Ok(tree);
    }
    while let Some((dir, depth)) = open.pop() {
        if depth >= MAX_DEPTH {
            return Err(StoreError::TooDeep(root.join(dir)));
        }
        for entry in std::fs::read_dir(root.join(&dir)).map_err(StoreError::io(&root.join(&dir)))? {
            let entry = entry.map_err(StoreError::io(&root.join(&dir)))?;
            let path = dir.join(entry.file_name());
            // Of the entry itself: a link is not followed.
            let metadata = entry
                .metadata()
                .map_err(StoreError::io(&root.join(&path)))?;
            if metadata.is_dir() {
                open.push((path.clone(), depth + 1));
            }
            place(&mut tree, path, metadata);
            if tree.files.len() + tree.dirs.len() + tree.special.len() > MAX_FILES {
                return Err(StoreError::TooMany(root.join(start)));
            }
        }
    }
    tree.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    tree.dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    tree.special.sort_unstable();
    Ok(tree)
}

fn place(tree: &mut Tree, path: PathBuf, metadata: Metadata) {
    if metadata.is_file() {
        tree.files.push(Found { path, metadata });
    } else if metadata.is_dir() {
        tree.dirs.push(Found { path, metadata });
    } else {
        tree.special.push(path);
    }
}
