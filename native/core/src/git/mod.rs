//! Git over libgit2: what a remote has, following a branch, ordinary checkouts, mirrors, the local log.
//!
//! ```text
//! grammar ─▶ request, run as a job ─▶ list | follow | checkout | mirror
//!                          │                       │
//!                 lock (one job per path)        session (auth, known_hosts, limits)
//! ```
//! Everything that comes from outside has a grammar. No user information of a url reaches libgit2,
//! an error or a file: it is kept apart and handed out by the credentials callback only.

pub mod auth;
pub mod checkout;
pub mod error;
pub mod follow;
pub mod grammar;
pub mod list;
pub mod local;
pub mod options;
pub mod request;
pub mod tree;

#[doc(hidden)]
pub mod known_hosts;
mod lock;
mod mirror;
mod place;
mod session;
mod ssh_home;
mod submodule;
mod worktree;

pub use error::{GitError, Kind};
