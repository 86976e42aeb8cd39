//! The solver against all there is to choose from, in small worlds made at random.

use proptest::prelude::*;

use super::super::error::Kind;
use super::super::lock::Locked;
use super::super::requirement::Requirement;
use super::super::version::Version;
use super::Bench;
use super::world::World;

const PACKAGES: usize = 4;
const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "2.0.0"];
const REQUIREMENTS: [&str; 5] = [">= 1.0.0", "~> 1.0", "2.0.0", "< 2.0.0", "1.0.0 or 2.0.0"];

/// Package, requirement, whether it is optional.
type Need = (usize, &'static str, bool);

/// What each version of each package needs; the root is version 0 of package 0.
type Universe = Vec<Vec<Vec<Need>>>;

fn universe() -> impl Strategy<Value = Universe> {
    let requirement = prop::sample::select(&REQUIREMENTS[..]);
    let need = (0..PACKAGES, requirement, prop::bool::weighted(0.3));
    let needs = prop::collection::vec(need, 0..3);
    prop::collection::vec(prop::collection::vec(needs, VERSIONS.len()), PACKAGES)
}

fn bench(universe: &Universe) -> Bench {
    let world = World::new();
    for (package, versions) in universe.iter().enumerate() {
        for (version, needs) in VERSIONS.iter().zip(versions) {
            let text = |(package, requirement, optional): &Need| {
                format!(
                    "p{package}{} {requirement}",
                    if *optional { "?" } else { "" }
                )
            };
            let needs: Vec<String> = needs.iter().map(text).collect();
            let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
            world.add(&format!("p{package}"), version, &needs);
        }
    }
    Bench::new(world)
}

fn allows(requirement: &str, version: usize) -> bool {
    let version = Version::parse(VERSIONS[version]).unwrap();
    Requirement::parse(requirement).unwrap().allows(&version)
}

/// Whether nothing is missing and everything satisfies.
fn is_valid(universe: &Universe, chosen: &[Option<usize>]) -> bool {
    chosen.iter().enumerate().all(|(package, version)| {
        let needs = version.map_or(&[][..], |version| &universe[package][version]);
        needs
            .iter()
            .all(|(needed, requirement, optional)| match chosen[*needed] {
                Some(version) => allows(requirement, version),
                None => *optional,
            })
    })
}

fn exists(universe: &Universe, chosen: &mut Vec<Option<usize>>) -> bool {
    if chosen.len() == PACKAGES {
        return is_valid(universe, chosen);
    }
    [None, Some(0), Some(1), Some(2)].into_iter().any(|choice| {
        chosen.push(choice);
        let found = exists(universe, chosen);
        chosen.pop();
        found
    })
}

fn chosen(lock: &[Locked]) -> Vec<Option<usize>> {
    let version = |package: usize| {
        let locked = lock
            .iter()
            .find(|locked| locked.name == format!("p{package}"))?;
        VERSIONS
            .iter()
            .position(|version| *version == locked.version)
    };
    (0..PACKAGES).map(version).collect()
}

/// Whether the root needs it, or something that the root needs does.
fn is_needed(universe: &Universe, chosen: &[Option<usize>], package: usize) -> bool {
    let mut reached = vec![0];
    let mut at = 0;
    while let Some(&who) = reached.get(at) {
        let needs = chosen[who].map_or(&[][..], |version| &universe[who][version]);
        let new = needs
            .iter()
            .filter(|(_, _, optional)| !optional)
            .map(|(needed, ..)| *needed);
        let new: Vec<usize> = new.filter(|needed| !reached.contains(needed)).collect();
        reached.extend(new);
        at += 1;
    }
    reached.contains(&package)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn a_choice_is_found_where_there_is_one(universe in universe()) {
        let bench = bench(&universe);
        match bench.resolve("p0", VERSIONS[0], &[]) {
            Ok(resolved) => {
                let chosen = chosen(&resolved.lock);
                prop_assert_eq!(chosen[0], Some(0));
                prop_assert!(is_valid(&universe, &chosen), "{:?}", chosen);
                for package in (0..PACKAGES).filter(|package| chosen[*package].is_some()) {
                    prop_assert!(is_needed(&universe, &chosen, package), "{}", package);
                }
                prop_assert_eq!(bench.resolve("p0", VERSIONS[0], &resolved.lock), Ok(resolved));
            }
            Err(error) => {
                prop_assert_eq!(error.kind, Kind::NoResolution);
                prop_assert!(!exists(&universe, &mut vec![Some(0)]), "{}", error);
            }
        }
    }
}
