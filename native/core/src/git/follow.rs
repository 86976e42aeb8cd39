//! Following a branch in a clone without a work tree.
//!
//! The clone is `path/.git`, so the system's git works in it, and nothing on disk can be mistaken for
//! what the branch says. A poll lists the remote and compares one id. Only objects are fetched by
//! libgit2; the refs are written here, after the last look at the job's control and the path's lock.

use std::path::Path;

use git2::{Oid, Repository};

use crate::job::Control;

use super::error::{Fact, GitError, Kind, Result};
use super::lock::{self, PathLock};
use super::place::{self, Aside, Place};
use super::request::{Followed, Progress, Request};
use super::session::{Budget, Head, Session};
use super::{auth::Auth, grammar};
use crate::url::Url;

/// How much history a first fetch brings where the transport can leave some out.
const DEPTH: i32 = 50;

/// Each fetch leaves a pack; past this number the clone is built anew in one.
const MAX_PACKS: usize = 200;

/// One job of this kind.
pub(crate) struct Follow<'a> {
    pub(crate) request: &'a Request,
    pub(crate) url: &'a str,
    pub(crate) path: &'a [u8],
    pub(crate) branch: &'a str,
    pub(crate) repair: bool,
    pub(crate) control: &'a Control,
    pub(crate) progress: &'a dyn Fn(Progress),
}

/// Brings the clone to the remote's branch.
pub(crate) fn run(job: &Follow<'_>) -> Result<Followed> {
    let url = Url::parse(job.url, job.request.auth.policy)?;
    grammar::reference(job.branch)?;
    let path = grammar::path(job.path)?;
    let auth = job.request.auth.bound_to(&url);
    let lock = lock::acquire(&path, job.control)?;
    place::recover(&path)?;
    let place = place::inspect(&path)?;
    let budget = Budget::new(job.request.max_bytes, job.progress);
    let follower = Follower {
        job,
        url: &url,
        auth: &auth,
        path: &path,
        lock: &lock,
        budget: &budget,
    };
    follower.run(place).map_err(|error| error.about(&url.clean))
}

struct Follower<'a> {
    job: &'a Follow<'a>,
    url: &'a Url,
    auth: &'a Auth,
    path: &'a Path,
    lock: &'a PathLock,
    budget: &'a Budget<'a>,
}

impl Follower<'_> {
    fn run(&self, place: Place) -> Result<Followed> {
        let repository = match place {
            Place::Clone(repository) => repository,
            Place::Free | Place::Damaged(_) => return self.rebuild(None),
        };
        self.refuse_strangers(&repository)?;
        let previous = self.tracked(&repository);
        if self.job.repair || place::packs(self.path) > MAX_PACKS {
            return self.rebuild(previous);
        }
        match self.update(&repository, previous) {
            Err(error) if error.kind == Kind::Corrupt => self.rebuild(previous),
            result => result,
        }
    }

    /// Someone's own repository, with commits and no origin, is not a clone of ours or of 0.7.
    fn refuse_strangers(&self, repository: &Repository) -> Result<()> {
        let has_origin = repository.find_remote("origin").is_ok();
        if has_origin || repository.head().is_err() || self.tracked(repository).is_some() {
            return Ok(());
        }
        let message = format!(
            "{} holds a repository that is no clone: it is left alone",
            self.path.display()
        );
        Err(GitError::new(Kind::BadPath, message).with(Fact::Path, self.path.display()))
    }

    /// The commit that the clone has, if its objects can be read.
    fn tracked(&self, repository: &Repository) -> Option<Oid> {
        repository.refname_to_id(&self.tracking_ref()).ok()
    }

    fn tracking_ref(&self) -> String {
        format!("refs/remotes/origin/{}", self.job.branch)
    }

    fn update(&self, repository: &Repository, previous: Option<Oid>) -> Result<Followed> {
        let session = Session::new(self.url, self.auth, self.job.control, self.budget)?;
        let mut remote = self.remote(repository)?;
        session.connected(&mut remote, |connection| {
            let wanted = self.wanted(&session.heads(connection)?)?;
            if previous == Some(wanted) && self.is_settled(repository, wanted) {
                readable(repository, wanted)?;
                return Ok(self.followed(wanted, previous));
            }
            self.lock.check()?;
            place::sweep(self.path)?;
            if previous != Some(wanted) {
                // A clone that has its whole history keeps it.
                let depth = repository.is_shallow().then_some(DEPTH);
                self.fetch(&session, connection.remote(), depth)?;
            }
            self.write_refs(repository, wanted)?;
            self.write_origin(repository)?;
            Ok(self.followed(wanted, previous))
        })
    }

    /// Clones beside the present repository and puts the result in its place.
    fn rebuild(&self, previous: Option<Oid>) -> Result<Followed> {
        let session = Session::new(self.url, self.auth, self.job.control, self.budget)?;
        let (aside, repository) = Aside::make(self.path, self.job.control.id())?;
        let mut remote = self.remote(&repository)?;
        let wanted = session.connected(&mut remote, |connection| {
            let wanted = self.wanted(&session.heads(connection)?)?;
            self.fetch(&session, connection.remote(), Some(DEPTH))?;
            Ok(wanted)
        })?;
        self.write_origin(&repository)?;
        self.write_refs(&repository, wanted)?;
        drop(remote);
        drop(repository);
        self.lock.check()?;
        aside.swap_in()?;
        Ok(self.followed(wanted, previous))
    }

    fn remote<'r>(&self, repository: &'r Repository) -> Result<git2::Remote<'r>> {
        repository
            .remote_anonymous(&self.url.clean)
            .map_err(|error| place::local(self.path, &error))
    }

    fn wanted(&self, heads: &[Head]) -> Result<Oid> {
        let full = format!("refs/heads/{}", self.job.branch);
        if let Some(head) = heads.iter().find(|head| head.name == full) {
            return Ok(head.id);
        }
        Err(branch_missing(self.job.branch, heads))
    }

    fn fetch(
        &self,
        session: &Session<'_>,
        remote: &mut git2::Remote<'_>,
        depth: Option<i32>,
    ) -> Result<()> {
        let refspec = format!("+refs/heads/{}:{}", self.job.branch, self.tracking_ref());
        session.download(remote, &[refspec], depth)
    }

    fn write_refs(&self, repository: &Repository, wanted: Oid) -> Result<()> {
        readable(repository, wanted)?;
        self.job.control.check()?;
        self.lock.check()?;
        let name = self.tracking_ref();
        let write = || {
            repository
                .reference(&name, wanted, true, "bc_gitops: follow")
                .map(drop)
        };
        // A branch `a` that is no longer followed stands in the way of a branch `a/b`.
        let written = write().or_else(|_| drop_tracked(repository).and_then(|()| write()));
        written.map_err(|error| place::local(self.path, &error))?;
        self.write_head(repository, wanted)
    }

    /// Nothing is to be written: a job that was killed in the middle may have left HEAD behind the
    /// branch, or a lock beside either.
    fn is_settled(&self, repository: &Repository, wanted: Oid) -> bool {
        self.has_head(repository, wanted) && self.has_origin(repository)
    }

    fn has_head(&self, repository: &Repository, wanted: Oid) -> bool {
        let adopted = repository.path().join("index").exists();
        adopted || repository.head().ok().and_then(|head| head.target()) == Some(wanted)
    }

    fn has_origin(&self, repository: &Repository) -> bool {
        let url = repository
            .config()
            .and_then(|config| config.get_string("remote.origin.url"));
        url.is_ok_and(|url| url == self.url.clean)
    }

    /// Lets HEAD name the commit, so that `git log` shows it. The HEAD of a clone with a work tree
    /// belongs to that work tree.
    fn write_head(&self, repository: &Repository, wanted: Oid) -> Result<()> {
        if self.has_head(repository, wanted) {
            return Ok(());
        }
        let written = repository.set_head_detached(wanted);
        written.map_err(|error| place::local(self.path, &error))
    }

    /// Writes the remote's url, without user information, where `git remote -v` finds it.
    fn write_origin(&self, repository: &Repository) -> Result<()> {
        if self.has_origin(repository) {
            return Ok(());
        }
        let written = repository.config().and_then(|mut config| {
            config.set_str("remote.origin.url", &self.url.clean)?;
            config.set_str("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
        });
        written.map_err(|error| place::local(self.path, &error))
    }

    fn followed(&self, commit: Oid, previous: Option<Oid>) -> Followed {
        Followed {
            commit: commit.to_string(),
            previous: previous.map(|id| id.to_string()),
            fetched_bytes: self.budget.received(),
        }
    }
}

fn drop_tracked(repository: &Repository) -> std::result::Result<(), git2::Error> {
    for reference in repository.references_glob("refs/remotes/origin/*")? {
        reference?.delete()?;
    }
    Ok(())
}

/// An error when the commit or its tree can't be read: the clone is damaged.
fn readable(repository: &Repository, commit: Oid) -> Result<()> {
    let read = repository
        .find_commit(commit)
        .and_then(|commit| commit.tree().map(drop));
    read.map_err(|error| {
        GitError::new(
            Kind::Corrupt,
            format!("commit {commit}: {}", error.message()),
        )
    })
}

/// The error of a branch that the remote doesn't have.
pub(crate) fn branch_missing(branch: &str, heads: &[Head]) -> GitError {
    let mut names: Vec<&str> = heads
        .iter()
        .filter_map(|head| head.name.strip_prefix("refs/heads/"))
        .collect();
    if names.is_empty() {
        return GitError::new(Kind::EmptyRepository, "the repository has no branch yet")
            .with(Fact::Ref, branch);
    }
    names.sort_unstable();
    let more = if names.len() > 10 { ", …" } else { "" };
    names.truncate(10);
    let message = format!(
        "the repository has no branch {branch}; it has {}{more}",
        names.join(", ")
    );
    GitError::new(Kind::BranchNotFound, message).with(Fact::Ref, branch)
}
