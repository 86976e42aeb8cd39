//! Sets of versions as the solver has them: with one more member for a package that is not there.

use std::fmt;
use std::ops::Bound;

use pubgrub::{Ranges, VersionSet};

use super::requirement::{self, Requirement};
use super::version::Version;

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

/// A set of slots, with words of its own for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots(Ranges<Slot>);

impl Slots {
    pub(super) fn of(requirement: &Requirement, optional: bool) -> Self {
        let slot = |bound: &Bound<Version>, open| match bound {
            Bound::Included(version) => Bound::Included(Slot::Version(version.clone())),
            Bound::Excluded(version) => Bound::Excluded(Slot::Version(version.clone())),
            Bound::Unbounded => open,
        };
        let mut slots = match optional {
            true => Ranges::singleton(Slot::Absent),
            false => Ranges::empty(),
        };
        for (low, high) in requirement.ranges().iter() {
            let low = slot(low, Bound::Excluded(Slot::Absent));
            let high = slot(high, Bound::Unbounded);
            slots = slots.union(&Ranges::from_range_bounds((low, high)));
        }
        Self(slots)
    }

    pub(super) fn versions(&self) -> Ranges<Version> {
        let version = |bound: &Bound<Slot>| match bound {
            Bound::Included(Slot::Version(version)) => Bound::Included(version.clone()),
            Bound::Excluded(Slot::Version(version)) => Bound::Excluded(version.clone()),
            _ => Bound::Unbounded,
        };
        self.0
            .iter()
            .filter(|(_, high)| **high != Bound::Included(Slot::Absent))
            .map(|(low, high)| Ranges::from_range_bounds((version(low), version(high))))
            .fold(Ranges::empty(), |all, part| all.union(&part))
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = self.0 != Ranges::full() && self.0.contains(&Slot::Absent);
        f.write_str(&requirement::describe(&self.versions()))?;
        f.write_str(if optional { " (optional)" } else { "" })
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
