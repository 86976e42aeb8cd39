//! This room against repositories in memory, and over HTTP on loopback.

mod fetching;
mod plugging;
mod resolving;
mod solving;
mod trusting;
mod world;

use std::path::Path;
use std::time::Duration;

use super::error::{HexError, Result};
use super::fetch::{self, Fetch, Fetched};
use super::limits;
use super::lock::Locked;
use super::plugins::{self, Plugins};
use super::repo::Repo;
use super::resolve::{self, Resolve, Resolved, Tools};
use crate::job::Control;
use world::World;

/// A world, a cache and a directory for packages.
struct Bench {
    world: World,
    repos: Vec<Repo>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(world: World) -> Self {
        let repos = world.repos();
        Self {
            world,
            repos,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn cache(&self) -> std::path::PathBuf {
        self.dir.path().join("cache")
    }

    fn with_tools<T>(&self, work: impl FnOnce(&Tools<'_>) -> T) -> T {
        work(&Tools {
            repos: &self.repos,
            transport: &self.world,
            cache: &self.cache(),
            control: &Control::new(u64::MAX, Duration::from_secs(60)),
        })
    }

    fn resolve(&self, name: &str, version: &str, lock: &[Locked]) -> Result<Resolved> {
        let request = Resolve {
            name: name.into(),
            version: version.into(),
            repo: None,
            lock: lock.to_vec(),
        };
        self.with_tools(|tools| resolve::run(&request, tools))
    }

    fn lock(&self, name: &str, version: &str) -> Vec<Locked> {
        self.resolve(name, version, &[]).unwrap().lock
    }

    /// The plugins of a lock whose root is `top`.
    fn plugins(&self, packages: &[Locked], lock: &[Locked]) -> Result<Resolved> {
        let request = Plugins {
            name: "top".into(),
            packages: packages.to_vec(),
            lock: lock.to_vec(),
            max_bytes: limits::TARBALL_BYTES,
        };
        self.with_tools(|tools| plugins::run(&request, tools, &|_| ()))
    }

    fn fetch(&self, lock: &[Locked]) -> Result<Vec<Fetched>> {
        self.fetch_to(lock, &self.dir.path().join("deps"))
    }

    fn fetch_to(&self, lock: &[Locked], dir: &Path) -> Result<Vec<Fetched>> {
        let request = Fetch {
            packages: lock.to_vec(),
            dir: dir.to_owned(),
            max_bytes: limits::TARBALL_BYTES,
        };
        self.with_tools(|tools| fetch::run(&request, tools, &|_| ()))
    }
}

/// `name version` of each package.
fn versions(lock: &[Locked]) -> Vec<String> {
    lock.iter()
        .map(|locked| format!("{} {}", locked.name, locked.version))
        .collect()
}

fn fact(error: &HexError, fact: super::error::Fact) -> &str {
    let found = error.facts.iter().find(|(name, _)| *name == fact);
    found.map_or("", |(_, value)| value)
}
