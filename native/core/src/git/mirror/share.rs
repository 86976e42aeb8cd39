//! What goes with a mirror's files: a lock that other VMs respect, when it was last heard of and
//! used, and repositories that share its packs.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::error::{GitError, Result};
use super::super::place;
use crate::job::Control;

/// Beside `.git`; its name is one that may stand there before the repository does.
const LOCK: &str = "bc_gitops.lock";
/// In `.git`. Its text says when the remote was last heard of, its time when it was last used.
const HEARD: &str = "bc_gitops_heard";
const GLANCE: Duration = Duration::from_millis(100);

/// Anybody may ask for any commit, and for a part of each.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\
    [uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n[gc]\n\tauto = 0\n";

/// Waits until no other VM works on the mirror.
pub(super) fn hold(path: &Path, control: &Control) -> Result<File> {
    loop {
        match try_hold(path).map_err(|error| GitError::io(path, &error))? {
            Some(held) => return Ok(held),
            None => control.pause(GLANCE)?,
        }
    }
}

/// The lock, unless another has it.
pub(super) fn try_hold(path: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(path)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK))?;
    match file.try_lock() {
        // Another may have removed the mirror, and its lock, in between.
        Ok(()) => Ok(stands(&file, path).then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A place that was made for a mirror that did not come.
pub(super) fn forsake(path: &Path) {
    if !place::git_dir(path).exists() {
        // What stands there besides stays, and is looked at the next time.
        let _ = fs::remove_file(path.join(LOCK)).and_then(|()| fs::remove_dir(path));
    }
}

fn stands(file: &File, path: &Path) -> bool {
    let here = fs::metadata(path.join(LOCK)).map(|found| (found.dev(), found.ino()));
    let held = file.metadata().map(|found| (found.dev(), found.ino()));
    matches!((here, held), (Ok(here), Ok(held)) if here == held)
}

/// Notes that the mirror is used, and whether its remote was heard; answers when it was, in seconds
/// since 1970.
pub(super) fn used(path: &Path, heard: bool) -> Result<u64> {
    let file = place::git_dir(path).join(HEARD);
    let noted = match heard {
        true => fs::write(&file, seconds(SystemTime::now()).to_string()),
        false => touch(&file),
    };
    noted.map_err(|error| GitError::io(&file, &error))?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    Ok(text.parse().unwrap_or(0))
}

fn touch(file: &Path) -> io::Result<()> {
    let file = File::options().append(true).create(true).open(file)?;
    file.set_modified(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// When a mirror was last used; one that never was, long ago.
pub(super) fn last_used(path: &Path) -> SystemTime {
    fs::metadata(place::git_dir(path).join(HEARD))
        .and_then(|file| file.modified())
        .unwrap_or(UNIX_EPOCH)
}

/// A bare repository at `to` with all that the mirror has now. One that stands there already stays.
pub(super) fn link(path: &Path, to: &Path, job: u64) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    let new = PathBuf::from(format!("{}.new-{job}", to.display()));
    let linked = fill(&place::git_dir(path), &new).and_then(|()| fs::rename(&new, to));
    match linked {
        Ok(()) => Ok(()),
        Err(error) => {
            // It is in a directory that is removed as a whole.
            let _ = fs::remove_dir_all(&new);
            match to.exists() {
                true => Ok(()),
                false => Err(GitError::io(to, &error)),
            }
        }
    }
}

fn fill(git: &Path, new: &Path) -> io::Result<()> {
    fs::create_dir_all(new.join("refs/heads"))?;
    give(git, new, share)?;
    for name in ["packed-refs", "HEAD"] {
        fs::copy(git.join(name), new.join(name))?;
    }
    fs::write(new.join("config"), CONFIG)
}

/// Copies what the mirror has into the directory of a repository. A build may write it: it shares
/// nothing.
pub(super) fn copy(path: &Path, git: &Path) -> Result<()> {
    let copied = give(&place::git_dir(path), git, |from, to| {
        fs::copy(from, to).map(drop)
    });
    copied.map_err(|error| GitError::io(git, &error))
}

fn give(git: &Path, to: &Path, how: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let packs = Path::new("objects/pack");
    fs::create_dir_all(to.join(packs))?;
    for entry in fs::read_dir(git.join(packs))? {
        let entry = entry?;
        let name = entry.file_name();
        let is_part = [".pack", ".idx"]
            .iter()
            .any(|end| name.to_string_lossy().ends_with(end));
        if is_part {
            how(&entry.path(), &to.join(packs).join(name))?;
        }
    }
    Ok(())
}

/// A second name; a copy where the file system has none.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}
