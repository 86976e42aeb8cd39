//! What a running job asks at every step: may I go on?

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why a job must end before its work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody called it off.
    Cancelled,
    /// Its time is over.
    Timeout,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Cancelled => "the job was cancelled",
            Stop::Timeout => "the job's deadline has passed",
        })
    }
}

/// Wakes a job that is blocked in a call.
type Interrupt = Box<dyn Fn() + Send>;

/// The stop signals of one job.
pub struct Control {
    id: u64,
    deadline: Instant,
    cancelled: AtomicBool,
    abandoned: AtomicBool,
    writing: AtomicBool,
    /// What wakes the job; `None` once it must stop.
    interrupts: Mutex<Option<Vec<Interrupt>>>,
    stopped: Condvar,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Control({})", self.id)
    }
}

impl Control {
    /// The signals of job number `id`, whose time begins now.
    pub fn new(id: u64, timeout: Duration) -> Self {
        // A timeout beyond the clock's range is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        Self {
            id,
            deadline: Instant::now() + timeout.min(year),
            cancelled: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            interrupts: Mutex::new(Some(Vec::new())),
            stopped: Condvar::new(),
        }
    }

    /// The number of the job, the generation of the locks that it holds.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// From here on [`Control::check`] says no.
    pub fn cancel(&self) {
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
    pub fn check(&self) -> Result<(), Stop> {
        if self.is_cancelled() {
            Err(Stop::Cancelled)
        } else if self.abandoned.load(Ordering::Acquire) || Instant::now() >= self.deadline {
            Err(Stop::Timeout)
        } else {
            Ok(())
        }
    }

    /// Has a function called when the job must stop: it ends what the job is blocked in. It is called
    /// at once when that was so already.
    pub fn on_stop(&self, interrupt: impl Fn() + Send + 'static) {
        match self.interrupts().as_mut() {
            Some(interrupts) => interrupts.push(Box::new(interrupt)),
            None => interrupt(),
        }
    }

    /// Wakes the job; it finds the reason by [`Control::check`].
    pub(crate) fn interrupt(&self) {
        let interrupts = self.interrupts().take();
        self.stopped.notify_all();
        for interrupt in interrupts.unwrap_or_default() {
            interrupt();
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupts().is_none()
    }

    /// Waits for some time, or until the job must stop.
    pub fn pause(&self, time: Duration) -> Result<(), Stop> {
        let time = time.min(self.deadline.saturating_duration_since(Instant::now()));
        let waits = self.interrupts();
        let result = self
            .stopped
            .wait_timeout_while(waits, time, |interrupts| interrupts.is_some());
        drop(result.unwrap_or_else(PoisonError::into_inner));
        self.check()
    }

    fn interrupts(&self) -> std::sync::MutexGuard<'_, Option<Vec<Interrupt>>> {
        self.interrupts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
