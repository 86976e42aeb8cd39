//! The lock: which tarballs an application is built from, so that the same commit builds the same
//! code tomorrow. It is kept by the caller and handed back as it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{Fact, HexError, Kind, Result};
use super::names;
use super::package::Dependency;
use super::requirement::Requirement;
use super::version::Version;

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The package.
    pub name: String,
    /// Its OTP application, as those who need it say; the root's is known from its tarball only.
    pub app: String,
    /// The version.
    pub version: String,
    /// The name of its repository in the configuration.
    pub repo: String,
    /// SHA-256 of its tarball, in small hex digits.
    pub sha256: String,
    /// What it needs, each with the name of a configured repository. A lock without them is taken
    /// to be complete for the root that it has.
    pub requirements: Option<Vec<Dependency>>,
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Locked {
    /// Whether it is the same version of the same package.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.version, &self.repo) == (&other.name, &other.version, &other.repo)
    }

    /// The error, about this package.
    pub(super) fn blame(&self, error: HexError) -> HexError {
        error.about(&self.name, &self.version, &self.repo)
    }
}

/// Checks what came from outside.
pub(super) fn check(lock: &[Locked]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for locked in lock {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_fine = names::is_name(&locked.name)
            && names::is_name(&locked.app)
            && names::is_repo(&locked.repo)
            && Version::parse(&locked.version).is_some()
            && locked.sha256.len() == 64
            && locked.sha256.bytes().all(digits)
            && seen.insert(&locked.name);
        if !is_fine {
            let name = names::shown(&locked.name);
            let message =
                format!("the lock's entry for {name:?} cannot be used; resolve without a lock");
            return Err(HexError::new(Kind::BadLock, message).with(Fact::Package, name));
        }
    }
    Ok(())
}

/// The part of a lock that the root needs, when nothing is missing and everything satisfies.
pub(super) fn complete(lock: &[Locked], root: (&str, &str, &Version)) -> Option<Vec<Locked>> {
    let by_name: BTreeMap<&str, &Locked> =
        lock.iter().map(|one| (one.name.as_str(), one)).collect();
    let (repo, name, version) = root;
    let first = *by_name.get(name)?;
    if first.repo != repo || Version::parse(&first.version)? != *version {
        return None;
    }
    if lock.iter().any(|locked| locked.requirements.is_none()) {
        return Some(lock.to_vec());
    }
    let reached = reached(first, &by_name)?;
    let is_satisfied = |needed: &Dependency| match reached.get(needed.name.as_str()) {
        Some(found) => satisfies(found, needed),
        None => needed.optional,
    };
    let mut all = reached
        .values()
        .flat_map(|locked| locked.requirements.iter().flatten());
    all.all(is_satisfied)
        .then(|| reached.values().map(|locked| (*locked).clone()).collect())
}

type ByName<'a> = BTreeMap<&'a str, &'a Locked>;

/// The first and all that it needs; `None` when something is missing.
fn reached<'a>(first: &'a Locked, by_name: &ByName<'a>) -> Option<ByName<'a>> {
    let mut reached = BTreeMap::from([(first.name.as_str(), first)]);
    let mut queue = vec![first];
    while let Some(locked) = queue.pop() {
        for needed in required(locked) {
            let found = *by_name.get(needed.name.as_str())?;
            if reached.insert(&found.name, found).is_none() {
                queue.push(found);
            }
        }
    }
    Some(reached)
}

/// What a package cannot do without.
fn required(locked: &Locked) -> impl Iterator<Item = &Dependency> {
    locked
        .requirements
        .iter()
        .flatten()
        .filter(|needed| !needed.optional)
}

fn satisfies(found: &Locked, needed: &Dependency) -> bool {
    let allows = |version: Version| {
        Requirement::parse(&needed.requirement).is_some_and(|needed| needed.allows(&version))
    };
    let same_repo = needed
        .repository
        .as_ref()
        .is_none_or(|repo| *repo == found.repo);
    same_repo && Version::parse(&found.version).is_some_and(allows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(name: &str, version: &str, needs: &[(&str, &str, bool)]) -> Locked {
        let needs = needs
            .iter()
            .map(|(name, requirement, optional)| Dependency {
                name: (*name).into(),
                app: (*name).into(),
                requirement: (*requirement).into(),
                optional: *optional,
                repository: Some("hexpm".into()),
            });
        Locked {
            name: name.into(),
            app: name.into(),
            version: version.into(),
            repo: "hexpm".into(),
            sha256: "0".repeat(64),
            requirements: Some(needs.collect()),
        }
    }

    fn names(lock: &[Locked], root: &str, version: &str) -> Option<Vec<String>> {
        let version = Version::parse(version).unwrap();
        let found = complete(lock, ("hexpm", root, &version))?;
        Some(found.into_iter().map(|locked| locked.name).collect())
    }

    #[test]
    fn only_what_the_root_needs_is_kept() {
        let lock = [
            locked(
                "a",
                "1.0.0",
                &[("b", "~> 1.0", false), ("d", "~> 1.0", true)],
            ),
            locked("b", "1.2.0", &[]),
            locked("c", "1.0.0", &[]),
        ];
        assert_eq!(names(&lock, "a", "1.0.0").unwrap(), ["a", "b"]);
        assert_eq!(names(&lock, "a", "1.0.1"), None);
    }

    #[test]
    fn what_is_missing_or_does_not_satisfy_makes_it_incomplete() {
        let missing = [locked("a", "1.0.0", &[("b", "~> 1.0", false)])];
        assert_eq!(names(&missing, "a", "1.0.0"), None);
        let old = [missing[0].clone(), locked("b", "2.0.0", &[])];
        assert_eq!(names(&old, "a", "1.0.0"), None);
        let optional = [
            locked(
                "a",
                "1.0.0",
                &[("b", "~> 1.0", false), ("c", "~> 1.0", true)],
            ),
            locked("b", "1.0.0", &[("c", ">= 0.0.0", false)]),
            locked("c", "2.0.0", &[]),
        ];
        assert_eq!(
            names(&optional, "a", "1.0.0"),
            None,
            "an optional requirement counts as well"
        );
    }

    #[test]
    fn a_lock_without_requirements_is_complete_for_its_root() {
        let bare = Locked {
            requirements: None,
            ..locked("a", "1.0.0", &[])
        };
        assert_eq!(
            names(&[bare, locked("b", "1.0.0", &[])], "a", "1.0.0").unwrap(),
            ["a", "b"]
        );
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let good = locked("a", "1.0.0", &[]);
        assert!(check(std::slice::from_ref(&good)).is_ok());
        let bad = [
            Locked {
                sha256: "../../x".into(),
                ..good.clone()
            },
            Locked {
                sha256: "F".repeat(64),
                ..good.clone()
            },
            Locked {
                name: "../a".into(),
                ..good.clone()
            },
            Locked {
                version: "1.0.0/..".into(),
                ..good.clone()
            },
            Locked {
                repo: "a/b".into(),
                ..good.clone()
            },
        ];
        for locked in bad {
            assert_eq!(check(&[locked]).unwrap_err().kind, Kind::BadLock);
        }
        assert!(check(&[good.clone(), good]).is_err());
    }
}
