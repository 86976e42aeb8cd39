//! The repository directory of a path: what stands there, what earlier jobs left behind, and
//! replacing it whole.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryInitOptions, RepositoryOpenFlags};

use super::error::{Fact, GitError, Kind, Result};
use super::options;

/// What stands at a path.
pub(crate) enum Place {
    /// Nothing, or an empty directory.
    Free,
    /// A repository in `path/.git`.
    Clone(Repository),
    /// A `.git` directory that doesn't open.
    Damaged(GitError),
}

/// Looks at a path; whatever isn't a repository is an error and stays as it is.
pub(crate) fn inspect(path: &Path) -> Result<Place> {
    options::set();
    let taken = |what: &str| {
        let message = format!(
            "{} holds {what}: it is left alone; choose another path or move it away",
            path.display()
        );
        Err(GitError::new(Kind::BadPath, message).with(Fact::Path, path.display()))
    };
    let git = git_dir(path);
    match fs::symlink_metadata(&git) {
        Ok(found) if found.is_dir() => return open(path),
        Ok(_) => return taken("a `.git` that is no directory"),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return taken("a file"),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(GitError::io(&git, &error));
        }
        Err(_) => {}
    }
    match fs::read_dir(path) {
        Ok(entries) => {
            let foreign = entries
                .filter_map(|entry| entry.ok())
                .any(|entry| !is_ours(&entry.file_name().to_string_lossy()));
            if foreign {
                taken("files that are no git repository")
            } else {
                Ok(Place::Free)
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Place::Free),
        Err(error) if error.kind() == ErrorKind::NotADirectory => taken("a file"),
        Err(error) => Err(GitError::io(path, &error)),
    }
}

fn open(path: &Path) -> Result<Place> {
    let none: [&Path; 0] = [];
    match Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none) {
        Ok(repository) => Ok(Place::Clone(repository)),
        Err(error) if looks_like_git(&git_dir(path)) => Ok(Place::Damaged(
            GitError::local(&error).with(Fact::Path, path.display()),
        )),
        Err(_) => {
            let message = format!(
                "{} holds a `.git` that is no repository: it is left alone",
                path.display()
            );
            Err(GitError::new(Kind::BadPath, message).with(Fact::Path, path.display()))
        }
    }
}

/// A damaged repository has still some of what makes one; an empty `.git` is a crash while it was made.
fn looks_like_git(git: &Path) -> bool {
    let parts = ["HEAD", "objects", "refs", "config"]
        .iter()
        .filter(|part| git.join(part).exists())
        .count();
    parts >= 2 || fs::read_dir(git).is_ok_and(|mut entries| entries.next().is_none())
}

/// The directory of the repository.
pub(crate) fn git_dir(path: &Path) -> PathBuf {
    path.join(".git")
}

/// A new repository beside the present one, not yet in its place.
pub(crate) struct Aside<'a> {
    path: &'a Path,
    dir: PathBuf,
}

const NEW: &str = ".git.new-";
const OLD: &str = ".git.old";

/// The lock of the node that uses the path, which is taken before there is a repository, and the files
/// it is made from.
const NODE_LOCK: &str = "bc_gitops.lock";

fn is_ours(name: &str) -> bool {
    is_leftover(name) || name.starts_with(NODE_LOCK)
}

fn is_leftover(name: &str) -> bool {
    name.starts_with(NEW) || name == OLD
}

impl<'a> Aside<'a> {
    /// Makes an empty repository, in a directory of this job: one that was abandoned and wakes up
    /// has another.
    pub(crate) fn make(path: &'a Path, job: u64) -> Result<(Self, Repository)> {
        fs::create_dir_all(path).map_err(|error| GitError::io(path, &error))?;
        let aside = Self {
            path,
            dir: path.join(format!("{NEW}{job}")),
        };
        remove(&aside.dir)?;
        let mut options = RepositoryInitOptions::new();
        options
            .bare(true)
            .no_reinit(true)
            .external_template(false)
            .initial_head("main");
        let repository =
            Repository::init_opts(&aside.dir, &options).map_err(|error| local(path, &error))?;
        let config = repository
            .config()
            .and_then(|mut config| config.set_bool("core.bare", false));
        config.map_err(|error| local(path, &error))?;
        Ok((aside, repository))
    }

    /// Where it is until then.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts it in place. The old one stays until the new one stands.
    pub(crate) fn swap_in(self) -> Result<()> {
        let (git, old) = (git_dir(self.path), self.path.join(OLD));
        remove(&old)?;
        match fs::rename(&git, &old) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(GitError::io(&git, &error));
            }
            _ => {}
        }
        fs::rename(&self.dir, &git).map_err(|error| GitError::io(&git, &error))?;
        remove(&old)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // A leftover is harmless: the next one removes it.
        let _ = remove(&self.dir);
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(GitError::io(dir, &error))
        }
        _ => Ok(()),
    }
}

/// Finishes a swap that a crash cut in two, and removes what crashed jobs left: half packs, and lock
/// files, which can't be anyone's while this job holds the path.
pub(crate) fn recover(path: &Path) -> Result<()> {
    let (git, old) = (git_dir(path), path.join(OLD));
    if !git.exists() && old.is_dir() {
        fs::rename(&old, &git).map_err(|error| GitError::io(&git, &error))?;
    }
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(());
    };
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| is_leftover(&entry.file_name().to_string_lossy()))
        .try_for_each(|entry| remove(&entry.path()))
}

/// Removes lock files and half written packs from a repository that this job holds.
pub(crate) fn sweep(path: &Path) -> Result<()> {
    let git = git_dir(path);
    sweep_dir(&git, false, &is_lock)?;
    sweep_dir(&git.join("refs"), true, &is_lock)?;
    let half = |name: &str| name.starts_with("tmp_") || name.contains("_git2_");
    sweep_dir(&git.join("objects"), true, &half)
}

fn is_lock(name: &str) -> bool {
    name.ends_with(".lock")
}

fn sweep_dir(dir: &Path, deep: bool, stale: &dyn Fn(&str) -> bool) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(GitError::io(dir, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| GitError::io(dir, &error))?;
        let kind = entry
            .file_type()
            .map_err(|error| GitError::io(dir, &error))?;
        if kind.is_dir() && deep {
            sweep_dir(&entry.path(), deep, stale)?;
        } else if kind.is_file() && stale(&entry.file_name().to_string_lossy()) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(GitError::io(&entry.path(), &error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The number of packs of a repository.
pub(crate) fn packs(path: &Path) -> usize {
    let dir = git_dir(path).join("objects/pack");
    fs::read_dir(dir).map_or(0, |entries| {
        entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"))
            .count()
    })
}

/// An error of libgit2 about the repository at a path.
pub(crate) fn local(path: &Path, error: &git2::Error) -> GitError {
    GitError::local(error).with(Fact::Path, path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_the_lock_of_the_node_is_free() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("bc_gitops.lock"), "").expect("a lock");
        fs::write(dir.path().join("bc_gitops.lock.42"), "").expect("a lock in the making");
        assert!(matches!(inspect(dir.path()), Ok(Place::Free)));
        fs::write(dir.path().join("notes.txt"), "mine").expect("a file");
        assert!(inspect(dir.path()).is_err());
    }
}
