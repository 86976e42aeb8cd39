//! Reading the directories of a commit, and what is taken over from the snapshot before.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use git2::{Oid, Repository, Tree};
use rayon::prelude::*;

use super::{Directory, Good, Options, Parsed, Snapshot, SnapshotError, SnapshotErrorKind};
use crate::git::tree::{self, BlobError, Entry, EntryKind};
use crate::spec::files::{self, FILE_NAMES};
use crate::spec::{Atoms, Format, Kind, limits};

/// Directories that are read by one thread with one handle on the repository.
const CHUNK: usize = 128;

fn error(kind: SnapshotErrorKind, message: impl Into<String>) -> SnapshotError {
    SnapshotError {
        kind,
        message: message.into(),
    }
}

pub(super) fn read(
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
pub(super) struct Cache<'p> {
    pub(super) by_dir: HashMap<&'p str, &'p Directory>,
    by_blob: HashMap<(Oid, Format), &'p Arc<Parsed>>,
}

impl<'p> Cache<'p> {
    pub(super) fn new(previous: Option<&'p Snapshot>, apps_dir: &str) -> Self {
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

    pub(super) fn good(&self, dir: &str) -> Option<Arc<Good>> {
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
        let parsed = Arc::new(Parsed::from(checked));
        // The plan will ask for them; here many threads work.
        parsed.good.as_ref().map(|good| good.prints());
        (
            Some(self.finished(entry, file, Some(spec.id), parsed)),
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
