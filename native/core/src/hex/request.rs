//! The jobs of this room.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::HexError;
use super::fetch::{self, Fetch, Fetched, Progress};
use super::plugins::{self, Plugins};
use super::repo::Repo;
use super::resolve::{self, Resolve, Resolved, Tools};
use super::web::Web;
use crate::git::auth::Auth;
use crate::job::{Control, Task};

/// One job.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// The repositories; the first one that has a package is its own where nothing else is said.
    pub repos: Vec<Repo>,
    /// A directory that jobs share, also with other VMs.
    pub cache: PathBuf,
    /// The CA file and which urls are allowed; nothing else of it is used.
    pub auth: Auth,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Op {
    /// Choose versions.
    Resolve(Resolve),
    /// Choose what plugins packages are built with.
    Plugins(Plugins),
    /// Bring packages onto the disk.
    Fetch(Fetch),
}

/// What a job answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Op::Resolve`] and [`Op::Plugins`].
    Resolved(Resolved),
    /// Of [`Op::Fetch`], in the order of names.
    Fetched(Vec<Fetched>),
}

impl Task for Request {
    type Output = Outcome;
    type Error = HexError;
    type Progress = Progress;

    fn run(
        &self,
        control: &Arc<Control>,
        progress: &dyn Fn(Progress),
    ) -> Result<Outcome, HexError> {
        let web = Web::new(&self.auth, control)?;
        let tools = Tools {
            repos: &self.repos,
            transport: &web,
            cache: &self.cache,
            control,
        };
        match &self.op {
            Op::Resolve(resolve) => resolve::run(resolve, &tools).map(Outcome::Resolved),
            Op::Plugins(wanted) => plugins::run(wanted, &tools, progress).map(Outcome::Resolved),
            Op::Fetch(fetch) => fetch::run(fetch, &tools, progress).map(Outcome::Fetched),
        }
    }
}
