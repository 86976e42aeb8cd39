//! The desired state of one commit: the specs of all directories, checked, with what is wrong.
//!
//! A snapshot is made from the one before it: a directory whose tree is the same is taken over, a
//! blob that was parsed is not parsed again, and the last good spec of a directory stands (stale)
//! while its newer one is broken.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use git2::{Oid, Repository, Tree};
use rayon::prelude::*;

use crate::git::tree::{self, BlobError, Entry, EntryKind};
use crate::pool;
use crate::spec::files::{self, FILE_NAMES, SpecFile};
use crate::spec::{AppSpec, Atoms, Checked, Format, Kind, Problem, limits};

/// Directories that are read by one thread with one handle on the repository.
const CHUNK: usize = 128;

/// How a snapshot is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of applications, relative to the root of the repository.
    pub apps_dir: String,
    /// How many atoms may be new to the VM.
    pub atom_room: usize,
}

/// What keeps a snapshot from being made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SnapshotError {
    /// What callers tell errors apart by.
    pub kind: SnapshotErrorKind,
    /// A sentence for a person.
    pub message: String,
}

/// The kinds of errors of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotErrorKind {
    /// No repository at the path.
    NotFound,
    /// The path or commit is malformed.
    BadArgument,
    /// The commit is not in the repository.
    CommitMissing,
    /// The commit has no directory of applications.
    AppsDirMissing,
    /// The directory of applications has no directory at all.
    AppsDirEmpty,
    /// The directory of applications is a file, a link or a submodule.
    AppsDirInvalid,
    /// More directories than allowed.
    TooMany,
    /// The local repository is damaged.
    Corrupt,
}

/// A good spec with its fingerprints.
#[derive(Debug)]
struct Good {
    spec: AppSpec,
    source: [u8; 32],
    env: [u8; 32],
}

/// What came of a blob.
#[derive(Debug)]
struct Parsed {
    good: Option<Arc<Good>>,
    name: Option<String>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    new_atoms: Vec<String>,
    /// May be different the next time: not taken over.
    transient: bool,
}

/// A directory of the commit that has a spec.
#[derive(Debug, Clone)]
struct Directory {
    name: String,
    id: Oid,
    file: String,
    blob: Option<Oid>,
    parsed: Arc<Parsed>,
    /// The last good spec, this commit's included.
    good: Option<Arc<Good>>,
}

/// One application of the desired state.
#[derive(Debug, Clone)]
pub struct App {
    /// Name of its directory.
    pub dir: String,
    /// Path of its spec in the repository.
    pub file: String,
    /// The spec is of an earlier commit: the one of this commit is broken.
    pub stale: bool,
    good: Arc<Good>,
}

impl App {
    /// Its spec.
    pub fn spec(&self) -> &AppSpec {
        &self.good.spec
    }

    /// Fingerprint of its source.
    pub fn source_fingerprint(&self) -> &[u8; 32] {
        &self.good.source
    }

    /// Fingerprint of its environment.
    pub fn env_fingerprint(&self) -> &[u8; 32] {
        &self.good.env
    }
}

/// A directory whose spec is refused.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Name of the directory.
    pub dir: String,
    /// Path of the spec in the repository.
    pub file: String,
    /// The name the spec gives itself, or that of the last good one.
    pub name: Option<String>,
    /// An earlier good spec stands in its place.
    pub stale: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// A name that several directories give themselves. None of them counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The name.
    pub name: String,
    /// The directories.
    pub dirs: Vec<String>,
}

/// The desired state of a commit.
#[derive(Debug, Default)]
pub struct Snapshot {
    commit: String,
    apps_dir: String,
    directories: Vec<Directory>,
    apps: Vec<App>,
    broken: Vec<Broken>,
    duplicates: Vec<Duplicate>,
    warnings: Vec<(String, Problem)>,
    new_atoms: Vec<String>,
    parsed: usize,
    reused: usize,
}

impl Snapshot {
    /// Reads the specs of a commit.
    pub fn open(
        path: &Path,
        commit: &str,
        options: &Options,
        previous: Option<&Snapshot>,
        atoms: &dyn Atoms,
    ) -> Result<Snapshot, SnapshotError> {
        pool::run(|| read(path, commit, options, previous, atoms))
    }

    /// Reads the specs of a directory on disk; its commit is empty.
    pub fn of_directory(
        path: &Path,
        atom_room: usize,
        atoms: &dyn Atoms,
    ) -> std::io::Result<Snapshot> {
        let files = pool::run(|| files::read_dir(path, atoms))?;
        let directories: Vec<Directory> = files
            .into_iter()
            .map(|SpecFile { dir, file, checked }| {
                let parsed = Arc::new(Parsed::from(checked));
                Directory {
                    name: dir,
                    id: Oid::ZERO_SHA1,
                    file,
                    blob: None,
                    good: parsed.good.clone(),
                    parsed,
                }
            })
            .collect();
        let parsed = directories.len();
        let base = Snapshot {
            directories,
            parsed,
            ..Snapshot::default()
        };
        Ok(base.admit(atom_room, &Cache::new(None, "")).sort_out())
    }

    /// The commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The applications, sorted by name, each name once.
    pub fn apps(&self) -> &[App] {
        &self.apps
    }

    /// The application of a name.
    pub fn app(&self, name: &str) -> Option<&App> {
        let index = self
            .apps
            .binary_search_by(|app| app.spec().name.as_str().cmp(name))
            .ok()?;
        self.apps.get(index)
    }

    /// Directories whose spec is refused.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// Names that several directories give themselves; they stand in [`Snapshot::broken`] as well.
    pub fn duplicates(&self) -> &[Duplicate] {
        &self.duplicates
    }

    /// Warnings with the files they are of.
    pub fn warnings(&self) -> &[(String, Problem)] {
        &self.warnings
    }

    /// Atoms that the VM did not have when this snapshot was made; they passed the quota.
    pub fn new_atoms(&self) -> &[String] {
        &self.new_atoms
    }

    /// How many files were parsed for this snapshot.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// How many files were taken over from the snapshot before.
    pub fn reused(&self) -> usize {
        self.reused
    }
}

fn error(kind: SnapshotErrorKind, message: impl Into<String>) -> SnapshotError {
    SnapshotError {
        kind,
        message: message.into(),
    }
}

fn read(
    path: &Path,
    commit: &str,
    options: &Options,
    previous: Option<&Snapshot>,
    atoms: &dyn Atoms,
) -> Result<Snapshot, SnapshotError> {
    let repository = open(path)?;
    let id = Oid::from_str(commit)
        .ok()
        .filter(|_| commit.len() == 40)
        .ok_or_else(|| {
            error(
                SnapshotErrorKind::BadArgument,
                "a commit is 40 hexadecimal digits",
            )
        })?;
    let root = tree::of_commit(&repository, id).map_err(|_| {
        error(
            SnapshotErrorKind::CommitMissing,
            format!("commit {commit} is not in the repository"),
        )
    })?;
    let apps_dir = normal(&options.apps_dir)?;
    let apps = apps_tree(&repository, root, &apps_dir)?;
    let entries = tree::directories(&apps);
    if entries.is_empty() {
        return Err(error(
            SnapshotErrorKind::AppsDirEmpty,
            format!("{apps_dir}/ has no directories"),
        ));
    }
    if entries.len() > limits::DIRECTORIES {
        let message = format!(
            "{apps_dir}/ has {} directories, at most {} are read",
            entries.len(),
            limits::DIRECTORIES
        );
        return Err(error(SnapshotErrorKind::TooMany, message));
    }
    let cache = Cache::new(previous, &apps_dir);
    let read: Vec<(Option<Directory>, bool)> = entries
        .par_chunks(CHUNK)
        .map(|chunk| read_chunk(path, chunk, &apps_dir, &cache, atoms))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    let parsed = read
        .iter()
        .filter(|(directory, fresh)| *fresh && directory.is_some())
        .count();
    let directories: Vec<Directory> = read
        .into_iter()
        .filter_map(|(directory, _)| directory)
        .collect();
    let reused = directories.len() - parsed;
    let base = Snapshot {
        commit: commit.to_owned(),
        apps_dir,
        directories,
        parsed,
        reused,
        ..Snapshot::default()
    };
    Ok(base.admit(options.atom_room, &cache).sort_out())
}

fn open(path: &Path) -> Result<Repository, SnapshotError> {
    tree::open(path).map_err(|failed| {
        let kind = match failed.kind {
            crate::git::Kind::NotFound => SnapshotErrorKind::NotFound,
            _ => SnapshotErrorKind::Corrupt,
        };
        error(kind, failed.message)
    })
}

/// `./apps/` is `apps`, and the root is the empty path.
fn normal(apps_dir: &str) -> Result<String, SnapshotError> {
    let parts: Vec<&str> = apps_dir
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if apps_dir.starts_with('/') || parts.contains(&"..") || apps_dir.contains('\0') {
        let message = "apps_dir is a path relative to the root of the repository";
        return Err(error(SnapshotErrorKind::BadArgument, message));
    }
    Ok(parts.join("/"))
}

fn apps_tree<'r>(
    repository: &'r Repository,
    root: Tree<'r>,
    apps_dir: &str,
) -> Result<Tree<'r>, SnapshotError> {
    let mut tree = root;
    for part in apps_dir.split('/').filter(|part| !part.is_empty()) {
        let missing = || {
            error(
                SnapshotErrorKind::AppsDirMissing,
                format!("the commit has no directory {apps_dir}"),
            )
        };
        let (id, mode) = tree
            .get_name(part)
            .map(|entry| (entry.id(), entry.filemode_raw()))
            .ok_or_else(missing)?;
        if tree::kind_of(mode) != Some(EntryKind::Directory) {
            let message = format!("{apps_dir} is no directory but a file, a link or a submodule");
            return Err(error(SnapshotErrorKind::AppsDirInvalid, message));
        }
        tree = repository
            .find_tree(id)
            .map_err(|failed| error(SnapshotErrorKind::Corrupt, failed.message().to_owned()))?;
    }
    Ok(tree)
}

/// What may be taken over.
struct Cache<'p> {
    by_dir: HashMap<&'p str, &'p Directory>,
    by_blob: HashMap<(Oid, Format), &'p Arc<Parsed>>,
}

impl<'p> Cache<'p> {
    fn new(previous: Option<&'p Snapshot>, apps_dir: &str) -> Self {
        let all = previous.map_or(&[][..], |snapshot| &snapshot.directories);
        let same_place = previous.is_some_and(|snapshot| snapshot.apps_dir == apps_dir);
        let by_dir = all
            .iter()
            .filter(|_| same_place)
            .map(|directory| (directory.name.as_str(), directory))
            .collect();
        let lasting = all.iter().filter(|directory| !directory.parsed.transient);
        let by_blob = lasting
            .filter_map(|directory| {
                Some((
                    (directory.blob?, Format::of_file(&directory.file)),
                    &directory.parsed,
                ))
            })
            .collect();
        Cache { by_dir, by_blob }
    }

    fn good(&self, dir: &str) -> Option<Arc<Good>> {
        self.by_dir
            .get(dir)
            .and_then(|directory| directory.good.clone())
    }
}

/// Directories with a spec, and whether each was parsed just now.
fn read_chunk(
    path: &Path,
    entries: &[Entry],
    apps_dir: &str,
    cache: &Cache<'_>,
    atoms: &dyn Atoms,
) -> Result<Vec<(Option<Directory>, bool)>, SnapshotError> {
    let same = |entry: &Entry| {
        cache
            .by_dir
            .get(entry.name.as_str())
            .filter(|old| old.id == entry.id && !old.parsed.transient)
            .copied()
    };
    if entries.iter().all(|entry| same(entry).is_some()) {
        return Ok(entries
            .iter()
            .map(|entry| (same(entry).cloned(), false))
            .collect());
    }
    let repository = open(path)?;
    let odb = repository
        .odb()
        .map_err(|failed| error(SnapshotErrorKind::Corrupt, failed.message().to_owned()))?;
    let reader = Reader {
        repository: &repository,
        odb: &odb,
        apps_dir,
        cache,
        atoms,
    };
    Ok(entries
        .iter()
        .map(|entry| match same(entry) {
            Some(old) => (Some(old.clone()), false),
            None => reader.directory(entry),
        })
        .collect())
}

struct Reader<'r> {
    repository: &'r Repository,
    odb: &'r git2::Odb<'r>,
    apps_dir: &'r str,
    cache: &'r Cache<'r>,
    atoms: &'r dyn Atoms,
}

impl Reader<'_> {
    fn directory(&self, entry: &Entry) -> (Option<Directory>, bool) {
        let place = match self.apps_dir {
            "" => entry.name.clone(),
            apps_dir => format!("{apps_dir}/{}", entry.name),
        };
        let refused = |kind, found: &str, file: String| {
            let parsed = Arc::new(Parsed::from(files::broken(
                kind,
                found,
                "a regular file in a directory",
            )));
            (Some(self.finished(entry, file, None, parsed)), true)
        };
        match entry.kind {
            EntryKind::Symlink => return refused(Kind::Symlink, "a symbolic link", place),
            EntryKind::Submodule => return refused(Kind::Submodule, "a submodule", place),
            EntryKind::File => return (None, false),
            EntryKind::Directory => (),
        }
        let tree = match self.repository.find_tree(entry.id) {
            Ok(tree) => tree,
            Err(failed) => return self.unreadable(entry, place, failed.message()),
        };
        let Some(spec) = tree::first_of(&tree, FILE_NAMES) else {
            return (None, false);
        };
        let file = format!("{place}/{}", spec.name);
        match spec.kind {
            EntryKind::Symlink => refused(Kind::Symlink, "a symbolic link", file),
            EntryKind::Submodule => refused(Kind::Submodule, "a submodule", file),
            _ => self.blob(entry, &spec, file),
        }
    }

    fn blob(&self, entry: &Entry, spec: &Entry, file: String) -> (Option<Directory>, bool) {
        let format = Format::of_file(&spec.name);
        if let Some(parsed) = self.cache.by_blob.get(&(spec.id, format)) {
            return (
                Some(self.finished(entry, file, Some(spec.id), Arc::clone(parsed))),
                false,
            );
        }
        let parse = |bytes: &[u8]| crate::spec::parse(bytes, format, self.atoms);
        let checked = match tree::with_blob(self.odb, spec.id, limits::FILE_BYTES, parse) {
            Ok(checked) => checked,
            Err(BlobError::TooLarge(size)) => files::broken(
                Kind::TooLarge,
                format!("{size} bytes"),
                format!("at most {} bytes", limits::FILE_BYTES),
            ),
            Err(BlobError::Unreadable(message)) => return self.unreadable(entry, file, &message),
        };
        (
            Some(self.finished(entry, file, Some(spec.id), Arc::new(Parsed::from(checked)))),
            true,
        )
    }

    fn unreadable(&self, entry: &Entry, file: String, message: &str) -> (Option<Directory>, bool) {
        let mut parsed = Parsed::from(files::broken(
            Kind::Unreadable,
            message,
            "an object that can be read",
        ));
        parsed.transient = true;
        (
            Some(self.finished(entry, file, None, Arc::new(parsed))),
            true,
        )
    }

    fn finished(
        &self,
        entry: &Entry,
        file: String,
        blob: Option<Oid>,
        parsed: Arc<Parsed>,
    ) -> Directory {
        let good = parsed.good.clone().or_else(|| self.cache.good(&entry.name));
        Directory {
            name: entry.name.clone(),
            id: entry.id,
            file,
            blob,
            parsed,
            good,
        }
    }
}

impl From<Checked> for Parsed {
    fn from(checked: Checked) -> Self {
        let good = checked.spec.map(|spec| {
            let (source, env) = (spec.source_fingerprint(), spec.env.fingerprint());
            Arc::new(Good { spec, source, env })
        });
        let Checked {
            name,
            errors,
            warnings,
            new_atoms,
            ..
        } = checked;
        Parsed {
            good,
            name,
            errors,
            warnings,
            new_atoms,
            transient: false,
        }
    }
}

impl Snapshot {
    /// Lets the new atoms of good specs in, in the order of the directories, as long as there is room.
    fn admit(mut self, room: usize, cache: &Cache<'_>) -> Self {
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
    fn sort_out(mut self) -> Self {
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
