//! Ordinary clones with a work tree: cloning, updating, and their submodules.

use std::path::Path;

use git2::{Oid, Remote, Repository};

use crate::job::Control;

use super::auth::Auth;
use super::error::{Fact, GitError, Kind, Result};
use super::lock::{self, PathLock};
use super::place::{self, Aside, Place};
use super::request::{CheckedOut, Op, Progress, RefKind, Request};
use super::session::{Budget, Head, Session};
use super::submodule;
use super::worktree::{self, Contents, Limits, Target};
use super::{follow, grammar, list, mirror};
use crate::url::Url;

/// What the remotes of one job share.
pub(crate) struct Job<'a> {
    pub(crate) auth: &'a Auth,
    pub(crate) control: &'a Control,
    pub(crate) budget: &'a Budget<'a>,
    pub(crate) lock: &'a PathLock,
    pub(crate) clean: bool,
    /// Where mirrors of what is fetched are kept.
    pub(crate) mirrors: Option<&'a Path>,
}

/// Runs a checkout, clone or pull.
pub(crate) fn run(
    request: &Request,
    control: &Control,
    progress: &dyn Fn(Progress),
) -> Result<CheckedOut> {
    let (path, reference) = match &request.op {
        Op::Checkout {
            path, reference, ..
        } => (path, reference),
        Op::Clone { path, branch, .. } | Op::Pull { path, branch } => (path, branch),
        Op::List { .. } | Op::Follow { .. } | Op::Mirror { .. } | Op::DropMirrors { .. } => {
            return Err(GitError::new(Kind::BadPath, "not an op with a work tree"));
        }
    };
    if reference != "HEAD" {
        grammar::reference(reference)?;
    }
    let path = grammar::path(path)?;
    let lock = lock::acquire(&path, control)?;
    place::recover(&path)?;
    let url = remote_url(request, &path)?;
    let auth = request.auth.bound_to(&url);
    let budget = Budget::new(request.max_bytes, progress);
    let clean = matches!(request.op, Op::Checkout { clean: true, .. });
    let mirrors = match &request.op {
        Op::Checkout { mirrors, .. } => mirrors.as_deref().map(grammar::path).transpose()?,
        _ => None,
    };
    let job = Job {
        auth: &auth,
        control,
        budget: &budget,
        lock: &lock,
        clean,
        mirrors: mirrors.as_deref(),
    };
    let only_branch = !matches!(request.op, Op::Checkout { .. });
    let target = job
        .bring(&url, &path, reference, only_branch, 0)
        .map_err(|error| error.about(&url.clean))?;
    Ok(CheckedOut {
        commit: target.commit.to_string(),
        kind: target.kind,
        fetched_bytes: budget.received(),
    })
}

/// The url of the request, or of the clone for a pull.
fn remote_url(request: &Request, path: &Path) -> Result<Url> {
    let policy = request.auth.policy;
    match &request.op {
        Op::Pull { .. } => {
            let missing = || {
                let message = format!("{} holds no clone", path.display());
                GitError::new(Kind::NotFound, message).with(Fact::Path, path.display())
            };
            let Place::Clone(repository) = place::inspect(path)? else {
                return Err(missing());
            };
            let config = repository
                .config()
                .map_err(|error| place::local(path, &error))?;
            let url = config
                .get_string("remote.origin.url")
                .map_err(|_| missing())?;
            Ok(Url::parse(&url, policy)?)
        }
        Op::Clone { url, .. } => {
            let url = Url::parse(url, policy)?;
            match place::inspect(path)? {
                Place::Free => Ok(url),
                Place::Clone(_) | Place::Damaged(_) => {
                    let message = format!("{} holds a repository already", path.display());
                    Err(GitError::new(Kind::BadPath, message).with(Fact::Path, path.display()))
                }
            }
        }
        op => Ok(Url::parse(op.url(), policy)?),
    }
}

impl Job<'_> {
    /// Brings a work tree to a ref of a remote, submodules included.
    pub(crate) fn bring(
        &self,
        url: &Url,
        path: &Path,
        reference: &str,
        only_branch: bool,
        depth: usize,
    ) -> Result<Target> {
        place::recover(path)?;
        let (repository, target, contents) = match place::inspect(path)? {
            Place::Clone(repository) => {
                match self.renew(url, path, &repository, reference, only_branch) {
                    Ok((target, contents)) => (repository, target, contents),
                    Err(error) if error.kind == Kind::Corrupt => {
                        self.fresh(url, path, reference, only_branch)?
                    }
                    Err(error) => return Err(error),
                }
            }
            Place::Free | Place::Damaged(_) => self.fresh(url, path, reference, only_branch)?,
        };
        submodule::update(self, url, path, &repository, &contents, depth)?;
        Ok(target)
    }

    fn renew(
        &self,
        url: &Url,
        path: &Path,
        repository: &Repository,
        reference: &str,
        only_branch: bool,
    ) -> Result<(Target, Contents)> {
        let target = self.update(url, path, repository, reference, only_branch)?;
        let contents = self.write(path, repository, &target)?;
        Ok((target, contents))
    }

    fn write(&self, path: &Path, repository: &Repository, target: &Target) -> Result<Contents> {
        let _writing = self.control.writing();
        self.control.check()?;
        self.lock.check()?;
        let limits = Limits {
            clean: self.clean,
            max_bytes: self.budget.max_bytes(),
        };
        worktree::write(repository, path, target, &limits)
    }

    fn update(
        &self,
        url: &Url,
        path: &Path,
        repository: &Repository,
        reference: &str,
        only_branch: bool,
    ) -> Result<Target> {
        if grammar::is_full_id(reference)
            && let Some(target) = worktree::resolve(repository, reference)?
            && target.kind == RefKind::Commit
        {
            return Ok(target);
        }
        place::sweep(path)?;
        let target = self.fetch(url, repository, reference, only_branch)?;
        write_origin(path, repository, url)?;
        Ok(target)
    }

    /// A mirror that can't be used is no reason to fail.
    fn fresh(
        &self,
        url: &Url,
        path: &Path,
        reference: &str,
        only_branch: bool,
    ) -> Result<(Repository, Target, Contents)> {
        let mirrors = self.mirrors.filter(|_| !url.is_local());
        match self.anew(url, path, reference, only_branch, mirrors) {
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::Io | Kind::Locked) => {
                let Some(root) = mirrors else {
                    return Err(error);
                };
                mirror::forget(root, url, self.control);
                self.anew(url, path, reference, only_branch, None)
            }
            result => result,
        }
    }

    /// Fetches into a repository aside, so that a failure leaves nothing in the path.
    fn anew(
        &self,
        url: &Url,
        path: &Path,
        reference: &str,
        only_branch: bool,
        mirrors: Option<&Path>,
    ) -> Result<(Repository, Target, Contents)> {
        let (aside, repository) = Aside::make(path, self.control.id())?;
        let known = match mirrors {
            Some(root) => self.seeded(url, root, reference, &repository, aside.dir())?,
            None => None,
        };
        let target = match known {
            Some(target) => target,
            None => self.fetch(url, &repository, reference, only_branch)?,
        };
        write_origin(path, &repository, url)?;
        drop(repository);
        self.lock.check()?;
        aside.swap_in()?;
        match place::inspect(path)? {
            Place::Clone(repository) => {
                let contents = self.write(path, &repository, &target)?;
                Ok((repository, target, contents))
            }
            _ => Err(GitError::new(
                Kind::Io,
                format!("{} was moved away", path.display()),
            )),
        }
    }

    /// Takes what a mirror has; a commit by its full id is found there.
    fn seeded(
        &self,
        url: &Url,
        root: &Path,
        reference: &str,
        repository: &Repository,
        git: &Path,
    ) -> Result<Option<Target>> {
        let remote = mirror::Remote {
            url,
            auth: self.auth,
            control: self.control,
            budget: self.budget,
        };
        mirror::seed(root, &remote, repository, git)?;
        match grammar::is_full_id(reference) {
            true => worktree::resolve(repository, reference),
            false => Ok(None),
        }
    }

    /// Fetches all branches and tags that are new, and finds the ref.
    fn fetch(
        &self,
        url: &Url,
        repository: &Repository,
        reference: &str,
        only_branch: bool,
    ) -> Result<Target> {
        let session = Session::new(url, self.auth, self.control, self.budget)?;
        let mut remote = repository
            .remote_anonymous(&url.clean)
            .map_err(|error| GitError::local(&error))?;
        let heads = session.connected(&mut remote, |connection| {
            let heads = session.heads(connection)?;
            self.expect(&heads, reference, only_branch)?;
            if heads
                .iter()
                .any(|head| is_kept(head) && repository.find_object(head.id, None).is_err())
            {
                let all = [
                    "+refs/heads/*:refs/remotes/origin/*",
                    "+refs/tags/*:refs/tags/*",
                ]
                .map(str::to_owned);
                session.download(connection.remote(), &all, None)?;
            }
            Ok(heads)
        })?;
        self.control.check()?;
        self.lock.check()?;
        write_refs(repository, &heads).map_err(|error| GitError::local(&error))?;
        let reference = match reference {
            "HEAD" => list::default_branch(&heads).ok_or_else(|| worktree::ref_missing("HEAD"))?,
            name => name.to_owned(),
        };
        self.find(&session, repository, &mut remote, &reference)
    }

    fn expect(&self, heads: &[Head], reference: &str, only_branch: bool) -> Result<()> {
        let is_branch = |head: &Head| head.name.strip_prefix("refs/heads/") == Some(reference);
        if heads.is_empty() || only_branch && !heads.iter().any(is_branch) {
            return Err(follow::branch_missing(reference, heads));
        }
        Ok(())
    }

    /// Finds the ref; a full commit id that no branch or tag leads to is asked for by itself.
    fn find(
        &self,
        session: &Session<'_>,
        repository: &Repository,
        remote: &mut Remote<'_>,
        reference: &str,
    ) -> Result<Target> {
        if let Some(target) = worktree::resolve(repository, reference)? {
            return Ok(target);
        }
        if grammar::is_full_id(reference) {
            let asked = session.connected(remote, |connection| {
                session.download(connection.remote(), &[reference.to_ascii_lowercase()], None)
            });
            match asked {
                Err(error)
                    if matches!(error.kind, Kind::Timeout | Kind::Cancelled | Kind::TooLarge) =>
                {
                    return Err(error);
                }
                // Servers differ in how they refuse an unknown commit; whether it came is what counts.
                Ok(()) | Err(_) => {}
            }
        }
        worktree::resolve(repository, reference)?.ok_or_else(|| worktree::ref_missing(reference))
    }
}

/// Branches and tags, and not what an annotated tag names.
pub(crate) fn is_kept(head: &Head) -> bool {
    (head.name.starts_with("refs/heads/") || head.name.starts_with("refs/tags/"))
        && !head.name.ends_with("^{}")
}

/// Makes the clone's refs those of the remote.
pub(crate) fn write_refs(
    repository: &Repository,
    heads: &[Head],
) -> std::result::Result<(), git2::Error> {
    let mut wanted: std::collections::BTreeMap<String, Oid> = heads
        .iter()
        .filter(|head| is_kept(head))
        .map(|head| match head.name.strip_prefix("refs/heads/") {
            Some(branch) => (format!("refs/remotes/origin/{branch}"), head.id),
            None => (head.name.clone(), head.id),
        })
        .collect();
    for reference in repository.references_glob("refs/remotes/origin/*")? {
        let mut reference = reference?;
        let name = reference.name()?.to_owned();
        if !wanted.contains_key(&name) {
            reference.delete()?;
        } else if reference.target() == wanted.get(&name).copied() {
            wanted.remove(&name);
        }
    }
    for (name, id) in wanted {
        if repository.refname_to_id(&name).ok() != Some(id) {
            repository.reference(&name, id, true, "bc_gitops: fetch")?;
        }
    }
    Ok(())
}

pub(crate) fn write_origin(path: &Path, repository: &Repository, url: &Url) -> Result<()> {
    let written = repository.config().and_then(|mut config| {
        config.set_str("remote.origin.url", &url.clean)?;
        config.set_str("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    });
    written.map_err(|error| place::local(path, &error))
}
