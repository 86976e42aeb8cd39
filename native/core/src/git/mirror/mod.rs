//! Mirrors: what a remote has, kept so that it is fetched once.
//!
//! A mirror is `root/DIGEST/.git`, the digest being that of the url. It is never handed out. Of a
//! public one whoever asks gets a repository whose packs are further names of the mirror's files: so
//! nobody reads what a later job changes or removes. No login is used for it, for whoever asks there
//! does so for strangers. Of one that logins may have fetched, checkouts of the same url get a copy.

mod clear;
mod refs;
mod share;

use std::fs::File;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

use super::auth::Auth;
use super::error::{GitError, Kind, Result};
use super::lock::{self, PathLock};
use super::place::{self, Aside, Place};
use super::request::{Mirrored, Progress, Request};
use super::session::{Budget, Head, Session};
use super::{checkout, grammar};
use crate::digest::{self, Algorithm};
use crate::job::Control;
use crate::url::{Scheme, Url};

pub(crate) use clear::run as clear;
use refs::Refs;

/// Each fetch leaves a pack; past this number a mirror is built anew in one.
const MAX_PACKS: usize = 50;

const ALL: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// One job of this kind.
pub(crate) struct Mirror<'a> {
    pub(crate) request: &'a Request,
    pub(crate) url: &'a str,
    /// Where all mirrors are.
    pub(crate) root: &'a [u8],
    /// The repository that whoever asks gets.
    pub(crate) share: &'a [u8],
    pub(crate) control: &'a Control,
    pub(crate) progress: &'a dyn Fn(Progress),
}

/// Brings the mirror to what the remote has, and shares it. A remote that does not answer has what it
/// had when it was last heard of.
pub(crate) fn run(job: &Mirror<'_>) -> Result<Mirrored> {
    let url = public(job)?;
    let to = grammar::path(job.share)?;
    let auth = Auth {
        ca_file: job.request.auth.ca_file.clone(),
        policy: job.request.auth.policy,
        ..Auth::default()
    };
    let budget = Budget::new(job.request.max_bytes, job.progress);
    let remote = Remote {
        url: &url,
        auth: &auth,
        control: job.control,
        budget: &budget,
    };
    let held = hold(&grammar::path(job.root)?, &remote)?;
    share::link(&held.path, &to, job.control.id())?;
    Ok(Mirrored {
        heard: held.heard,
        fetched_bytes: budget.received(),
        silent: held.silent.map(|error| error.message),
    })
}

/// Gives a new repository, whose directory is `git`, a copy of all that the mirror has. The remote is
/// asked with this login: who may not read it gets nothing, also when it does not answer.
pub(crate) fn seed(
    root: &Path,
    remote: &Remote<'_>,
    repository: &Repository,
    git: &Path,
) -> Result<()> {
    let held = hold(root, remote)?;
    if let Some(silent) = held.silent {
        return Err(silent);
    }
    share::copy(&held.path, git)?;
    let refs = Refs::read(&held.path).map_or_else(Vec::new, |refs| refs.heads());
    checkout::write_refs(repository, &refs).map_err(|error| place::local(git, &error))
}

/// Removes the mirror of a url: something is wrong with it.
pub(crate) fn forget(root: &Path, url: &Url, control: &Control) {
    // One that stays is looked at the next time.
    let _ = clear::remove(&root.join(name(&url.clean)), control);
}

/// A remote and what a job may do with it.
pub(crate) struct Remote<'a> {
    pub(crate) url: &'a Url,
    pub(crate) auth: &'a Auth,
    pub(crate) control: &'a Control,
    pub(crate) budget: &'a Budget<'a>,
}

/// A mirror that nobody changes meanwhile.
struct Held {
    path: PathBuf,
    heard: u64,
    silent: Option<GitError>,
    _lock: PathLock,
    _file: File,
}

/// Brings the mirror to what the remote has.
fn hold(root: &Path, remote: &Remote<'_>) -> Result<Held> {
    let path = root.join(name(&remote.url.clean));
    let lock = lock::acquire(&path, remote.control)?;
    let file = share::hold(&path, remote.control)?;
    place::recover(&path)?;
    let mirroring = Mirroring {
        remote,
        path: &path,
        lock: &lock,
    };
    let silent = mirroring.run().map_err(|error| {
        share::forsake(&path);
        error.about(&remote.url.clean)
    })?;
    remote.control.check()?;
    lock.check()?;
    Ok(Held {
        heard: share::used(&path, silent.is_none())?,
        path,
        silent,
        _lock: lock,
        _file: file,
    })
}

/// The url without anybody's login: a remote that stands open to all.
fn public(job: &Mirror<'_>) -> Result<Url> {
    let url = Url::as_written(job.url, job.request.auth.policy)?;
    let refused = |why: &str| {
        Err(GitError::new(Kind::BadUrl, format!("{}: {why}", url.clean)).about(&url.clean))
    };
    if url.scheme == Scheme::Ssh {
        return refused("only what is served over http is mirrored");
    }
    if url.user.is_some() || url.password.is_some() {
        return refused("what needs a login is not mirrored");
    }
    Ok(url)
}

/// The name of a url's mirror.
fn name(url: &str) -> String {
    let digest = digest::of_bytes(Algorithm::Sha256, url.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Mirroring<'a> {
    remote: &'a Remote<'a>,
    path: &'a Path,
    lock: &'a PathLock,
}

impl Mirroring<'_> {
    /// Answers why the remote was not heard, where what it had before serves.
    fn run(&self) -> Result<Option<GitError>> {
        let Place::Clone(repository) = place::inspect(self.path)? else {
            return self.rebuild().map(|()| None);
        };
        let heard = match place::packs(self.path) > MAX_PACKS {
            true => self.rebuild(),
            false => self.update(&repository),
        };
        match heard {
            Err(error) if error.kind == Kind::Corrupt => self.rebuild().map(|()| None),
            Err(error) if is_silence(error.kind) && self.is_whole(&repository) => Ok(Some(error)),
            heard => heard.map(|()| None),
        }
    }

    fn is_whole(&self, repository: &Repository) -> bool {
        Refs::read(self.path).is_some_and(|refs| have_all(repository, &refs.ids).is_ok())
    }

    fn update(&self, repository: &Repository) -> Result<()> {
        let session = self.session()?;
        let mut remote = self.git_remote(repository)?;
        session.connected(&mut remote, |connection| {
            let refs = refs_of(&session.heads(connection)?);
            if Refs::read(self.path).as_ref() == Some(&refs) {
                return have_all(repository, &refs.ids);
            }
            self.lock.check()?;
            place::sweep(self.path)?;
            if have_all(repository, &refs.ids).is_err() {
                session.download(connection.remote(), &ALL.map(str::to_owned), None)?;
            }
            self.write(repository, &place::git_dir(self.path), &refs)
        })
    }

    fn rebuild(&self) -> Result<()> {
        let session = self.session()?;
        let (aside, repository) = Aside::make(self.path, self.remote.control.id())?;
        let mut remote = self.git_remote(&repository)?;
        let refs = session.connected(&mut remote, |connection| {
            let refs = refs_of(&session.heads(connection)?);
            session.download(connection.remote(), &ALL.map(str::to_owned), None)?;
            Ok(refs)
        })?;
        checkout::write_origin(self.path, &repository, self.remote.url)?;
        self.write(&repository, aside.dir(), &refs)?;
        drop(remote);
        drop(repository);
        self.lock.check()?;
        aside.swap_in()
    }

    fn session(&self) -> Result<Session<'_>> {
        let Remote {
            url,
            auth,
            control,
            budget,
        } = self.remote;
        Session::new(url, auth, control, budget)
    }

    fn git_remote<'r>(&self, repository: &'r Repository) -> Result<git2::Remote<'r>> {
        repository
            .remote_anonymous(&self.remote.url.clean)
            .map_err(|error| place::local(self.path, &error))
    }

    fn write(&self, repository: &Repository, git: &Path, refs: &Refs) -> Result<()> {
        have_all(repository, &refs.ids)?;
        self.remote.control.check()?;
        self.lock.check()?;
        refs.write(git)
    }
}

fn refs_of(heads: &[Head]) -> Refs {
    let kept = heads.iter().filter(|head| checkout::is_kept(head));
    let default = super::list::default_branch(heads);
    Refs::new(
        kept.map(|head| (head.name.as_str(), head.id)),
        default.as_deref(),
    )
}

/// It may pass by itself, and says nothing of what the remote has.
fn is_silence(kind: Kind) -> bool {
    matches!(kind, Kind::Unreachable | Kind::Timeout)
}

/// An error when one cannot be read: the mirror is damaged.
fn have_all(repository: &Repository, ids: &[Oid]) -> Result<()> {
    let corrupt = |error: git2::Error| GitError::new(Kind::Corrupt, error.message());
    let objects = repository.odb().map_err(corrupt)?;
    ids.iter()
        .try_for_each(|id| objects.read_header(*id).map(|_| ()))
        .map_err(corrupt)
}

/// The mirrors that a directory holds.
fn all(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_name(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

fn is_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
