//! Whether code can change while it runs: what differs between two builds of an application, the
//! steps that lead from one to the other, and the reasons against them.
//!
//! ```text
//! two builds ─compare─▶ Comparison ─▶ reasons ─none─▶ steps
//! ```
//!
//! A build is a directory `lib/APP` with `ebin`, and `priv` and `consolidated` where it has them.
//! Which processes run what, and what a supervisor asks for, is known at run time only and not here.

mod app_file;
mod appup;
mod compare;
mod error;
mod instruction;
mod order;
mod private;
mod reasons;
mod roles;
mod steps;

use std::path::PathBuf;

pub use appup::{Appup, appup};
pub use compare::{AppChanges, Comparison, ModuleChange, compare};
pub use error::HotError;
pub use instruction::Script;
pub use private::PrivateChanges;
pub use reasons::{Reason, ReasonKind};
pub use steps::{Coming, Step, steps_to};

/// How an application's code is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// While it runs, when nothing speaks against it.
    Auto,
    /// While it runs, unless that cannot work.
    Hot,
    /// By stopping and starting it.
    Restart,
}

/// What the comparison cannot know.
#[derive(Debug, Clone)]
pub struct Options {
    /// As its spec says.
    pub strategy: Strategy,
    /// Whether both builds are of one OTP and one Elixir.
    pub toolchain_same: bool,
    /// What a handwritten appup for exactly these versions of the first build does.
    pub script: Option<Script>,
}

/// What is to be done with the code that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// These steps in this order; none when no code changed.
    Hot(Vec<Step>),
    /// A restart, for these reasons.
    Restart(Vec<Reason>),
}

/// A verdict and what it rests on.
#[derive(Debug)]
pub struct Plan {
    /// What is to be done.
    pub verdict: Verdict,
    /// The comparisons, in the order of the builds.
    pub builds: Vec<Comparison>,
}

/// The plan for pairs of old and new builds: the application, then what changes along with it.
pub fn plan(pairs: &[(PathBuf, PathBuf)], options: &Options) -> Result<Plan, HotError> {
    let builds: Result<Vec<Comparison>, HotError> =
        pairs.iter().map(|(old, new)| compare(old, new)).collect();
    let builds = builds?;
    let reasons = reasons::against(&builds, options);
    let verdict = if reasons.is_empty() {
        Verdict::Hot(steps::steps(&builds))
    } else {
        Verdict::Restart(reasons)
    };
    Ok(Plan { verdict, builds })
}

/// Fuzz entry: any bytes are a resource file or not, an appup or not.
pub fn fuzz(bytes: &[u8]) {
    app_file::fuzz(bytes);
    let path = std::path::Path::new("a.appup");
    if let Ok(appup) = appup::parse(path, bytes, usize::MAX, &crate::spec::NoAtoms) {
        assert!(crate::spec::etf::from_bytes(&appup.external).is_some());
    }
}

#[cfg(test)]
mod tests;
