//! Packages and sets of versions as the solver has them: with one more member for a package that is
//! not there.

use std::fmt;
use std::ops::Bound;

use pubgrub::{Ranges, VersionSet};

use super::registry::Id;
use super::requirement::{self, Requirement};
use super::version::Version;

/// A package as the solver knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Package(pub(super) Id);

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.1)
    }
}

/// What stands in a package's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// Nothing.
    Absent,
    /// A version.
    Version(Version),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Absent => f.write_str("absent"),
            Slot::Version(version) => version.fmt(f),
        }
    }
}

/// A set of slots; in words, it is the requirement that asks for its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots(Ranges<Slot>);

impl Slots {
    pub(super) fn of(requirement: &Requirement, optional: bool) -> Self {
        let slot = |bound: &Bound<Version>, open| match bound {
            Bound::Included(version) => Bound::Included(Slot::Version(version.clone())),
            Bound::Excluded(version) => Bound::Excluded(Slot::Version(version.clone())),
            Bound::Unbounded => open,
        };
        let versions = requirement.ranges().iter().map(|(low, high)| {
            let low = slot(low, Bound::Excluded(Slot::Absent));
            (low, slot(high, Bound::Unbounded))
        });
        let absent = Bound::Included(Slot::Absent);
        let absent = optional.then(|| (absent.clone(), absent));
        Self(absent.into_iter().chain(versions).collect())
    }

    /// Whether a version is in it.
    pub(super) fn allows(&self, version: &Version) -> bool {
        self.0.contains(&Slot::Version(version.clone()))
    }

    /// Whether nothing at all would do.
    pub(super) fn is_optional(&self) -> bool {
        self.0.contains(&Slot::Absent)
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn version(bound: &Bound<Slot>) -> Bound<&Version> {
            match bound {
                Bound::Included(Slot::Version(version)) => Bound::Included(version),
                Bound::Excluded(Slot::Version(version)) => Bound::Excluded(version),
                _ => Bound::Unbounded,
            }
        }
        let segments = self
            .0
            .iter()
            .filter(|(_, high)| **high != Bound::Included(Slot::Absent));
        let segments = segments.map(|(low, high)| (version(low), version(high)));
        f.write_str(&requirement::describe(segments))
    }
}

impl VersionSet for Slots {
    type V = Slot;

    fn empty() -> Self {
        Self(Ranges::empty())
    }

    fn singleton(slot: Slot) -> Self {
        Self(Ranges::singleton(slot))
    }

    fn complement(&self) -> Self {
        Self(self.0.complement())
    }

    fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0))
    }

    fn contains(&self, slot: &Slot) -> bool {
        self.0.contains(slot)
    }

    fn full() -> Self {
        Self(Ranges::full())
    }

    fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0))
    }
}
