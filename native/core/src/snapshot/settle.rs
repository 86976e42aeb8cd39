//! What counts: the quota of atoms, stale specs, names that stand twice.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::read::Cache;
use super::{App, Broken, Directory, Duplicate, Parsed, Snapshot};
use crate::spec::{Checked, Kind, files};

impl Snapshot {
    /// Lets the new atoms of good specs in, in the order of the directories, as long as there is room.
    pub(super) fn admit(mut self, room: usize, cache: &Cache<'_>) -> Self {
        let mut admitted: HashSet<String> = HashSet::new();
        for directory in &mut self.directories {
            if directory.parsed.good.is_none() {
                continue;
            }
            let fresh = directory
                .parsed
                .new_atoms
                .iter()
                .filter(|name| !admitted.contains(*name))
                .count();
            let taken_over = cache
                .by_dir
                .get(directory.name.as_str())
                .is_some_and(|old| Arc::ptr_eq(&old.parsed, &directory.parsed));
            if taken_over || admitted.len() + fresh <= room {
                admitted.extend(
                    directory
                        .parsed
                        .new_atoms
                        .iter()
                        .filter(|_| !taken_over)
                        .cloned(),
                );
                continue;
            }
            let refused = Checked {
                spec: None,
                name: directory.parsed.name.clone(),
                ..files::no_room(fresh, room - admitted.len())
            };
            let mut parsed = Parsed::from(refused);
            parsed.transient = true;
            directory.parsed = Arc::new(parsed);
            directory.good = cache.good(&directory.name);
        }
        self.new_atoms = admitted.into_iter().collect();
        self
    }

    /// Tells what counts from what does not.
    pub(super) fn sort_out(mut self) -> Self {
        let mut fresh: BTreeMap<&str, Vec<&Directory>> = BTreeMap::new();
        for directory in &self.directories {
            if let Some(good) = &directory.parsed.good {
                fresh.entry(&good.spec.name).or_default().push(directory);
            }
        }
        let mut apps: BTreeMap<&str, App> = BTreeMap::new();
        for directory in &self.directories {
            let Some(good) = &directory.good else {
                continue;
            };
            let stale = directory.parsed.good.is_none();
            let claims = fresh.get(good.spec.name.as_str()).map_or(0, Vec::len);
            // A name that a good spec has now is no longer that of a broken directory.
            if claims > usize::from(!stale) || (stale && apps.contains_key(good.spec.name.as_str()))
            {
                continue;
            }
            let app = App {
                dir: directory.name.clone(),
                file: directory.file.clone(),
                stale,
                good: Arc::clone(good),
            };
            apps.insert(&good.spec.name, app);
        }
        let mut broken: Vec<Broken> = Vec::new();
        for directory in &self.directories {
            let stands = |name: &str| apps.get(name).is_some_and(|app| app.dir == directory.name);
            if directory.parsed.errors.is_empty() {
                continue;
            }
            let last = directory.good.as_ref().map(|good| good.spec.name.clone());
            broken.push(Broken {
                dir: directory.name.clone(),
                file: directory.file.clone(),
                stale: last.as_deref().is_some_and(stands),
                name: last.or_else(|| directory.parsed.name.clone()),
                problems: directory.parsed.errors.clone(),
            });
        }
        let mut duplicates = Vec::new();
        for (name, claims) in fresh.iter().filter(|(_, claims)| claims.len() > 1) {
            let dirs: Vec<String> = claims
                .iter()
                .map(|directory| directory.name.clone())
                .collect();
            let found = format!("the name {name} in {}", dirs.join(" and "));
            for directory in claims {
                let mut problem = files::placeless(
                    Kind::DuplicateName,
                    found.clone(),
                    "each name in one directory",
                );
                problem.path = "name".to_owned();
                broken.push(Broken {
                    dir: directory.name.clone(),
                    file: directory.file.clone(),
                    name: Some((*name).to_owned()),
                    stale: false,
                    problems: vec![problem],
                });
            }
            duplicates.push(Duplicate {
                name: (*name).to_owned(),
                dirs,
            });
        }
        broken.sort_by(|a, b| a.dir.cmp(&b.dir));
        let warnings = self.directories.iter().flat_map(|directory| {
            directory
                .parsed
                .warnings
                .iter()
                .map(|warning| (directory.file.clone(), warning.clone()))
        });
        let warnings = warnings.collect();
        let apps = apps.into_values().collect();
        (self.apps, self.broken, self.duplicates, self.warnings) =
            (apps, broken, duplicates, warnings);
        self
    }
}
