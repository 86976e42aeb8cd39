//! Ends every process of a run: TERM, a grace, then KILL until none is left.

use rustix::process::{Pid, Signal, WaitOptions, wait};
use std::time::{Duration, Instant};

/// A killed process is gone in milliseconds, unless it hangs in the kernel: then waiting is no use.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Ends the command (if it still runs) and all that came from it.
pub fn end_all(child: Pid, grace: Duration, ended: bool) {
    let mut run = Descendants { child, ended };
    if !run.signal(Some(Signal::TERM)) {
        return;
    }
    let kill_at = Instant::now() + grace;
    while Instant::now() < kill_at {
        if !run.signal(None) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    let give_up = Instant::now() + KILL_LIMIT;
    while run.signal(Some(Signal::KILL)) && Instant::now() < give_up {
        std::thread::yield_now();
    }
}

struct Descendants {
    child: Pid,
    ended: bool,
}

impl Descendants {
    /// Signals all that live (`None`: only looks); whether there were any.
    fn signal(&mut self, signal: Option<Signal>) -> bool {
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            self.ended |= pid == self.child;
        }
        self.signal_living(signal)
    }

    /// By process and by group: a group's signal also reaches a child that is being forked.
    #[cfg(target_os = "linux")]
    fn signal_living(&self, signal: Option<Signal>) -> bool {
        use crate::processes;
        let living = processes::descendants();
        if let Some(signal) = signal {
            for process in &living {
                // An error is a process that ended just now.
                let _gone = rustix::process::kill_process_group(process.group, signal);
                let _gone = rustix::process::kill_process(process.pid, signal);
            }
        }
        !living.is_empty()
    }

    /// Without /proc and subreapers: the group of the command's session.
    #[cfg(not(target_os = "linux"))]
    fn signal_living(&self, signal: Option<Signal>) -> bool {
        use rustix::process::{kill_process_group, test_kill_process_group};
        match signal {
            Some(signal) => kill_process_group(self.child, signal).is_ok(),
            None => test_kill_process_group(self.child).is_ok(),
        }
    }
}
