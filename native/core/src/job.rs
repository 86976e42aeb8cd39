//! Jobs: one thread each, a deadline and a cancel flag, one answer.
//!
//! The thread looks at its [`Control`] wherever it can, and what it is blocked in ends when the job
//! must stop, where the task has a way to do that ([`Control::on_stop`]). Name resolution has none,
//! and some libraries have none: then the watchdog answers in the thread's place and counts it as
//! abandoned until it comes back by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod control;
mod watchdog;

pub use control::{Control, Stop};

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

/// What a job does. It is asked once to run, on a thread of its own.
pub trait Task: Send + Sync + 'static {
    /// What a good job answers.
    type Output: Send + 'static;
    /// What a failed one answers.
    type Error: From<Failure> + Send + 'static;
    /// What it says on the way.
    type Progress: 'static;

    /// Does the work; ends with an error soon after the control says stop.
    fn run(
        &self,
        control: &Arc<Control>,
        progress: &dyn Fn(Self::Progress),
    ) -> Result<Self::Output, Self::Error>;

    /// Adds to an error what this task knows, such as its url.
    fn about(&self, error: Self::Error) -> Self::Error {
        error
    }

    /// The task's thread was given up: what it holds goes on to others.
    fn abandoned(&self, _control: &Control) {}
}

/// Why a job failed that its task knows nothing of.
#[derive(Debug)]
pub enum Failure {
    /// It had to stop.
    Stopped(Stop),
    /// The task panicked.
    Crashed,
    /// Too many threads hang.
    Refused,
    /// The operating system gives no thread.
    NoThread(std::io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Stopped(stop) => stop.fmt(f),
            Failure::Crashed => f.write_str("the job failed inside the library"),
            Failure::Refused => f.write_str(
                "too many jobs hang in dead connections; none is started until some have ended",
            ),
            Failure::NoThread(error) => write!(f, "no thread for the job: {error}"),
        }
    }
}

/// Who is told about a job. Called from threads of this room only.
pub trait Listener<T: Task>: Send + Sync + 'static {
    /// The one answer.
    fn done(&self, result: Result<T::Output, T::Error>);
    /// The work goes on.
    fn progress(&self, progress: T::Progress);
}

/// A job that was started.
#[derive(Clone)]
pub struct Job(Arc<dyn Watched>);

/// What the watchdog sees of a job.
trait Watched: Send + Sync {
    fn is_running(&self) -> bool;
    /// When the watchdog must look at it again.
    fn due(&self) -> Instant;
    /// Its time is over, or nearly.
    fn expire(&self);
    fn cancel(&self);
}

struct State<T: Task> {
    task: T,
    control: Arc<Control>,
    listener: Arc<dyn Listener<T>>,
    answered: AtomicBool,
    /// RUNNING, then FINISHED; or ABANDONED_BY_ALL in between.
    phase: AtomicU8,
    /// When the job must stop.
    stop: Mutex<Instant>,
}

/// The number of threads that hang in a call past their job's end.
pub fn abandoned() -> usize {
    ABANDONED.load(Ordering::Relaxed)
}

/// Starts a job; the listener gets exactly one answer.
pub fn start<T: Task>(task: T, timeout: Duration, listener: Arc<dyn Listener<T>>) -> Job {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let control = Arc::new(Control::new(id, timeout));
    let state = Arc::new(State {
        stop: Mutex::new(control.deadline()),
        task,
        control,
        listener,
        answered: AtomicBool::new(false),
        phase: AtomicU8::new(RUNNING),
    });
    if abandoned() >= MAX_ABANDONED {
        state.refuse(Failure::Refused);
        return Job(state);
    }
    watchdog::get().watch(state.clone());
    let worker = Arc::clone(&state);
    let spawned = std::thread::Builder::new()
        .name("bc_gitops_job".into())
        .stack_size(STACK)
        .spawn(move || worker.work());
    if let Err(error) = spawned {
        state.refuse(Failure::NoThread(error));
    }
    Job(state)
}

impl Job {
    /// Ends the job within [`GRACE`]; its answer is `cancelled` unless it was done before.
    pub fn cancel(&self) {
        self.0.cancel();
        watchdog::get().look();
    }
}

impl<T: Task> State<T> {
    fn work(&self) {
        let run = || {
            self.task
                .run(&self.control, &|progress| self.report(progress))
        };
        let result = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(self.task.about(Failure::Crashed.into())));
        if self.phase.swap(FINISHED, Ordering::AcqRel) == ABANDONED_BY_ALL {
            ABANDONED.fetch_sub(1, Ordering::Relaxed);
        }
        self.answer(result);
    }

    fn report(&self, progress: T::Progress) {
        if !self.answered.load(Ordering::Acquire) {
            self.listener.progress(progress);
        }
    }

    /// Answers for a job whose thread never ran: not from the caller's thread, which may be one of
    /// Erlang's schedulers.
    fn refuse(self: &Arc<Self>, failure: Failure) {
        let state = Arc::clone(self);
        state.phase.store(FINISHED, Ordering::Release);
        watchdog::get().run_there(Box::new(move || state.fail(failure)));
    }

    fn fail(&self, failure: Failure) {
        self.answer(Err(failure.into()));
    }

    fn answer(&self, result: Result<T::Output, T::Error>) {
        if !self.answered.swap(true, Ordering::AcqRel) {
            self.listener
                .done(result.map_err(|error| self.task.about(error)));
        }
    }

    fn stop_at(&self) -> Instant {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers in the place of a thread that did not.
    fn give_up(&self) {
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
        let stop = self.control.check().err().unwrap_or(Stop::Timeout);
        self.control.abandon();
        self.task.abandoned(&self.control);
        self.fail(Failure::Stopped(stop));
    }
}

impl<T: Task> Watched for State<T> {
    fn is_running(&self) -> bool {
        self.phase.load(Ordering::Acquire) == RUNNING
    }

    fn due(&self) -> Instant {
        match self.control.is_interrupted() {
            true => self.stop_at() + GRACE,
            false => self.stop_at(),
        }
    }

    fn expire(&self) {
        match self.control.is_interrupted() {
            true => self.give_up(),
            false => self.control.interrupt(),
        }
    }

    fn cancel(&self) {
        self.control.cancel();
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        *stop = (*stop).min(Instant::now());
    }
}
