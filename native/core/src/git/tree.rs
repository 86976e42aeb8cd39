//! Spec files straight from the objects of a commit. Nothing is checked out, no link is followed.

use std::path::Path;

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository, Tree};

use super::error::{Fact, GitError, Kind, Result};
use super::options;

/// Modes of regular files; 0100664 stands in old repositories.
const REGULAR: [i32; 3] = [0o100644, 0o100755, 0o100664];
const SYMLINK: i32 = 0o120000;
const SUBMODULE: i32 = 0o160000;

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its object.
    pub id: Oid,
    /// What it is.
    pub kind: EntryKind,
}

/// Opens the clone at a path, whatever else stands in or above it.
pub fn open(path: &Path) -> Result<Repository> {
    options::set();
    Repository::open(path).map_err(|error| match error.code() {
        ErrorCode::NotFound => {
            let message = format!("{} holds no repository", path.display());
            GitError::new(Kind::NotFound, message).with(Fact::Path, path.display())
        }
        _ => GitError::local(&error),
    })
}

/// The tree of a commit.
pub fn of_commit(
    repository: &Repository,
    commit: Oid,
) -> std::result::Result<Tree<'_>, git2::Error> {
    repository.find_commit(commit)?.tree()
}

/// Directories, links and submodules of a tree, in the order of their names; files are left out.
pub fn directories(tree: &Tree<'_>) -> Vec<Entry> {
    entries(tree)
        .filter(|entry| entry.kind != EntryKind::File)
        .collect()
}

/// The first of the names that the tree has as anything but a directory.
pub fn first_of(tree: &Tree<'_>, names: &[&str]) -> Option<Entry> {
    names.iter().find_map(|name| {
        let entry = tree.get_name(name)?;
        let kind = kind_of(entry.filemode_raw())?;
        (kind != EntryKind::Directory).then(|| Entry {
            name: (*name).to_owned(),
            id: entry.id(),
            kind,
        })
    })
}

fn entries<'t>(tree: &'t Tree<'_>) -> impl Iterator<Item = Entry> + 't {
    tree.iter().filter_map(|entry| {
        let kind = kind_of(entry.filemode_raw())?;
        Some(Entry {
            name: String::from_utf8_lossy(entry.name_bytes()).into_owned(),
            id: entry.id(),
            kind,
        })
    })
}

/// What a mode stands for. Raw modes, because git2's own view turns unknown ones into known ones.
pub fn kind_of(mode: i32) -> Option<EntryKind> {
    match mode {
        mode if REGULAR.contains(&mode) => Some(EntryKind::File),
        SYMLINK => Some(EntryKind::Symlink),
        SUBMODULE => Some(EntryKind::Submodule),
        mode if mode & 0o170000 == 0o040000 => Some(EntryKind::Directory),
        _ => None,
    }
}

/// Why a blob is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobError {
    /// Larger than allowed; its size.
    TooLarge(usize),
    /// Not there or damaged.
    Unreadable(String),
}

/// Hands the bytes of a blob to a function; its size is looked at before it is read.
pub fn with_blob<R>(
    odb: &Odb<'_>,
    id: Oid,
    limit: usize,
    read: impl FnOnce(&[u8]) -> R,
) -> std::result::Result<R, BlobError> {
    let unreadable = |error: git2::Error| BlobError::Unreadable(error.message().to_owned());
    let (size, kind) = odb.read_header(id).map_err(unreadable)?;
    if kind != ObjectType::Blob {
        return Err(BlobError::Unreadable("the object is no blob".to_owned()));
    }
    if size > limit {
        return Err(BlobError::TooLarge(size));
    }
    odb.read(id)
        .map(|object| read(object.data()))
        .map_err(unreadable)
}
