//! Files that jobs share, in this VM and in others: tarballs by their digest, registry files.
//!
//! Nothing here is trusted: what is taken out is verified like what has just arrived. A file is
//! written in a directory of its own in `tmp` and moved, so that nobody sees half of one. Its
//! writer holds a lock on that directory; one without a lock was left by somebody who was killed.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::job::{Control, Stop};

/// How often somebody who waits for another's download looks whether to go on waiting.
const GLANCE: Duration = Duration::from_millis(50);

static NEXT: AtomicU64 = AtomicU64::new(0);
static UNDER_WAY: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
static DONE: Condvar = Condvar::new();

/// Where the tarball with this SHA-256 is, or would be.
pub(super) fn tarball(cache: &Path, checksum: &str) -> PathBuf {
    cache.join("tarballs").join(format!("{checksum}.tar"))
}

/// Writes a file of a cache as a whole.
pub(super) fn write(cache: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let scratch = Scratch::new(cache)?;
    std::fs::write(scratch.file(), bytes)?;
    scratch.publish(file)
}

/// Room for one file in the making. It goes with its value.
pub(super) struct Scratch {
    dir: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Room in a cache.
    pub(super) fn new(cache: &Path) -> io::Result<Self> {
        let tmp = cache.join("tmp");
        std::fs::create_dir_all(&tmp)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let dir = tmp.join(format!("{}-{number}", std::process::id()));
            match std::fs::create_dir(&dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // Until it is locked somebody may take it for left over.
            if let Ok(lock) = File::open(&dir)
                && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && dir.exists()
            {
                return Ok(Self { dir, _lock: lock });
            }
        }
    }

    /// Where the file is made.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.join("file")
    }

    /// Gives the file its name, in the place of one that had it before.
    pub(super) fn publish(&self, file: &Path) -> io::Result<()> {
        file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::rename(self.file(), file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Removes what killed jobs left in the making.
pub(super) fn sweep(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache.join("tmp")) else {
        return;
    };
    for entry in entries.flatten() {
        if let Ok(lock) = File::open(entry.path())
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The right to make one file; others of this VM who want it wait.
pub(super) struct Turn(PathBuf);

impl Turn {
    /// Waits for the turn, unless the job must stop before it comes.
    pub(super) fn take(file: &Path, control: &Control) -> std::result::Result<Self, Stop> {
        let mut under_way = under_way();
        while !under_way.get_or_insert_default().insert(file.to_owned()) {
            control.check()?;
            let waited = DONE.wait_timeout(under_way, GLANCE);
            under_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Self(file.to_owned()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        under_way().get_or_insert_default().remove(&self.0);
        DONE.notify_all();
    }
}

fn under_way() -> MutexGuard<'static, Option<HashSet<PathBuf>>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_making_is_swept_when_its_maker_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Scratch::new(dir.path()).unwrap();
        let orphan = dir.path().join("tmp/1-1");
        std::fs::create_dir(&orphan).unwrap();
        std::fs::write(orphan.join("file.part"), "half").unwrap();
        sweep(dir.path());
        assert!(alive.dir.exists() && !orphan.exists());
        let path = alive.dir.clone();
        drop(alive);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_written_whole_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b");
        for text in ["first", "second"] {
            write(dir.path(), &file, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(
            std::fs::read_dir(dir.path().join("tmp")).unwrap().count(),
            0
        );
    }

    #[test]
    fn one_at_a_time_makes_a_file() {
        let file = Path::new("/nonexistent/turn");
        let control = Control::new(u64::MAX, Duration::from_secs(60));
        let first = Turn::take(file, &control).unwrap();
        let hurried = Control::new(u64::MAX, Duration::ZERO);
        assert!(Turn::take(file, &hurried).is_err());
        drop(first);
        assert!(Turn::take(file, &control).is_ok());
    }
}
