//! Runs one command of a build for the VM and leaves none of its processes behind.
//!
//! ```text
//! bc_gitops_runner run  --deadline MS --grace MS --max-output BYTES [--processes N] [--memory BYTES]
//!     [--disk BYTES --scratch DIR] [--files N] [--cd DIR] -- PROGRAM ARG…
//! bc_gitops_runner reap --marker DIR --wait MS
//! bc_gitops_runner remove DIR
//! git-remote-bcgitops REMOTE URL
//! ```
//! `run` speaks frames of a 4-byte length on its standard output (see [`frame`]) and takes the end
//! of its standard input as "whoever asked is gone". `reap` ends what a dead VM's builds left, `remove`
//! removes where they wrote. Under its other name it is a helper of git (see [`helper`]).
#![deny(missing_docs)]

mod args;
mod disk;
mod frame;
mod helper;
mod kill;
#[cfg(target_os = "linux")]
mod processes;
mod reap;
mod remove;
mod spawn;
mod supervise;
mod watch;

use args::Mode;
use std::path::PathBuf;
use std::process::ExitCode;

/// The status for arguments that make no sense, as `sysexits.h` has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().map(PathBuf::from).unwrap_or_default();
    if name.file_name().is_some_and(|name| name == helper::NAME) {
        return helper::run(args);
    }
    match args::parse(args) {
        Ok(Mode::Run(run)) => supervise::run(&run),
        Ok(Mode::Reap(reap)) => reap::run(&reap),
        Ok(Mode::Remove(remove)) => remove::run(&remove),
        Err(message) => {
            eprintln!("bc_gitops_runner: {message}");
            ExitCode::from(USAGE)
        }
    }
}
