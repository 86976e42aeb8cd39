//! Jobs: one thread each, a deadline and a cancel flag, one answer.
//!
//! The thread looks at its control in every callback of a transfer. Name resolution and a silent
//! server block it beyond that: then the watchdog answers in its place, takes its path locks away and
//! counts the thread as abandoned until it comes back by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::control::Control;
use super::error::{GitError, Kind, Result};
use super::request::{Op, Outcome, Progress, Request};
use super::{checkout, follow, list, lock, options};

/// The time that a thread has to notice its deadline or its cancel before it is abandoned.
const GRACE: Duration = Duration::from_millis(200);

/// Past this number of abandoned threads no new job starts: something is wrong with the network.
const MAX_ABANDONED: usize = 64;

/// libgit2 recurses through trees; the default of 2 MiB is thin for hostile depths.
const STACK: usize = 8 << 20;

const RUNNING: u8 = 0;
const ABANDONED_BY_ALL: u8 = 1;
const FINISHED: u8 = 2;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// Who is told about a job. Called from threads of this room only.
pub trait Listener: Send + Sync + 'static {
    /// The one answer.
    fn done(&self, result: Result<Outcome>);
    /// A transfer goes on.
    fn progress(&self, progress: Progress);
}

/// A job that was started.
#[derive(Clone)]
pub struct Job(Arc<State>);

struct State {
    control: Arc<Control>,
    listener: Arc<dyn Listener>,
    url: String,
    answered: AtomicBool,
    /// RUNNING, then FINISHED; or ABANDONED in between.
    phase: AtomicU8,
    /// When the watchdog ends the job.
    end: Mutex<Instant>,
}

/// The number of threads that hang in a call past their job's end.
pub fn abandoned() -> usize {
    ABANDONED.load(Ordering::Relaxed)
}

/// Starts a job; the listener gets exactly one answer.
pub fn start(request: Request, listener: Arc<dyn Listener>) -> Job {
    let control = Arc::new(Control::new(
        NEXT_ID.fetch_add(1, Ordering::Relaxed),
        request.timeout,
    ));
    let state = Arc::new(State {
        end: Mutex::new(control.deadline() + GRACE),
        control,
        listener,
        url: super::url::redact(request.op.url()),
        answered: AtomicBool::new(false),
        phase: AtomicU8::new(RUNNING),
    });
    if abandoned() >= MAX_ABANDONED {
        let error = "too many jobs hang in dead connections; none is started until some have ended";
        state.refuse(GitError::new(Kind::Unreachable, error));
        return Job(state);
    }
    watchdog().watch(Arc::clone(&state));
    let worker = Arc::clone(&state);
    let spawned = std::thread::Builder::new()
        .name("bc_gitops_git".into())
        .stack_size(STACK)
        .spawn(move || worker.work(&request));
    if let Err(error) = spawned {
        state.refuse(GitError::new(
            Kind::Io,
            format!("no thread for the job: {error}"),
        ));
    }
    Job(state)
}

impl Job {
    /// Ends the job within [`GRACE`]; its answer is `cancelled` unless it was done before.
    pub fn cancel(&self) {
        self.0.control.cancel();
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = (*end).min(Instant::now() + GRACE);
        drop(end);
        watchdog().changed.notify_one();
    }
}

impl State {
    fn work(&self, request: &Request) {
        let run = || run(request, &self.control, &|progress| self.report(progress));
        let result = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(GitError::new(Kind::Io, "the job failed inside the library")));
        if self.phase.swap(FINISHED, Ordering::AcqRel) == ABANDONED_BY_ALL {
            ABANDONED.fetch_sub(1, Ordering::Relaxed);
        }
        self.answer(result);
    }

    fn report(&self, progress: Progress) {
        if !self.answered.load(Ordering::Acquire) {
            self.listener.progress(progress);
        }
    }

    /// Answers for a job whose thread never ran: not from the caller's thread, which may be one of
    /// Erlang's schedulers.
    fn refuse(self: &Arc<Self>, error: GitError) {
        let state = Arc::clone(self);
        state.phase.store(FINISHED, Ordering::Release);
        watchdog().refuse(state, error);
    }

    fn answer(&self, result: Result<Outcome>) {
        if !self.answered.swap(true, Ordering::AcqRel) {
            self.listener
                .done(result.map_err(|error| error.about(&self.url)));
        }
    }

    /// The job's time is over: answers in its place when its thread has not.
    fn expire(&self) {
        ABANDONED.fetch_add(1, Ordering::Relaxed);
        let marked = self.phase.compare_exchange(
            RUNNING,
            ABANDONED_BY_ALL,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if marked.is_err() {
            ABANDONED.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let error = self.control.check().err();
        self.control.abandon();
        lock::revoke(&self.control);
        self.answer(Err(error.unwrap_or_else(|| {
            GitError::new(Kind::Timeout, "the job's deadline has passed")
        })));
    }
}

/// One thread ends the jobs whose time is over.
struct Watchdog {
    watched: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Default)]
struct Watched {
    jobs: Vec<Arc<State>>,
    refused: Vec<(Arc<State>, GitError)>,
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: OnceLock<&'static Watchdog> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        let watchdog: &'static Watchdog = Box::leak(Box::new(Watchdog {
            watched: Mutex::default(),
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
    fn watch(&self, state: Arc<State>) {
        self.lock().jobs.push(state);
        self.changed.notify_one();
    }

    fn refuse(&self, state: Arc<State>, error: GitError) {
        self.lock().refused.push((state, error));
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut watched = self.lock();
        loop {
            let refused = std::mem::take(&mut watched.refused);
            watched
                .jobs
                .retain(|job| job.phase.load(Ordering::Acquire) == RUNNING);
            let now = Instant::now();
            let due: Vec<_> = watched
                .jobs
                .extract_if(.., |job| job.end() <= now)
                .collect();
            if refused.is_empty() && due.is_empty() {
                let next = watched.jobs.iter().map(|job| job.end()).min();
                watched = self.wait(
                    watched,
                    next.map(|next| next.saturating_duration_since(now)),
                );
                continue;
            }
            drop(watched);
            refused
                .into_iter()
                .for_each(|(job, error)| job.answer(Err(error)));
            due.iter().for_each(|job| job.expire());
            watched = self.lock();
        }
    }

    fn wait<'a>(
        &'a self,
        watched: std::sync::MutexGuard<'a, Watched>,
        time: Option<Duration>,
    ) -> std::sync::MutexGuard<'a, Watched> {
        match time {
            Some(time) => {
                self.changed
                    .wait_timeout(watched, time)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .changed
                .wait(watched)
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl State {
    fn end(&self) -> Instant {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(request: &Request, control: &Control, progress: &dyn Fn(Progress)) -> Result<Outcome> {
    options::set();
    control.check()?;
    match &request.op {
        Op::List { url, only } => list::run(request, url, only, control).map(Outcome::Listed),
        Op::Follow {
            url,
            path,
            branch,
            repair,
        } => follow::run(&follow::Follow {
            request,
            url,
            path,
            branch,
            repair: *repair,
            control,
            progress,
        })
        .map(Outcome::Followed),
        Op::Checkout { .. } | Op::Clone { .. } | Op::Pull { .. } => {
            checkout::run(request, control, progress).map(Outcome::CheckedOut)
        }
    }
}
