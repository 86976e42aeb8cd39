//! Which versions fit together: the requirements of packages, solved by PubGrub.
//!
//! The highest version wins, in the order: the locked one, then one that is not retired, then a
//! release before a pre-release. Retired versions are left out at first and let in when nothing
//! fits without them. A package that is only optional has one more version, "absent", below all
//! others: an optional dependency allows it, any other does not. Sources:
//! `dependency_resolution.md` of <https://github.com/hexpm/specifications>; PubGrub as
//! <https://nex3.medium.com/pubgrub-2fb6470504f> describes it.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use pubgrub::{
    Dependencies, DependencyConstraints, DependencyProvider, DerivationTree,
    PackageResolutionStatistics, PubGrubError, VersionSet,
};

use super::error::{Fact, HexError, Kind, Result};
use super::package::{Dependency, Release};
use super::registry::{Id, Registry};
use super::report;
use super::requirement::Requirement;
use super::slots::{Package, Slot, Slots};
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
    let mut provider = Provider {
        problem,
        with_retired: false,
        passed_over: Cell::new(false),
    };
    match attempt(&provider) {
        Err(error) if error.kind == Kind::NoResolution && provider.passed_over.get() => {
            provider.with_retired = true;
            attempt(&provider)
        }
        other => other,
    }
}

fn attempt(provider: &Provider<'_>) -> Result<Solution> {
    let problem = provider.problem;
    let root = Package(problem.root.clone());
    let solved = pubgrub::resolve(provider, root, Slot::Version(problem.version.clone()));
    let selected = solved.map_err(|error| provider.error(error))?.into_iter();
    let present = selected.filter_map(|(package, slot)| match slot {
        Slot::Version(version) => Some((package.0, version)),
        Slot::Absent => None,
    });
    Ok(present.collect())
}

/// Why nothing fits.
pub(super) type Tree = DerivationTree<Package, Slots, String>;

type Available = Dependencies<Package, Slots, String>;

struct Provider<'a> {
    problem: &'a Problem<'a>,
    with_retired: bool,
    /// Whether a retired release was left out that could have been chosen.
    passed_over: Cell<bool>,
}

impl Provider<'_> {
    fn usable(&self, id: &Id, release: &Release) -> bool {
        let asked_for = || *id == self.problem.root && release.version == self.problem.version;
        let preferred = || self.problem.preferred.get(id) == Some(&release.version);
        let usable = release.retired.is_none() || self.with_retired || asked_for() || preferred();
        self.passed_over.set(self.passed_over.get() || !usable);
        usable
    }

    /// What a dependency of a package in this repository means.
    fn dependency(&self, from: usize, dependency: &Dependency) -> Result<Package> {
        let repos = self.problem.registry.repos;
        let repo = repo::of_dependency(repos, dependency.repository.as_deref(), from)?;
        Ok(Package((repo, dependency.name.clone())))
    }

    /// A requirement of a package on itself is one on this very version: PubGrub knows no other.
    fn constraints(&self, id: &Id, release: &Release) -> Result<Available> {
        let mut constraints = DependencyConstraints::default();
        for dependency in &release.dependencies {
            let (name, words) = (&dependency.name, &dependency.requirement);
            let Some(requirement) = Requirement::parse(words) else {
                let why = format!("its requirement on {name} is none: {words:?}");
                return Ok(Dependencies::Unavailable(why));
            };
            let slots = Slots::of(&requirement, dependency.optional);
            let package = self.dependency(id.0, dependency)?;
            if package.0 == *id && slots.allows(&release.version) {
                continue;
            }
            if package.0 == *id {
                let why = format!("it requires itself as {words}");
                return Ok(Dependencies::Unavailable(why));
            }
            let known: &mut Slots = constraints.entry(package).or_insert_with(Slots::full);
            *known = known.intersection(&slots);
        }
        let needed = constraints.iter().filter(|(_, slots)| !slots.is_optional());
        let needed: Vec<Id> = needed.map(|(package, _)| package.0.clone()).collect();
        self.problem.registry.prefetch(&needed);
        Ok(Dependencies::Available(constraints))
    }

    fn error(&self, error: PubGrubError<Self>) -> HexError {
        match error {
            PubGrubError::NoSolution(tree) => self.no_resolution(tree),
            PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorInShouldCancel(source) => source,
        }
    }

    fn no_resolution(&self, tree: Tree) -> HexError {
        let Problem {
            root,
            version,
            registry,
            ..
        } = self.problem;
        let report = report::sentences(tree, registry, &root.1);
        let message = format!(
            "no versions satisfy all that {} {version} requires: {report}",
            root.1
        );
        HexError::new(Kind::NoResolution, message).about(
            &root.1,
            version,
            &registry.repos[root.0].name,
        )
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
        if slots.is_optional() {
            return (false, Reverse(usize::MAX));
        }
        let known = self.problem.registry.package(&package.0);
        // An error shows when a version is chosen, at once.
        let choices = known.map_or(0, |known| {
            let releases = known.releases.iter();
            releases
                .filter(|release| slots.allows(&release.version))
                .count()
        });
        (true, Reverse(choices))
    }

    fn choose_version(&self, package: &Package, slots: &Slots) -> Result<Option<Slot>> {
        if slots.is_optional() {
            return Ok(Some(Slot::Absent));
        }
        let known = self.problem.registry.package(&package.0)?;
        let preferred = self.problem.preferred.get(&package.0);
        let best = known
            .releases
            .iter()
            .filter(|one| slots.allows(&one.version) && self.usable(&package.0, one))
            .max_by_key(|one| {
                let version = &one.version;
                let locked = preferred == Some(version);
                (locked, one.retired.is_none(), !version.is_pre(), version)
            });
        Ok(best.map(|release| Slot::Version(release.version.clone())))
    }

    fn get_dependencies(&self, package: &Package, slot: &Slot) -> Result<Available> {
        let Slot::Version(version) = slot else {
            return Ok(Dependencies::Available(DependencyConstraints::default()));
        };
        let known = self.problem.registry.package(&package.0)?;
        match known.release(version) {
            Some(release) => self.constraints(&package.0, release),
            None => Ok(Dependencies::Unavailable("there is no such version".into())),
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
