//! Ends what the builds of a dead VM left: every process whose environment or working directory
//! lies in its scratch directory. Runners end by themselves when their caller dies, and know best
//! what belongs to them: they get time first.

use crate::args::Reap;
use std::process::ExitCode;

/// Ends the marked processes; the exit status says whether none is left.
#[cfg(target_os = "linux")]
pub fn run(reap: &Reap) -> ExitCode {
    linux::run(reap)
}

/// Without /proc another process's environment cannot be seen: the runners get their time.
#[cfg(not(target_os = "linux"))]
pub fn run(reap: &Reap) -> ExitCode {
    eprintln!(
        "bc_gitops_runner: waiting for what runs in {}",
        reap.marker.display()
    );
    std::thread::sleep(reap.wait);
    ExitCode::SUCCESS
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::args::Reap;
    use crate::processes::{self, Process};
    use rustix::process::{Signal, getpid, kill_process};
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    const VARIABLE: &[u8] = b"BC_GITOPS_SCRATCH=";
    const PAUSE: Duration = Duration::from_millis(20);
    /// After the runners' time: a killed process is gone in milliseconds.
    const KILL_LIMIT: Duration = Duration::from_secs(5);

    pub fn run(reap: &Reap) -> ExitCode {
        let runners_until = Instant::now() + reap.wait;
        let give_up = runners_until + KILL_LIMIT;
        loop {
            let left = marked(&reap.marker);
            if left.is_empty() {
                return ExitCode::SUCCESS;
            }
            let now = Instant::now();
            if now >= give_up {
                return ExitCode::FAILURE;
            }
            for process in left {
                if now >= runners_until || !below_a_runner(&process) {
                    // An error is a process that ended just now.
                    let _gone = kill_process(process.pid, Signal::KILL);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn marked(marker: &Path) -> Vec<Process> {
        let own = getpid();
        let mut processes = processes::all();
        processes
            .retain(|process| process.pid != own && !process.zombie && is_marked(process, marker));
        processes
    }

    fn is_marked(process: &Process, marker: &Path) -> bool {
        let proc = dir(process);
        let environment = fs::read(proc.join("environ")).unwrap_or_default();
        let in_environment = environment.split(|byte| *byte == 0).any(|variable| {
            variable
                .strip_prefix(VARIABLE)
                .is_some_and(|value| within(value, marker))
        });
        in_environment || fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(marker))
    }

    fn within(path: &[u8], marker: &Path) -> bool {
        Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(marker)
    }

    /// A runner, or a process that a living runner is ending. The file of a runner may have been
    /// replaced since (its link then ends in "(deleted)"): its name tells.
    fn below_a_runner(process: &Process) -> bool {
        let is_runner = |pid: i32| {
            let exe = fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe"));
            let name = exe
                .unwrap_or_default()
                .file_name()
                .unwrap_or_default()
                .to_owned();
            name.as_bytes().starts_with(b"bc_gitops_runner")
        };
        is_runner(process.pid.as_raw_pid()) || is_runner(process.parent)
    }

    fn dir(process: &Process) -> PathBuf {
        Path::new("/proc").join(process.pid.as_raw_pid().to_string())
    }
}
