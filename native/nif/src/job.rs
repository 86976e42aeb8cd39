//! Jobs as Erlang holds them: started with a process to tell, ended with that process.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bc_gitops_core::job::{self, Job, Listener, Task};
use rustler::env::SavedTerm;
use rustler::{
    Atom, Encoder, Env, Error, LocalPid, Monitor, NifResult, OwnedEnv, Resource, ResourceArc, Term,
};

use crate::atoms;
use crate::errors::Failure;
use crate::terms::need;

/// Who waits for a job's answer: a process, and the reference that it knows the answer by.
pub type Caller<'a> = (LocalPid, Term<'a>);

/// A task whose answers can be said in Erlang.
pub trait Spoken: Task<Error: Into<Failure>> {
    /// A map.
    fn answer(env: Env<'_>, output: Self::Output) -> Term<'_>;
    /// A map.
    fn progress(env: Env<'_>, progress: Self::Progress) -> Term<'_>;
}

/// A job as Erlang holds it. It ends with the process that waits for its answer.
pub struct JobResource {
    job: OnceLock<Job>,
}

#[rustler::resource_impl]
impl Resource for JobResource {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.cancel();
    }
}

impl JobResource {
    fn cancel(&self) {
        if let Some(job) = self.job.get() {
            job.cancel();
        }
    }
}

/// Sends what a job says to the process that asked for it.
struct Mailbox {
    pid: LocalPid,
    reference: Mutex<Option<SavedTerm>>,
    env: Mutex<OwnedEnv>,
    /// Keeps the monitor of `pid` until the job has answered.
    resource: Mutex<Option<ResourceArc<JobResource>>>,
}

impl Mailbox {
    fn of(resource: &ResourceArc<JobResource>, pid: LocalPid, reference: Term<'_>) -> Self {
        let kept = OwnedEnv::new();
        let saved = kept.save(reference);
        Self {
            pid,
            reference: Mutex::new(Some(saved)),
            env: Mutex::new(kept),
            resource: Mutex::new(Some(resource.clone())),
        }
    }

    fn send(&self, tag: Atom, encode: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        let kept = self.env.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = self
            .reference
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(reference) = reference.as_ref() else {
            return;
        };
        let mut message = OwnedEnv::new();
        kept.run(|from| {
            let reference = reference.load(from);
            // An error means that the process has ended: nobody is there to be told.
            let _ = message.send_and_clear(&self.pid, |env| {
                (tag, reference.in_env(env), encode(env)).encode(env)
            });
        });
    }
}

impl<T: Spoken> Listener<T> for Mailbox {
    fn done(&self, result: Result<T::Output, T::Error>) {
        self.send(atoms::bc_gitops_job(), |env| match result {
            Ok(output) => (atoms::ok(), T::answer(env, output)).encode(env),
            Err(error) => (atoms::error(), error.into()).encode(env),
        });
        self.resource
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn progress(&self, progress: T::Progress) {
        self.send(atoms::bc_gitops_job_progress(), |env| {
            T::progress(env, progress)
        });
    }
}

/// Starts the job of a request, a map with at least `timeout` in milliseconds: `{ok, Job}`, and
/// `{bc_gitops_job, Reference, Answer}` to the process when it is done, with any number of
/// `{bc_gitops_job_progress, Reference, Map}` before. An answer is `{ok, Map}` or
/// `{error, {Kind, Details}}`.
pub fn start<'a, T: Spoken>(
    env: Env<'a>,
    request: Term<'a>,
    task: T,
    (pid, reference): Caller<'a>,
) -> NifResult<Term<'a>> {
    let timeout = Duration::from_millis(need(request, atoms::timeout())?);
    if !reference.is_ref() {
        return Err(Error::BadArg);
    }
    let resource = ResourceArc::new(JobResource {
        job: OnceLock::new(),
    });
    let mailbox = Mailbox::of(&resource, pid, reference);
    let job = job::start(task, timeout, Arc::new(mailbox));
    let waits = env.monitor(&resource, &pid).is_some();
    let started = resource.job.get_or_init(|| job);
    if !waits {
        started.cancel();
    }
    Ok((atoms::ok(), resource).encode(env))
}

#[rustler::nif]
fn job_cancel(job: ResourceArc<JobResource>) -> Atom {
    job.cancel();
    atoms::ok()
}

#[rustler::nif]
fn job_abandoned() -> usize {
    job::abandoned()
}
