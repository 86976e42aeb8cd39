//! From a name and a version to a lock: which tarballs the application is built from.

use std::path::Path;

use super::answer::Answer;
use super::error::{Fact, HexError, Kind, Result};
use super::lock::{self, Locked};
use super::names;
use super::package::{Package, Release, Retirement};
use super::registry::{Id, Registry};
use super::repo::{self, Repo};
use super::solve::{self, Preferred, Problem};
use super::transport::Transport;
use super::version::Version;
use crate::job::Control;

/// How many versions an error names that there are instead.
const SUGGESTIONS: usize = 5;

/// What is to be resolved.
#[derive(Debug, Clone)]
pub struct Resolve {
    /// The package.
    pub name: String,
    /// Exactly this version of it.
    pub version: String,
    /// The name of its repository; when nothing is said, that of the lock or the first that has it.
    pub repo: Option<String>,
    /// The lock of the time before; it is kept wherever it still satisfies.
    pub lock: Vec<Locked>,
}

/// What was resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The root and all that it needs, in the order of their names.
    pub lock: Vec<Locked>,
    /// What of that its owners have retired. Nothing is known of it when the lock was complete.
    pub retired: Vec<Retired>,
}

/// A retired release that is used all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The package.
    pub name: String,
    /// The version.
    pub version: String,
    /// Why.
    pub retirement: Retirement,
}

/// What the work of this room is done with.
pub(super) struct Tools<'a> {
    pub(super) repos: &'a [Repo],
    pub(super) transport: &'a dyn Transport,
    pub(super) cache: &'a Path,
    pub(super) control: &'a Control,
}

/// Resolves; without any network when the lock is complete.
pub(super) fn run(request: &Resolve, tools: &Tools<'_>) -> Result<Resolved> {
    repo::check(tools.repos)?;
    lock::check(&request.lock)?;
    let name = names::checked(&request.name)?;
    let version = Version::parse(&request.version).ok_or_else(|| no_version(request))?;
    let candidates = candidates(request, tools.repos)?;
    let kept = |&repo: &usize| {
        let root = (tools.repos[repo].name.as_str(), name, &version);
        lock::complete(&request.lock, root)
    };
    if let Some(lock) = candidates.iter().find_map(kept) {
        return Ok(Resolved {
            lock,
            retired: Vec::new(),
        });
    }
    choose(request, tools, &candidates, &version)
}

/// Asks the repositories.
fn choose(
    request: &Resolve,
    tools: &Tools<'_>,
    candidates: &[usize],
    version: &Version,
) -> Result<Resolved> {
    let lock = &request.lock;
    let registry = &Registry::new(tools.repos, tools.transport, tools.cache);
    let root = first_that_has(registry, candidates, &request.name)?;
    check_root(registry, &root, version, lock)?;
    let solution = solve::solve(&Problem {
        registry,
        root,
        version: version.clone(),
        preferred: &preferred(lock, tools.repos),
        control: tools.control,
    })?;
    let solution = &solution;
    Answer {
        registry,
        solution,
        lock,
    }
    .build()
}

/// Where the root may be: in the repository that the request or the lock names, else in any.
fn candidates(request: &Resolve, repos: &[Repo]) -> Result<Vec<usize>> {
    let locked = request
        .lock
        .iter()
        .find(|locked| locked.name == request.name);
    match request.repo.as_ref().or(locked.map(|locked| &locked.repo)) {
        Some(name) => Ok(vec![repo::find(repos, name, None)?]),
        None => Ok((0..repos.len()).collect()),
    }
}

/// The first repository that has the package. One that cannot say ends the search: else a package
/// of the same name elsewhere would take the place of a private one.
pub(super) fn first_that_has(
    registry: &Registry<'_>,
    candidates: &[usize],
    name: &str,
) -> Result<Id> {
    let mut missing = Vec::new();
    for &repo in candidates {
        let id = (repo, name.to_owned());
        match registry.package(&id) {
            Ok(_) => return Ok(id),
            Err(error) if error.kind == Kind::PackageNotFound => missing.push(error),
            Err(error) => return Err(error),
        }
    }
    let asked = candidates
        .iter()
        .map(|&repo| registry.repos[repo].name.as_str());
    Err(
        match (missing.pop(), asked.collect::<Vec<_>>().as_slice()) {
            (Some(error), [_]) => error,
            (_, []) => {
                let message = "no Hex repository is configured; add one to hex_repos";
                HexError::new(Kind::UnknownRepo, message)
            }
            (_, asked) => not_found(name, asked),
        },
    )
}

fn not_found(name: &str, asked: &[&str]) -> HexError {
    let message = format!(
        "no repository has a package {name} (asked: {}); check the name, and hex_repos",
        asked.join(", ")
    );
    HexError::new(Kind::PackageNotFound, message).with(Fact::Package, name)
}

fn no_version(request: &Resolve) -> HexError {
    let (name, version) = (&request.name, names::shown(&request.version));
    let message = format!("{version:?} is no version that {name} could have; write it like 1.2.3");
    HexError::new(Kind::BadName, message)
        .with(Fact::Package, name)
        .with(Fact::Version, version)
}

/// The version must be there, and not retired unless it is what ran before.
fn check_root(registry: &Registry<'_>, id: &Id, version: &Version, lock: &[Locked]) -> Result<()> {
    let package = registry.package(id)?;
    let repo = &registry.repos[id.0].name;
    let Some(release) = package.release(version) else {
        return Err(version_not_found(&package, version, repo));
    };
    let is_locked = |locked: &Locked| {
        let same = locked.name == id.1 && locked.repo == *repo;
        same && Version::parse(&locked.version).as_ref() == Some(version)
    };
    match &release.retired {
        Some(retirement) if !lock.iter().any(is_locked) => {
            Err(version_retired(&package, version, retirement, repo))
        }
        _ => Ok(()),
    }
}

fn version_not_found(package: &Package, version: &Version, repo: &str) -> HexError {
    let name = &package.name;
    let versions = suggestions(package, version);
    let instead = match versions.as_str() {
        "" => "it has no versions at all".to_owned(),
        versions => format!("it has {versions}"),
    };
    let message = format!("repository {repo} has no version {version} of {name}; {instead}");
    HexError::new(Kind::VersionNotFound, message)
        .about(name, version, repo)
        .with(Fact::Versions, versions)
}

fn version_retired(package: &Package, version: &Version, why: &Retirement, repo: &str) -> HexError {
    let name = &package.name;
    let words = why.message.as_deref().map(|words| format!(": {words}"));
    let versions = suggestions(package, version);
    let message = format!(
        "{name} {version} has been retired by its owner ({}{}); use another version ({versions})",
        why.reason,
        words.unwrap_or_default()
    );
    HexError::new(Kind::VersionRetired, message)
        .about(name, version, repo)
        .with(Fact::Versions, versions)
        .with(Fact::Reason, &why.reason)
}

/// The nearest versions below and above, and the newest ones.
fn suggestions(package: &Package, version: &Version) -> String {
    let usable = |release: &&Release| release.retired.is_none() && release.version != *version;
    let usable: Vec<&Version> = package
        .releases
        .iter()
        .filter(usable)
        .map(|release| &release.version)
        .collect();
    let above = usable.partition_point(|other| *other < version);
    let nearest = [above.checked_sub(1), Some(above)];
    let newest = (0..usable.len()).rev().map(Some);
    let mut chosen: Vec<usize> = Vec::new();
    for index in nearest.into_iter().chain(newest).flatten() {
        if index < usable.len() && !chosen.contains(&index) && chosen.len() < SUGGESTIONS {
            chosen.push(index);
        }
    }
    chosen.sort_unstable();
    let words: Vec<String> = chosen
        .into_iter()
        .map(|index| usable[index].to_string())
        .collect();
    words.join(", ")
}

pub(super) fn preferred(lock: &[Locked], repos: &[Repo]) -> Preferred {
    let entry = |locked: &Locked| {
        let repo = repos.iter().position(|repo| repo.name == locked.repo)?;
        Some((
            (repo, locked.name.clone()),
            Version::parse(&locked.version)?,
        ))
    };
    lock.iter().filter_map(entry).collect()
}
