//! One thread stops the jobs whose time is over.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Watched;

pub(super) struct Watchdog {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Default)]
struct Inside {
    jobs: Vec<Arc<dyn Watched>>,
    errands: Vec<Box<dyn FnOnce() + Send>>,
}

pub(super) fn get() -> &'static Watchdog {
    static WATCHDOG: OnceLock<&'static Watchdog> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        let watchdog: &'static Watchdog = Box::leak(Box::new(Watchdog {
            inside: Mutex::default(),
            changed: Condvar::new(),
        }));
        // Without this thread no deadline holds; a machine that can't start it can't run jobs either.
        let spawned = std::thread::Builder::new()
            .name("bc_gitops_watch".into())
            .spawn(|| watchdog.run());
        drop(spawned);
        watchdog
    })
}

impl Watchdog {
    pub(super) fn watch(&self, job: Arc<dyn Watched>) {
        self.lock().jobs.push(job);
        self.look();
    }

    /// Runs something on the watchdog's thread.
    pub(super) fn run_there(&self, errand: Box<dyn FnOnce() + Send>) {
        self.lock().errands.push(errand);
        self.look();
    }

    /// Something has changed. The lock makes sure that the thread waits, or has not looked yet.
    pub(super) fn look(&self) {
        drop(self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut inside = self.lock();
        loop {
            let errands = std::mem::take(&mut inside.errands);
            inside.jobs.retain(|job| job.is_running());
            let now = Instant::now();
            let due = |job: &&Arc<dyn Watched>| job.due() <= now;
            let due: Vec<_> = inside.jobs.iter().filter(due).cloned().collect();
            if errands.is_empty() && due.is_empty() {
                let next = inside.jobs.iter().map(|job| job.due()).min();
                inside = self.wait(inside, next.map(|next| next.saturating_duration_since(now)));
                continue;
            }
            drop(inside);
            errands.into_iter().for_each(|errand| errand());
            due.iter().for_each(|job| job.expire());
            inside = self.lock();
        }
    }

    fn wait<'a>(
        &'a self,
        inside: MutexGuard<'a, Inside>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Inside> {
        match time {
            Some(time) => {
                self.changed
                    .wait_timeout(inside, time)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .changed
                .wait(inside)
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}
