//! What a running job asks at every step: may I go on?

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::{GitError, Kind, Result};

/// The stop signals of one job.
#[derive(Debug)]
pub(crate) struct Control {
    id: u64,
    deadline: Instant,
    cancelled: AtomicBool,
    abandoned: AtomicBool,
    writing: AtomicBool,
}

impl Control {
    pub(crate) fn new(id: u64, timeout: Duration) -> Self {
        // A timeout beyond the clock's range is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        Self {
            id,
            deadline: Instant::now() + timeout.min(year),
            cancelled: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            writing: AtomicBool::new(false),
        }
    }

    /// The number of the job, the generation of the locks that it holds.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Nobody waits for this job any more: it must not write anything.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// From here to the guard's end the job writes a work tree: it can't stop, and it will end, so its
    /// locks are not taken from it.
    pub(crate) fn writing(&self) -> Writing<'_> {
        self.writing.store(true, Ordering::Release);
        Writing(self)
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// The reason to stop, if there is one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(GitError::new(Kind::Cancelled, "the job was cancelled"))
        } else if self.abandoned.load(Ordering::Acquire) || Instant::now() >= self.deadline {
            Err(GitError::new(
                Kind::Timeout,
                "the job's deadline has passed",
            ))
        } else {
            Ok(())
        }
    }
}

/// See [`Control::writing`].
#[derive(Debug)]
pub(crate) struct Writing<'a>(&'a Control);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Release);
    }
}
