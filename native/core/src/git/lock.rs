//! One job at a time on a path. A lock belongs to a job's number, its generation: the lock of a job
//! that hangs in a dead connection is taken from it, and that job finds out at its next check.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::Control;

use super::error::{Fact, GitError, Kind, Result};

/// How often a waiting job looks whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

static HOLDERS: Mutex<Option<HashMap<PathBuf, u64>>> = Mutex::new(None);
static RELEASED: Condvar = Condvar::new();

/// Holds a path until it is dropped or its job is abandoned.
#[derive(Debug)]
pub(crate) struct PathLock {
    path: PathBuf,
    holder: u64,
}

/// Waits until no other job works on the path, or the job must stop.
pub(crate) fn acquire(path: &Path, control: &Control) -> Result<PathLock> {
    let path = canonical(path);
    let mut holders = holders();
    loop {
        control.check().map_err(|stop| {
            let message = format!("{stop} while another job works on {}", path.display());
            GitError::new(stop.into(), message).with(Fact::Path, path.display())
        })?;
        let map = holders.get_or_insert_with(HashMap::new);
        if !map.contains_key(&path) {
            map.insert(path.clone(), control.id());
            return Ok(PathLock {
                path,
                holder: control.id(),
            });
        }
        holders = RELEASED
            .wait_timeout(holders, GLANCE)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// The lock, unless another job works on the path.
pub(crate) fn try_acquire(path: &Path, control: &Control) -> Option<PathLock> {
    let path = canonical(path);
    let mut holders = holders();
    let map = holders.get_or_insert_with(HashMap::new);
    (!map.contains_key(&path)).then(|| {
        map.insert(path.clone(), control.id());
        PathLock {
            path,
            holder: control.id(),
        }
    })
}

/// Takes every lock from a job, unless it writes a work tree. A job says that it writes before it
/// checks its lock, and both look under the same mutex: one of them sees the other.
pub(crate) fn revoke(control: &Control) {
    let mut holders = holders();
    if control.is_writing() {
        return;
    }
    if let Some(map) = holders.as_mut() {
        map.retain(|_, held_by| *held_by != control.id());
    }
    RELEASED.notify_all();
}

impl PathLock {
    /// An error when the lock was taken from the job: it must not write any more.
    pub(crate) fn check(&self) -> Result<()> {
        let held = holders().as_ref().and_then(|map| map.get(&self.path)) == Some(&self.holder);
        if held {
            return Ok(());
        }
        Err(
            GitError::new(Kind::Timeout, "another job took over this path")
                .with(Fact::Path, self.path.display()),
        )
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        let mut holders = holders();
        if let Some(map) = holders.as_mut()
            && map.get(&self.path) == Some(&self.holder)
        {
            map.remove(&self.path);
            RELEASED.notify_all();
        }
    }
}

fn holders() -> MutexGuard<'static, Option<HashMap<PathBuf, u64>>> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One name for a path that may not exist yet.
fn canonical(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (
        path.parent().and_then(|parent| parent.canonicalize().ok()),
        path.file_name(),
    ) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_lock_goes_to_the_next_job() {
        let path = Path::new("/nonexistent/lock-test");
        let first = Control::new(u64::MAX, Duration::from_secs(60));
        let second = Control::new(u64::MAX - 1, Duration::from_millis(60));
        let held = acquire(path, &first).unwrap();
        assert_eq!(acquire(path, &second).unwrap_err().kind, Kind::Timeout);
        let writing = first.writing();
        revoke(&first);
        assert!(held.check().is_ok(), "a job that writes keeps its lock");
        drop(writing);
        revoke(&first);
        let third = Control::new(u64::MAX - 2, Duration::from_secs(60));
        let taken = acquire(path, &third).unwrap();
        assert!(held.check().is_err());
        drop(held);
        assert!(
            taken.check().is_ok(),
            "dropping a revoked lock frees nothing"
        );
    }
}
