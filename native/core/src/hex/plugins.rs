//! The rebar3 plugins that packages are built with, and what these need: a lock beside the lock.
//!
//! No registry says which they are; the `rebar.config` of packages does, and plugins are packages
//! that may name plugins themselves. As for rebar3, the package that stands nearest to the root
//! decides where two want different versions, and a plugin that no repository has is no mistake by
//! itself: whoever builds finds out whether it goes without.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::answer::Answer;
use super::config::{Called, Plugin, Source};
use super::error::{HexError, Kind, Result};
use super::fetch::{self, Fetch, Progress};
use super::lock::{self, Locked};
use super::package::{Dependency, Package, Release};
use super::parcel::Looked;
use super::registry::{Id, Registry};
use super::repo;
use super::requirement::Requirement;
use super::resolve::{self, Resolved, Tools};
use super::solve::{self, Problem};
use super::version::Version;

/// Whose plugins are to be chosen.
#[derive(Debug, Clone)]
pub struct Plugins {
    /// The package that all others are for.
    pub name: String,
    /// A whole lock.
    pub packages: Vec<Locked>,
    /// The plugins of the time before; they are kept wherever they still satisfy.
    pub lock: Vec<Locked>,
    /// The most bytes of one tarball.
    pub max_bytes: u64,
}

/// Chooses; nothing where nothing is built with rebar3.
pub(super) fn run(
    request: &Plugins,
    tools: &Tools<'_>,
    progress: &dyn Fn(Progress),
) -> Result<Resolved> {
    repo::check(tools.repos)?;
    lock::check(&request.packages)?;
    lock::check(&request.lock)?;
    let registry = Registry::new(tools.repos, tools.transport, tools.cache);
    let choice = Choice {
        request,
        tools,
        progress,
        registry: &registry,
    };
    let looked = choice.look(by_distance(&request.packages, &request.name))?;
    if !is_for_rebar3(&looked) {
        return Ok(Resolved::default());
    }
    choice.complete(&looked)
}

/// mix builds packages for rebar3 with means of its own, and make uses no plugins.
fn is_for_rebar3(looked: &[Looked]) -> bool {
    let has = |one: &Looked, tool: &str| one.metadata.build_tools.iter().any(|has| has == tool);
    let rebar3 = |one: &Looked| has(one, "rebar3") || has(one, "rebar");
    looked.iter().any(rebar3) && !looked.iter().any(|one| has(one, "mix") && !rebar3(one))
}

/// The root first, then what it needs, then what that needs; in the order of names.
fn by_distance(packages: &[Locked], root: &str) -> Vec<Locked> {
    let mut left: BTreeMap<&str, &Locked> = packages
        .iter()
        .map(|one| (one.name.as_str(), one))
        .collect();
    let mut ordered: Vec<&Locked> = left.remove(root).into_iter().collect();
    let mut at = 0;
    while at < ordered.len() {
        let needed = ordered[at].requirements.iter().flatten();
        let mut needed: Vec<&str> = needed.map(|one| one.name.as_str()).collect();
        needed.sort_unstable();
        ordered.extend(needed.into_iter().filter_map(|name| left.remove(name)));
        at += 1;
    }
    ordered
        .into_iter()
        .chain(left.into_values())
        .cloned()
        .collect()
}

struct Choice<'a> {
    request: &'a Plugins,
    tools: &'a Tools<'a>,
    progress: &'a dyn Fn(Progress),
    registry: &'a Registry<'a>,
}

impl Choice<'_> {
    /// What these packages say about themselves, in their order.
    fn look(&self, packages: Vec<Locked>) -> Result<Vec<Looked>> {
        let fetch = Fetch {
            packages,
            dir: PathBuf::new(),
            max_bytes: self.request.max_bytes,
        };
        let mut looked = fetch::each(&fetch, self.tools, self.progress, |parcel| parcel.look())?;
        let place = |one: &Looked| {
            let same = |other: &Locked| other.name == one.locked.name;
            fetch.packages.iter().position(same)
        };
        looked.sort_by_key(place);
        Ok(looked)
    }

    /// The plugins of packages, the plugins of these, and so on.
    fn complete(&self, packages: &[Looked]) -> Result<Resolved> {
        let mut wishes = self.wishes(packages)?;
        let mut known = BTreeSet::new();
        loop {
            let resolved = self.choose(&wishes)?;
            let is_new = |one: &&Locked| known.insert((one.name.clone(), one.version.clone()));
            let new: Vec<Locked> = resolved.lock.iter().filter(is_new).cloned().collect();
            let more = self.wishes(&self.look(new)?)?;
            if more.iter().all(|wish| wishes.contains(wish)) {
                return Ok(resolved);
            }
            wishes.extend(more);
        }
    }

    /// What packages want and a repository has. One that cannot say is an error: else a plugin
    /// would be missing today and there tomorrow.
    fn wishes(&self, looked: &[Looked]) -> Result<Vec<Dependency>> {
        let repos: Vec<usize> = (0..self.tools.repos.len()).collect();
        let mut wishes = Vec::new();
        for plugin in looked.iter().flat_map(|one| &one.plugins) {
            let Some(mut wish) = wish(plugin) else {
                continue;
            };
            match resolve::first_that_has(self.registry, &repos, &wish.name) {
                Ok((repo, _)) => wish.repository = Some(self.tools.repos[repo].name.clone()),
                Err(error) if error.kind == Kind::PackageNotFound => continue,
                Err(error) => return Err(error),
            }
            wishes.push(wish);
        }
        Ok(wishes)
    }

    /// All wishes together or, where they contradict each other, one after the other those that go
    /// with the ones before.
    fn choose(&self, wishes: &[Dependency]) -> Result<Resolved> {
        if let Some(resolved) = self.solve(wishes)? {
            return Ok(resolved);
        }
        let (mut granted, mut best) = (Vec::new(), Resolved::default());
        for wish in wishes {
            granted.push(wish.clone());
            match self.solve(&granted)? {
                Some(resolved) => best = resolved,
                None => drop(granted.pop()),
            }
        }
        Ok(best)
    }

    /// `None` where no versions satisfy all wishes.
    fn solve(&self, wishes: &[Dependency]) -> Result<Option<Resolved>> {
        if wishes.is_empty() {
            return Ok(Some(Resolved::default()));
        }
        let (root, version) = (self.add_root(wishes), Version::first([0, 0, 0]));
        let solved = solve::solve(&Problem {
            registry: self.registry,
            root: root.clone(),
            version,
            preferred: &resolve::preferred(&self.request.lock, self.tools.repos),
            control: self.tools.control,
        });
        let answered = solved.and_then(|mut solution| {
            solution.remove(&root);
            Answer {
                registry: self.registry,
                solution: &solution,
                lock: &self.request.lock,
            }
            .build()
        });
        match answered {
            Ok(resolved) => Ok(Some(resolved)),
            Err(HexError {
                kind: Kind::NoResolution,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A package that needs them all. No package has its name.
    fn add_root(&self, wishes: &[Dependency]) -> Id {
        let id = (0, String::new());
        let release = Release {
            version: Version::first([0, 0, 0]),
            checksum: None,
            retired: None,
            dependencies: wishes.to_vec(),
        };
        let package = Package {
            name: String::new(),
            repository: String::new(),
            releases: vec![release],
        };
        self.registry.add(id.clone(), package);
        id
    }
}

/// What a plugin is on Hex, where it is called and its requirement is one.
fn wish(plugin: &Plugin) -> Option<Dependency> {
    let Source::Hex {
        package,
        requirement,
    } = &plugin.source
    else {
        return None;
    };
    let is_wanted = plugin.called != Called::No && Requirement::parse(requirement).is_some();
    is_wanted.then(|| Dependency {
        name: package.clone(),
        app: plugin.app.clone(),
        requirement: requirement.clone(),
        optional: false,
        repository: None,
    })
}
