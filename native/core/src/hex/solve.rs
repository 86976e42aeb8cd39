//! Which versions fit together: the requirements of packages, solved by PubGrub.
//!
//! The highest version wins, in the order: the locked one, then one that is not retired, then a
//! release before a pre-release. Retired versions are left out at first and let in when nothing
//! fits without them. A package that is only optional has one more version, "absent", below all
//! others: an optional dependency allows it, any other does not. Sources:
//! `dependency_resolution.md` of <https://github.com/hexpm/specifications>; PubGrub as
//! <https://nex3.medium.com/pubgrub-2fb6470504f> describes it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use pubgrub::{
    DefaultStringReporter, Dependencies, DependencyConstraints, DependencyProvider,
    PackageResolutionStatistics, PubGrubError, Reporter, VersionSet,
};

use super::error::{Fact, HexError, Kind, Result};
use super::package::{Dependency, Release};
use super::registry::{Id, Registry};
use super::requirement::Requirement;
use super::slots::{Slot, Slots};
use super::version::Version;
use super::{limits, repo};
use crate::job::Control;

/// What is chosen: a version for each package that is needed.
pub(super) type Solution = BTreeMap<Id, Version>;

/// The versions that a lock prefers.
pub(super) type Preferred = BTreeMap<Id, Version>;

/// One question to the solver.
pub(super) struct Problem<'a> {
    pub(super) registry: &'a Registry<'a>,
    pub(super) root: Id,
    pub(super) version: Version,
    pub(super) preferred: &'a Preferred,
    pub(super) control: &'a Control,
}

/// The versions of the root and of all that it needs.
pub(super) fn solve(problem: &Problem<'_>) -> Result<Solution> {
    match attempt(problem, false) {
        Err(error) if error.kind == Kind::NoResolution => attempt(problem, true),
        other => other,
    }
}

fn attempt(problem: &Problem<'_>, with_retired: bool) -> Result<Solution> {
    let provider = Provider {
        problem,
        with_retired,
    };
    let root = Package {
        id: problem.root.clone(),
        repo: None,
    };
    let solved = pubgrub::resolve(&provider, root, Slot::Version(problem.version.clone()));
    let selected = solved.map_err(|error| provider.error(error))?;
    let present = selected
        .into_iter()
        .filter_map(|(package, slot)| match slot {
            Slot::Version(version) => Some((package.id, version)),
            Slot::Absent => None,
        });
    Ok(present.collect())
}

/// A package as the solver and its report name it.
#[derive(Debug, Clone)]
struct Package {
    id: Id,
    /// The repository's name, where it is not the root's.
    repo: Option<String>,
}

impl PartialEq for Package {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Package {}

impl std::hash::Hash for Package {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repo {
            Some(repo) => write!(f, "{} (of {repo})", self.id.1),
            None => f.write_str(&self.id.1),
        }
    }
}

type Available = Dependencies<Package, Slots, String>;

struct Provider<'a> {
    problem: &'a Problem<'a>,
    with_retired: bool,
}

impl Provider<'_> {
    fn usable(&self, id: &Id, release: &Release) -> bool {
        let asked_for = || *id == self.problem.root && release.version == self.problem.version;
        let preferred = || self.problem.preferred.get(id) == Some(&release.version);
        release.retired.is_none() || self.with_retired || asked_for() || preferred()
    }

    /// What a dependency of a package in this repository means.
    fn dependency(&self, from: usize, dependency: &Dependency) -> Result<Package> {
        let repos = self.problem.registry.repos;
        let repo = repo::of_dependency(repos, dependency.repository.as_deref(), from)?;
        let foreign = repo != self.problem.root.0;
        Ok(Package {
            id: (repo, dependency.name.clone()),
            repo: foreign.then(|| repos[repo].name.clone()),
        })
    }

    fn constraints(&self, from: usize, release: &Release) -> Result<Available> {
        let mut constraints = DependencyConstraints::default();
        for dependency in &release.dependencies {
            let Some(requirement) = Requirement::parse(&dependency.requirement) else {
                let Dependency {
                    name, requirement, ..
                } = dependency;
                let words = format!("because its requirement on {name} is none: {requirement:?}");
                return Ok(Dependencies::Unavailable(words));
            };
            let slots = Slots::of(&requirement, dependency.optional);
            let package = self.dependency(from, dependency)?;
            let known: &mut Slots = constraints.entry(package).or_insert_with(Slots::full);
            *known = known.intersection(&slots);
        }
        let needed = constraints
            .iter()
            .filter(|(_, slots)| !slots.contains(&Slot::Absent));
        let needed: Vec<Id> = needed.map(|(package, _)| package.id.clone()).collect();
        self.problem.registry.prefetch(&needed);
        Ok(Dependencies::Available(constraints))
    }

    fn error(&self, error: PubGrubError<Self>) -> HexError {
        match error {
            PubGrubError::NoSolution(mut tree) => {
                tree.collapse_no_versions();
                self.no_resolution(&DefaultStringReporter::report(&tree))
            }
            PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorInShouldCancel(source) => source,
        }
    }

    fn no_resolution(&self, report: &str) -> HexError {
        let (name, version) = (&self.problem.root.1, &self.problem.version);
        let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
        let message = format!("no versions satisfy all that {name} {version} requires: {report}");
        HexError::new(Kind::NoResolution, message)
            .with(Fact::Package, name)
            .with(Fact::Version, version)
    }
}

impl DependencyProvider for Provider<'_> {
    type P = Package;
    type V = Slot;
    type VS = Slots;
    type M = String;
    type Err = HexError;
    /// What must be there comes first, and of that what leaves the least choice.
    type Priority = (bool, Reverse<usize>);

    fn prioritize(
        &self,
        package: &Package,
        slots: &Slots,
        _statistics: &PackageResolutionStatistics,
    ) -> Self::Priority {
        if slots.contains(&Slot::Absent) {
            return (false, Reverse(usize::MAX));
        }
        let known = self.problem.registry.package(&package.id);
        // An error shows when a version is chosen, at once.
        let choices = known.map_or(0, |known| {
            let versions = slots.versions();
            let releases = known.releases.iter();
            releases
                .filter(|release| versions.contains(&release.version))
                .count()
        });
        (true, Reverse(choices))
    }

    fn choose_version(&self, package: &Package, slots: &Slots) -> Result<Option<Slot>> {
        if slots.contains(&Slot::Absent) {
            return Ok(Some(Slot::Absent));
        }
        let known = self.problem.registry.package(&package.id)?;
        let preferred = self.problem.preferred.get(&package.id);
        let versions = slots.versions();
        let best = known
            .releases
            .iter()
            .filter(|release| versions.contains(&release.version))
            .filter(|release| self.usable(&package.id, release))
            .max_by_key(|release| {
                let version = &release.version;
                let locked = preferred == Some(version);
                (
                    locked,
                    release.retired.is_none(),
                    !version.is_pre(),
                    version,
                )
            });
        Ok(best.map(|release| Slot::Version(release.version.clone())))
    }

    fn get_dependencies(&self, package: &Package, slot: &Slot) -> Result<Available> {
        let Slot::Version(version) = slot else {
            return Ok(Dependencies::Available(DependencyConstraints::default()));
        };
        let known = self.problem.registry.package(&package.id)?;
        match known.release(version) {
            Some(release) => self.constraints(package.id.0, release),
            None => Ok(Dependencies::Unavailable(
                "because there is no such version".into(),
            )),
        }
    }

    fn should_cancel(&self) -> Result<()> {
        self.problem.control.check()?;
        if self.problem.registry.size() <= limits::PACKAGES {
            return Ok(());
        }
        let name = &self.problem.root.1;
        let message = format!("{name} needs more than {} packages", limits::PACKAGES);
        Err(HexError::new(Kind::TooLarge, message).with(Fact::Package, name))
    }
}
