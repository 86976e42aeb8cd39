//! The life of one run: pass output on, watch the time and the caller, end every process.

use crate::args::Run;
use crate::frame::{self, End};
use crate::{kill, spawn, watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, wait};
use std::io::{self, PipeReader, Read, Stdin, Stdout};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// A command that ends closes its output, which wakes us; one whose daemon keeps it open, or that
/// closed it itself, is looked after this often.
const TICK: Duration = Duration::from_millis(20);
const CHUNK: usize = 65_536;

/// Runs the command to its end and reports it.
pub fn run(run: &Run) -> ExitCode {
    become_subreaper();
    let mut to = io::stdout();
    let end = match spawn::spawn(run) {
        Ok((child, output)) => Supervisor::new(run, child, output).supervise(&mut to),
        Err(error) => End::CannotRun(error.to_string()),
    };
    // A failure to report means that nobody reads: there is no one left to tell.
    match frame::end(&mut to, &end) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Orphans of the command become our children instead of init's. A session of our own keeps the
/// terminal's signals away; where the VM has given us one already this says so, which is fine.
fn become_subreaper() {
    let _already_leader = rustix::process::setsid();
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        eprintln!("bc_gitops_runner: daemons of this command cannot be followed: {error}");
    }
}

struct Supervisor<'a> {
    run: &'a Run,
    child: Pid,
    output: Option<PipeReader>,
    input: Stdin,
    deadline: Instant,
    sent: u64,
    status: Option<End>,
    passed: Receiver<End>,
}

impl<'a> Supervisor<'a> {
    fn new(run: &'a Run, child: Pid, output: PipeReader) -> Self {
        Supervisor {
            run,
            child,
            output: Some(output),
            input: io::stdin(),
            deadline: Instant::now() + run.deadline,
            sent: 0,
            status: None,
            passed: watch::start(&run.limits),
        }
    }

    fn supervise(mut self, to: &mut Stdout) -> End {
        let end = self.until_end(to);
        kill::end_all(self.child, self.grace(&end), self.status.is_some());
        match end {
            End::Cancelled | End::OutputLimit => end,
            _ => self.drain(to).unwrap_or_else(|| self.judged(end)),
        }
    }

    /// What takes too much would take more of it in its grace.
    fn grace(&self, end: &End) -> Duration {
        match end {
            End::ProcessLimit | End::MemoryLimit | End::DiskLimit => Duration::ZERO,
            _ => self.run.grace,
        }
    }

    /// A command that the kernel kept from writing more ends in its own way, and may be faster than
    /// our look.
    fn judged(&self, end: End) -> End {
        match end {
            End::Exited(_) | End::Signalled(_) => {
                watch::disk_passed(&self.run.limits).unwrap_or(end)
            }
            _ => end,
        }
    }

    fn until_end(&mut self, to: &mut Stdout) -> End {
        loop {
            self.collect_ended();
            if let Some(status) = &self.status {
                return status.clone();
            }
            let now = Instant::now();
            if now >= self.deadline {
                return End::Deadline;
            }
            if let Ok(passed) = self.passed.try_recv() {
                return passed;
            }
            let (gone, readable) = self.wait_for_events(TICK.min(self.deadline - now));
            if gone && self.caller_is_gone() {
                return End::Cancelled;
            }
            if readable && let Some(end) = self.pass_on(to) {
                return end;
            }
        }
    }

    /// Takes the status of every child that ended: the command, and orphans that came to us.
    fn collect_ended(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.child {
                self.status = Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Exited(code),
                    (None, signal) => End::Signalled(signal.unwrap_or(0)),
                });
            }
        }
    }

    /// Whether the caller's pipe and whether the output have something.
    fn wait_for_events(&self, time: Duration) -> (bool, bool) {
        let mut fds = vec![PollFd::new(&self.input, PollFlags::IN)];
        if let Some(output) = &self.output {
            fds.push(PollFd::new(output, PollFlags::IN));
        }
        let time = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        match poll(&mut fds, Some(&time)) {
            Ok(_) => (
                !fds[0].revents().is_empty(),
                fds.get(1).is_some_and(|fd| !fd.revents().is_empty()),
            ),
            Err(_interrupted) => (false, false),
        }
    }

    fn caller_is_gone(&mut self) -> bool {
        let mut ignored = [0; 64];
        !matches!(self.input.read(&mut ignored), Ok(read) if read > 0)
    }

    /// Passes one chunk on; `Some` when that ends the run.
    fn pass_on(&mut self, to: &mut Stdout) -> Option<End> {
        let mut chunk = [0; CHUNK];
        let read = self
            .output
            .as_mut()
            .map_or(Ok(0), |output| output.read(&mut chunk));
        let length = match read {
            Ok(0) => {
                self.output = None;
                return None;
            }
            Ok(length) => length,
            Err(_) => return None,
        };
        let room = usize::try_from(self.run.max_output - self.sent).unwrap_or(usize::MAX);
        let part = length.min(room);
        self.sent += part as u64;
        if frame::output(to, &chunk[..part]).is_err() {
            return Some(End::Cancelled);
        }
        (part < length).then_some(End::OutputLimit)
    }

    /// What was written before the end and not read yet.
    fn drain(&mut self, to: &mut Stdout) -> Option<End> {
        while self.output.is_some() {
            let (_, readable) = self.wait_for_events(Duration::ZERO);
            if !readable {
                return None;
            }
            let end = self.pass_on(to);
            if end.is_some() {
                return end;
            }
        }
        None
    }
}
