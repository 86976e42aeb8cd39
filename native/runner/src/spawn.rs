//! Starts the command: a session of its own, no input, output and errors in one pipe, limits set.

use crate::args::{Limits, Run};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit, setsid};
use std::io::{self, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Starts the command; answers its process id and the reading end of its output.
pub fn spawn(run: &Run) -> io::Result<(Pid, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&run.program);
    command.args(&run.args).stdin(Stdio::null());
    command.stdout(writer.try_clone()?).stderr(writer);
    if let Some(dir) = &run.cd {
        command.current_dir(dir);
    }
    let limits = of_the_kernel(&run.limits);
    // SAFETY: between fork and exec only system calls are made: no allocation, no lock.
    unsafe { command.pre_exec(move || before_exec(limits)) };
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok((
        pid.ok_or_else(|| io::Error::other("no process id"))?,
        reader,
    ))
}

/// The BEAM of OTP 27 keeps its machine code in a file in memory of 64 MiB.
const LEAST_FILE: u64 = 128 << 20;

/// A single file cannot be larger than all may be together. Address space is limited only where
/// nobody can look at what memory is used: a VM reserves far more of it than it uses.
fn of_the_kernel(limits: &Limits) -> [(Resource, Option<u64>); 4] {
    let space = limits.memory.filter(|_| cfg!(not(target_os = "linux")));
    [
        (Resource::Core, Some(0)),
        (
            Resource::Fsize,
            limits.disk.map(|disk| disk.max(LEAST_FILE)),
        ),
        (Resource::Nofile, limits.files),
        (Resource::As, space),
    ]
}

fn before_exec(limits: [(Resource, Option<u64>); 4]) -> io::Result<()> {
    setsid()?;
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        be_the_first_to_go();
    }
    for (resource, limit) in limits {
        if let Some(limit) = limit {
            set(resource, limit)?;
        }
    }
    Ok(())
}

/// Where the machine runs out of memory the kernel ends the build and not the VM. That cannot fail
/// for want of a right; without /proc nothing is lost but this.
#[cfg(target_os = "linux")]
fn be_the_first_to_go() {
    use rustix::fs::{Mode, OFlags, open};
    if let Ok(file) = open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty()) {
        let _as_it_was = rustix::io::write(&file, b"1000");
    }
}

/// A limit that is lower already stays.
fn set(resource: Resource, limit: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum;
    let limit = Some(most.map_or(limit, |most| most.min(limit)));
    Ok(setrlimit(
        resource,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )?)
}
