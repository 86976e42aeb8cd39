//! Why no versions fit together, in words: the requirements that contradict one another, from the
//! root on. How the solver derives one from the other is left out.
//!
//! Its derivation may be as deep as a package has versions, so it is taken apart without recursion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pubgrub::{DerivationTree, Derived, External, VersionSet};

use super::package::Release;
use super::registry::Registry;
use super::slots::{Package, Slots};
use super::solve::Tree;

/// How many facts are told.
const MOST: usize = 12;

/// How many versions are named one by one.
const FEW: usize = 3;

/// The facts that a derivation is made from.
#[derive(Default)]
struct Facts {
    /// Which versions of a package need what.
    needs: BTreeMap<(Package, Package, String), Slots>,
    /// Requirements that no version satisfies.
    missing: BTreeMap<Package, BTreeSet<String>>,
    /// Versions that nobody can use, and why.
    unusable: BTreeMap<(Package, String), Slots>,
}

/// The contradiction as a text.
pub(super) fn sentences(tree: Tree, registry: &Registry<'_>, root: &str) -> String {
    let facts = Facts::of(tree);
    let mut told = facts.needs(registry, root);
    told.extend(facts.unusable.iter().map(|((package, why), set)| {
        format!("{} cannot be used: {why}", which(registry, package, set))
    }));
    // Versions that are all ruled out by what they need say nothing by being no others.
    let has_needs = |package: &Package| facts.needs.keys().any(|(who, ..)| who == package);
    let missing = facts
        .missing
        .iter()
        .filter(|(package, _)| !has_needs(package));
    told.extend(missing.flat_map(|(package, sets)| {
        let there = newest(registry, package);
        sets.iter()
            .map(move |set| format!("{package} {set} is not there{there}"))
    }));
    if let Some(more) = told.len().checked_sub(MOST).filter(|more| *more > 0) {
        told.truncate(MOST);
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

impl Facts {
    fn of(tree: Tree) -> Self {
        let mut facts = Self::default();
        let mut stack = vec![tree];
        while let Some(tree) = stack.pop() {
            match tree {
                DerivationTree::External(external) => facts.add(external),
                DerivationTree::Derived(Derived { cause1, cause2, .. }) => {
                    // What is shared is taken apart with its last owner.
                    stack.extend([cause2, cause1].into_iter().filter_map(Arc::into_inner));
                }
            }
        }
        facts
    }

    fn add(&mut self, external: External<Package, Slots, String>) {
        match external {
            External::NotRoot(..) => {}
            External::NoVersions(package, set) => {
                let sets = self.missing.entry(package).or_default();
                sets.insert(set.to_string());
            }
            External::FromDependencyOf(package, set, needed, wanted) => {
                let optional = match wanted.is_optional() {
                    true => " if it is there",
                    false => "",
                };
                let key = (package, needed, format!("{wanted}{optional}"));
                let slots = self.needs.entry(key).or_insert_with(Slots::empty);
                *slots = slots.union(&set);
            }
            External::Custom(package, set, why) => {
                let slots = self
                    .unusable
                    .entry((package, why))
                    .or_insert_with(Slots::empty);
                *slots = slots.union(&set);
            }
        }
    }

    /// Who needs what: first the root, then what it needs, and so on.
    fn needs(&self, registry: &Registry<'_>, root: &str) -> Vec<String> {
        let mut depths: BTreeMap<&Package, usize> = BTreeMap::new();
        let mut queue: Vec<&Package> = self
            .needs
            .keys()
            .map(|(who, ..)| who)
            .filter(|who| who.0.1 == root)
            .take(1)
            .collect();
        for depth in 0.. {
            queue.retain(|package| !depths.contains_key(package));
            depths.extend(queue.iter().map(|package| (*package, depth)));
            let next = self.needs.keys().filter(|(who, ..)| queue.contains(&who));
            queue = next.map(|(_, needed, _)| needed).collect();
            if queue.is_empty() {
                break;
            }
        }
        let mut told: Vec<_> = self.needs.iter().collect();
        told.sort_by_key(|((who, ..), _)| depths.get(who).copied().unwrap_or(usize::MAX));
        let tell = |((who, needed, wanted), set): (&(Package, Package, String), &Slots)| {
            format!("{} needs {needed} {wanted}", which(registry, who, set))
        };
        told.into_iter().map(tell).collect()
    }
}

/// These versions of a package, in words.
fn which(registry: &Registry<'_>, package: &Package, set: &Slots) -> String {
    let Ok(known) = registry.package(&package.0) else {
        return format!("{package} {set}");
    };
    let all = known.releases.len();
    let allowed = |release: &&Release| set.allows(&release.version);
    let inside: Vec<&Release> = known.releases.iter().filter(allowed).collect();
    match inside.as_slice() {
        [] => format!("{package} {set}"),
        every if every.len() == all && all > 1 => format!("every version of {package}"),
        [first, .., last] if inside.len() > FEW => {
            let (first, last) = (&first.version, &last.version);
            format!("{package} {first} to {last} ({} versions)", inside.len())
        }
        few => {
            let versions = few.iter().map(|release| release.version.to_string());
            format!("{package} {}", versions.collect::<Vec<_>>().join(", "))
        }
    }
}

fn newest(registry: &Registry<'_>, package: &Package) -> String {
    let known = registry.package(&package.0).ok();
    let newest = known.as_ref().and_then(|known| known.releases.last());
    newest.map_or(String::new(), |release| {
        format!(" (the newest is {})", release.version)
    })
}
