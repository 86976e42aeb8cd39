//! What is to be done, and why: desired state against current state.
//!
//! [`plan`] names the differences of each application (`difference`), orders what follows from them
//! and confines what cannot be done to the applications it touches. It keeps nothing and knows
//! nothing of git, processes or Erlang; names are whatever the caller uses for them. Its work grows
//! with the number of applications plus the number of their dependencies, which [`Visited`] counts.

mod difference;
mod index;
mod removal;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::HashSet;
use std::hash::Hash;

pub use difference::Reason;

/// A name: of an application as the caller knows it.
pub trait Name: Copy + Eq + Hash {}
impl<T: Copy + Eq + Hash> Name for T {}

/// Where an application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In this VM.
    Embedded,
    /// In a VM of its own.
    Vm,
}

/// An application as its specification wants it.
#[derive(Debug, Clone)]
pub struct Desired<'a, N> {
    /// The application.
    pub name: N,
    /// The directory of its specification.
    pub dir: &'a [u8],
    /// The version wanted.
    pub version: &'a [u8],
    /// Fingerprint of where its code comes from.
    pub source: &'a [u8],
    /// Fingerprint of its environment.
    pub env: &'a [u8],
    /// Where it shall run.
    pub isolation: Isolation,
    /// What must run before it.
    pub depends_on: Vec<N>,
}

/// An application that we manage, as it is. What is `None` is not known and differs from nothing.
#[derive(Debug, Clone)]
pub struct Current<'a, N> {
    /// The application.
    pub name: N,
    /// The directory that its specification came from.
    pub dir: Option<&'a [u8]>,
    /// Whether it runs.
    pub running: bool,
    /// The version that runs.
    pub version: Option<&'a [u8]>,
    /// Fingerprint of where its code came from.
    pub source: Option<&'a [u8]>,
    /// Fingerprint of the environment it has.
    pub env: Option<&'a [u8]>,
    /// Where it runs.
    pub isolation: Isolation,
    /// What it was deployed after.
    pub depends_on: Vec<N>,
    /// What else is known about it.
    pub notes: Notes,
}

/// What is known about a running application beyond its specification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// The ref of its source names another commit now.
    pub moved: bool,
    /// A manual upgrade holds until the next commit: its version and source are left alone.
    pub pinned: bool,
    /// Its health checks fail.
    pub unhealthy: bool,
    /// Its loaded code is not that of its build.
    pub drift: bool,
}

/// A directory whose specification cannot be read and of which no good one is known.
#[derive(Debug, Clone, Copy)]
pub struct Broken<'a, N> {
    /// The directory.
    pub dir: &'a [u8],
    /// The application's name, from the specification or else the directory's name, when it is one
    /// that anything is called by.
    pub name: Option<N>,
    /// Whether `name` was read from the specification.
    pub certain: bool,
}

/// How to plan.
#[derive(Debug, Clone)]
pub struct Options<'a, N> {
    /// Whether applications that are not desired are removed.
    pub remove_orphans: bool,
    /// Applications of the host that may be depended on.
    pub host: HashSet<N>,
    /// What could not be read.
    pub broken: Vec<Broken<'a, N>>,
}

impl<N> Default for Options<'_, N> {
    fn default() -> Self {
        Self {
            remove_orphans: true,
            host: HashSet::new(),
            broken: Vec::new(),
        }
    }
}

/// What is to be done with one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionKind {
    /// Start it: it does not run.
    Deploy,
    /// Replace its code, or start it anew.
    Upgrade,
    /// Change its environment.
    Reconfigure,
    /// Stop it and forget it.
    Remove,
}

/// One thing to do, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action<'a, N> {
    /// What to do.
    pub kind: ActionKind,
    /// The application.
    pub name: N,
    /// Counted from 1; actions of one wave may run side by side.
    pub wave: u32,
    /// The applications whose actions of this plan must be done before.
    pub after: Vec<N>,
    /// Why: never empty.
    pub reasons: Vec<Reason<'a>>,
}

/// Why nothing can be done for an application; what runs of it is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockReason<'a, N> {
    /// It depends on itself through others, or belongs to several such cycles. One cycle is named,
    /// each name depending on the next and the last on the first; at most [`MAX_CYCLE_NAMES`].
    Cycle(Vec<N>),
    /// It names itself as a dependency.
    SelfDependency,
    /// These are neither desired, nor running and to stay, nor the host's.
    MissingDependency(Vec<N>),
    /// This dependency cannot be deployed and does not run.
    BlockedDependency(N),
    /// Specifications in these directories have its name.
    Duplicate(Vec<&'a [u8]>),
}

/// How many names of a cycle are given: each of its members is given them.
pub const MAX_CYCLE_NAMES: usize = 20;

/// Why the removal of orphans was refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// More than one application is managed, and all would go.
    AllOrphans,
}

/// Removals that are not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<N> {
    /// Why.
    pub reason: RefusalReason,
    /// What would have been removed.
    pub names: Vec<N>,
}

/// What the planner looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Visited {
    /// Applications.
    pub nodes: usize,
    /// Dependencies.
    pub edges: usize,
}

/// What is to be done. Each name of the desired and the current state is in exactly one of
/// `actions`, `blocked`, `held` and `refused`, or counted in `unchanged`.
#[derive(Debug, Clone)]
pub struct Plan<'a, N> {
    /// By wave; within one, deployments and upgrades before removals.
    pub actions: Vec<Action<'a, N>>,
    /// What cannot be done.
    pub blocked: Vec<(N, BlockReason<'a, N>)>,
    /// What is left alone since its specification cannot be read.
    pub held: Vec<N>,
    /// Removals that are not done.
    pub refused: Option<Refusal<N>>,
    /// How many need nothing (among them orphans, when these are not removed).
    pub unchanged: usize,
    /// How much was looked at.
    pub visited: Visited,
}

/// What makes `current` equal to `desired`.
pub fn plan<'a, N: Name>(
    desired: &[Desired<'a, N>],
    current: &[Current<'a, N>],
    options: &Options<'a, N>,
) -> Plan<'a, N> {
    let index = index::Index::new(desired, current);
    let orphans = removal::orphans(&index, options);
    let mut plan = Plan {
        actions: Vec::new(),
        blocked: Vec::new(),
        held: orphans.held.iter().map(|&id| index.name(id)).collect(),
        refused: orphans.refused.map(|reason| Refusal {
            reason,
            names: orphans
                .candidates
                .iter()
                .map(|&id| index.name(id))
                .collect(),
        }),
        unchanged: orphans.kept,
        visited: index.visited(),
    };
    let waves = verdict::decide(&index, &orphans, options, &mut plan);
    removal::order(&index, &orphans, &waves, &mut plan);
    plan.actions.sort_by_key(|action| action.wave);
    plan
}
