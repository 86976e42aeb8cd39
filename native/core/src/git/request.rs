//! What a job is asked to do, and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::{Control, Task};

use super::auth::Auth;
use super::error::{GitError, Result};
use super::{checkout, follow, list, lock, mirror, options};

/// The largest number of bytes that a job receives when nothing else is said.
pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;

/// The largest number of objects that a job receives.
pub const MAX_OBJECTS: usize = 10_000_000;

/// One job.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// Credentials and what is allowed.
    pub auth: Auth,
    /// The most that is received, in bytes.
    pub max_bytes: u64,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Op {
    /// The branches and tags of a remote.
    List {
        /// The remote.
        url: String,
        /// Only branches and tags of these short names (`HEAD`: the default branch); everything
        /// when empty.
        only: Vec<String>,
    },
    /// A clone without a work tree that follows one branch.
    Follow {
        /// The remote.
        url: String,
        /// Where the clone is: `path/.git`.
        path: Vec<u8>,
        /// The branch.
        branch: String,
        /// Build the clone anew, whatever it looks like.
        repair: bool,
    },
    /// A clone with a work tree at a branch, tag or commit.
    Checkout {
        /// The remote.
        url: String,
        /// The work tree.
        path: Vec<u8>,
        /// Branch, tag, full or short commit id.
        reference: String,
        /// Remove what isn't in the commit.
        clean: bool,
        /// Where mirrors of what is fetched are kept, if any are.
        mirrors: Option<Vec<u8>>,
    },
    /// A new ordinary clone at a branch.
    Clone {
        /// The remote.
        url: String,
        /// The work tree.
        path: Vec<u8>,
        /// The branch.
        branch: String,
    },
    /// What a public remote has, for those who ask for it again.
    Mirror {
        /// The remote.
        url: String,
        /// Where all mirrors are.
        root: Vec<u8>,
        /// The bare repository that is made for whoever asks.
        share: Vec<u8>,
    },
    /// Mirrors that go, the one used longest ago first.
    DropMirrors {
        /// Where all mirrors are.
        root: Vec<u8>,
        /// Those of these remotes; all when empty.
        only: Vec<String>,
        /// The bytes that may stay.
        keep: u64,
    },
    /// An ordinary clone moved to what its remote has.
    Pull {
        /// The work tree.
        path: Vec<u8>,
        /// The branch.
        branch: String,
    },
}

impl Task for Request {
    type Output = Outcome;
    type Error = GitError;
    type Progress = Progress;

    fn run(&self, control: &Arc<Control>, progress: &dyn Fn(Progress)) -> Result<Outcome> {
        options::set();
        control.check()?;
        match &self.op {
            Op::List { url, only } => list::run(self, url, only, control).map(Outcome::Listed),
            Op::Follow {
                url,
                path,
                branch,
                repair,
            } => follow::run(&follow::Follow {
                request: self,
                url,
                path,
                branch,
                repair: *repair,
                control,
                progress,
            })
            .map(Outcome::Followed),
            Op::Mirror { url, root, share } => mirror::run(&mirror::Mirror {
                request: self,
                url,
                root,
                share,
                control,
                progress,
            })
            .map(Outcome::Mirrored),
            Op::DropMirrors { root, only, keep } => {
                mirror::clear(root, only, *keep, control).map(Outcome::Dropped)
            }
            Op::Checkout { .. } | Op::Clone { .. } | Op::Pull { .. } => {
                checkout::run(self, control, progress).map(Outcome::CheckedOut)
            }
        }
    }

    fn about(&self, error: GitError) -> GitError {
        error.about(&crate::url::redact(self.op.url()))
    }

    fn abandoned(&self, control: &Control) {
        lock::revoke(control);
    }
}

impl Op {
    /// The remote, as it was given.
    pub(crate) fn url(&self) -> &str {
        match self {
            Op::List { url, .. }
            | Op::Follow { url, .. }
            | Op::Mirror { url, .. }
            | Op::Checkout { url, .. }
            | Op::Clone { url, .. } => url,
            Op::Pull { .. } | Op::DropMirrors { .. } => "",
        }
    }
}

/// What a job answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Op::List`].
    Listed(Listing),
    /// Of [`Op::Follow`].
    Followed(Followed),
    /// Of [`Op::Checkout`], [`Op::Clone`] and [`Op::Pull`].
    CheckedOut(CheckedOut),
    /// Of [`Op::Mirror`].
    Mirrored(Mirrored),
    /// Of [`Op::DropMirrors`]: how many went.
    Dropped(u64),
}

/// The branches and tags of a remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Full names to commit ids; an annotated tag has the id of what it tags.
    pub refs: BTreeMap<String, String>,
    /// The branch that the remote's HEAD names.
    pub head: Option<String>,
}

/// Where a followed branch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The commit of the branch now.
    pub commit: String,
    /// The commit before.
    pub previous: Option<String>,
    /// What was received.
    pub fetched_bytes: u64,
}

/// A mirror that was shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// When the remote was last heard of, in seconds since 1970.
    pub heard: u64,
    /// What was received.
    pub fetched_bytes: u64,
    /// Why the remote was not heard now.
    pub silent: Option<String>,
}

/// What stands in a work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOut {
    /// The commit.
    pub commit: String,
    /// What the ref turned out to be.
    pub kind: RefKind,
    /// What was received, submodules included.
    pub fetched_bytes: u64,
}

/// What a ref turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    /// A branch of the remote.
    Branch,
    /// A tag.
    Tag,
    /// A full or short commit id.
    Commit,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Objects received so far.
    pub received_objects: usize,
    /// Objects in all.
    pub total_objects: usize,
    /// Bytes received so far.
    pub received_bytes: usize,
}
