//! The desired state of one commit: the specs of all directories, checked, with what is wrong.
//!
//! A snapshot is made from the one before it: a directory whose tree is the same is taken over, a
//! blob that was parsed is not parsed again, and the last good spec of a directory stands (stale)
//! while its newer one is broken.

mod read;
mod settle;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use git2::Oid;

use crate::pool;
use crate::spec::files::{self, SpecFile};
use crate::spec::{AppSpec, Atoms, Checked, Problem, RECORD_BYTES};
use crate::url::Login;
use rayon::prelude::*;
use read::Cache;

/// How many records one thread writes at a time.
const RECORDS: usize = 32;

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

/// A good spec; its fingerprints are taken when they are asked for.
#[derive(Debug)]
struct Good {
    spec: AppSpec,
    prints: OnceLock<Prints>,
}

/// Fingerprints of source and environment.
#[derive(Debug)]
struct Prints {
    source: [u8; 32],
    env: [u8; 32],
}

impl Good {
    fn prints(&self) -> &Prints {
        self.prints.get_or_init(|| Prints {
            source: self.spec.source_fingerprint(),
            env: self.spec.env.fingerprint(),
        })
    }
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

impl Directory {
    fn on_disk(SpecFile { dir, file, checked }: SpecFile) -> Self {
        let parsed = Arc::new(Parsed::from(checked));
        Directory {
            name: dir,
            id: Oid::ZERO_SHA1,
            file,
            blob: None,
            good: parsed.good.clone(),
            parsed,
        }
    }
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
        &self.good.prints().source
    }

    /// Fingerprint of its environment.
    pub fn env_fingerprint(&self) -> &[u8; 32] {
        &self.good.prints().env
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
        pool::run(|| read::read(path, commit, options, previous, atoms))
    }

    /// Reads the specs of a directory on disk; its commit is empty.
    pub fn of_directory(
        path: &Path,
        atom_room: usize,
        atoms: &dyn Atoms,
    ) -> std::io::Result<Snapshot> {
        let directories = pool::run(|| files::read_dir(path, atoms, Directory::on_disk))?;
        let parsed = directories.len();
        let base = Snapshot {
            directories,
            parsed,
            ..Snapshot::default()
        };
        Ok(base.admit(atom_room, &Cache::new(None, "")).sort_out())
    }

    /// Frees it on a thread of its own: that of thousands of applications takes milliseconds.
    pub fn release(self) {
        pool::later(move || drop(self));
    }

    /// The commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The applications, sorted by name, each name once.
    pub fn apps(&self) -> &[App] {
        &self.apps
    }

    /// All records in external term format, one behind the other, in parts.
    pub fn records(&self) -> Vec<Vec<u8>> {
        let part = |apps: &[App]| {
            let mut out = Vec::with_capacity(apps.len() * RECORD_BYTES);
            apps.iter()
                .for_each(|app| app.spec().write_record(&mut out));
            out
        };
        pool::run(|| self.apps.par_chunks(RECORDS).map(part).collect())
    }

    /// The application of a name.
    pub fn app(&self, name: &str) -> Option<&App> {
        let index = self
            .apps
            .binary_search_by(|app| app.spec().name.as_str().cmp(name))
            .ok()?;
        self.apps.get(index)
    }

    /// The logins that stood in the urls of its sources, by the urls that are left.
    pub fn logins(&self) -> impl Iterator<Item = (&str, &Login)> {
        self.apps.iter().filter_map(|app| app.spec().source.login())
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

impl From<Checked> for Parsed {
    fn from(checked: Checked) -> Self {
        let good = checked.spec.map(|spec| {
            let prints = OnceLock::new();
            Arc::new(Good { spec, prints })
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
