//! From the solver's choice to the lock that the caller keeps.

use std::collections::BTreeMap;

use super::error::{Fact, HexError, Kind, Result};
use super::lock::Locked;
use super::package::{Dependency, Release};
use super::registry::{Id, Registry};
use super::repo;
use super::resolve::{Resolved, Retired};
use super::solve::Solution;

/// What an answer is made from.
pub(super) struct Answer<'a> {
    pub(super) registry: &'a Registry<'a>,
    pub(super) solution: &'a Solution,
    /// The lock of the time before.
    pub(super) lock: &'a [Locked],
}

type Chosen<'a> = BTreeMap<&'a str, (&'a Id, Release)>;

impl Answer<'_> {
    pub(super) fn build(&self) -> Result<Resolved> {
        let chosen = self.chosen()?;
        let needed = chosen
            .values()
            .flat_map(|(_, release)| &release.dependencies);
        // The application of each package, as those who need it say.
        let apps: BTreeMap<&str, &str> = needed
            .map(|needed| (needed.name.as_str(), needed.app.as_str()))
            .collect();
        let locked = |(name, (id, release)): (&&str, &(&Id, Release))| {
            self.locked(id, release, apps.get(name).unwrap_or(name))
        };
        Ok(Resolved {
            lock: chosen.iter().map(locked).collect::<Result<_>>()?,
            retired: chosen
                .iter()
                .filter_map(|(name, (_, one))| retired(name, one))
                .collect(),
        })
    }

    /// One release for each name: two packages of one name cannot be built side by side.
    fn chosen(&self) -> Result<Chosen<'_>> {
        let mut chosen = BTreeMap::new();
        for (id, version) in self.solution {
            let package = self.registry.package(id)?;
            let release = package.release(version).cloned().ok_or_else(|| {
                let message = format!("{} {version} is gone from its repository", id.1);
                HexError::new(Kind::VersionNotFound, message)
            })?;
            if chosen.insert(id.1.as_str(), (id, release)).is_some() {
                let name = &id.1;
                let message = format!(
                    "package {name} is needed from two repositories; only one can be built"
                );
                return Err(HexError::new(Kind::NoResolution, message).with(Fact::Package, name));
            }
        }
        Ok(chosen)
    }

    fn locked(&self, id: &Id, release: &Release, app: &str) -> Result<Locked> {
        let locked = Locked {
            name: id.1.clone(),
            app: app.to_owned(),
            version: release.version.to_string(),
            repo: self.registry.repos[id.0].name.clone(),
            sha256: release.checksum.clone().unwrap_or_default(),
            requirements: Some(self.requirements(id.0, release)?),
        };
        if locked.sha256.len() != 64 {
            let message = format!("repository {} has no checksum of {locked}", locked.repo);
            return Err(locked.blame(HexError::new(Kind::BadRegistry, message)));
        }
        let before = self.lock.iter().find(|before| before.is_same(&locked));
        match before.filter(|before| before.sha256 != locked.sha256) {
            Some(before) => Err(changed(before, &locked.sha256)),
            None => Ok(locked),
        }
    }

    /// What a release needs, each with the name of a configured repository.
    fn requirements(&self, from: usize, release: &Release) -> Result<Vec<Dependency>> {
        let repos = self.registry.repos;
        let with_repo = |dependency: &Dependency| {
            let repo = repo::of_dependency(repos, dependency.repository.as_deref(), from)?;
            Ok(Dependency {
                repository: Some(repos[repo].name.clone()),
                ..dependency.clone()
            })
        };
        release.dependencies.iter().map(with_repo).collect()
    }
}

fn retired(name: &str, release: &Release) -> Option<Retired> {
    Some(Retired {
        name: name.to_owned(),
        version: release.version.to_string(),
        retirement: release.retired.clone()?,
    })
}

/// The repository vouches for another tarball than when the lock was made.
pub(super) fn changed(before: &Locked, now: &str) -> HexError {
    let message = format!(
        "repository {} has another tarball for {before} than when it was locked; \
         somebody has published it anew: ask why before you resolve without the lock",
        before.repo
    );
    let error = HexError::new(Kind::ChecksumChanged, message);
    before.blame(
        error
            .with(Fact::Expected, &before.sha256)
            .with(Fact::Found, now),
    )
}
