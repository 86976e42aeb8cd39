//! Starts the command: a session of its own, no input, output and errors in one pipe, limits set.

use crate::args::Run;
use rustix::process::{Pid, Resource, Rlimit, setrlimit, setsid};
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
    let memory = run.memory;
    // SAFETY: between fork and exec only system calls are made: no allocation, no lock.
    unsafe { command.pre_exec(move || limits(memory)) };
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok((
        pid.ok_or_else(|| io::Error::other("no process id"))?,
        reader,
    ))
}

fn limits(memory: Option<u64>) -> io::Result<()> {
    setsid()?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    set(Resource::Core, Some(0))?;
    match memory {
        Some(bytes) => set(Resource::As, Some(bytes)),
        None => Ok(()),
    }
}

fn set(resource: Resource, limit: Option<u64>) -> io::Result<()> {
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    Ok(setrlimit(resource, limit)?)
}
