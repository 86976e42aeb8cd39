//! What differs between two builds of an application.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::HotError;
use super::app_file::{self, AppFile};
use super::private::{self, PrivateChanges};
use crate::beam::{BeamError, BeamErrorKind, Info, beam_files, info_of, read, unpacked};
use crate::pool;

/// A module whose code is not the same in both builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleChange {
    /// `None` when the old build has no such module.
    pub old: Option<Info>,
    /// `None` when the new build has no such module.
    pub new: Option<Info>,
}

impl ModuleChange {
    /// What is known of the old module and of the new one, as far as there are both.
    pub(super) fn infos(&self) -> impl Iterator<Item = &Info> {
        self.old.iter().chain(&self.new)
    }

    /// Whether both builds have it.
    pub(super) fn is_changed(&self) -> bool {
        self.old.is_some() && self.new.is_some()
    }
}

/// What differs between the resource files (`.app`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AppChanges {
    /// The application.
    pub name: String,
    /// The version of the old build.
    pub old_version: Option<String>,
    /// The version of the new build.
    pub new_version: Option<String>,
    /// Keys whose values differ, sorted.
    pub changed: Vec<String>,
    /// Applications that only the new build needs.
    pub(super) needs: Vec<String>,
    /// Modules that start the application.
    pub(super) callbacks: Vec<String>,
}

/// What differs between two builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Of the resource files.
    pub app: AppChanges,
    /// Modules that were added, removed or have other code, by name.
    pub modules: BTreeMap<String, ModuleChange>,
    /// Modules with the same code and other attributes, documentation or debug information.
    pub attributes_only: Vec<String>,
    /// Files of `priv`.
    pub private: PrivateChanges,
    /// Whether Elixir's consolidated protocols differ.
    pub consolidated: bool,
    /// Whether the new build brings an appup.
    pub appup: bool,
}

impl Comparison {
    /// Names of modules that only the new build has.
    pub fn added(&self) -> impl Iterator<Item = &str> {
        self.names(|change| change.old.is_none())
    }

    /// Names of modules that only the old build has.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.names(|change| change.new.is_none())
    }

    /// Names of modules whose code differs.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        self.names(ModuleChange::is_changed)
    }

    /// Names of those of all these that load a native library.
    pub fn nif(&self) -> impl Iterator<Item = &str> {
        self.names(|change| change.infos().any(|info| info.nif))
    }

    fn names(&self, which: impl Fn(&ModuleChange) -> bool) -> impl Iterator<Item = &str> {
        let found = self.modules.iter().filter(move |(_, change)| which(change));
        found.map(|(name, _)| name.as_str())
    }
}

/// Compares the builds at two directories `lib/APP`.
pub fn compare(old: &Path, new: &Path) -> Result<Comparison, HotError> {
    pool::run(|| {
        let modules = differences(&old.join("ebin"), &new.join("ebin"))?;
        let (same, modules): (Vec<_>, Vec<_>) = modules
            .into_iter()
            .partition(|(_, change)| change.is_none());
        let consolidated = protocols(&old.join("consolidated"), &new.join("consolidated"))?;
        Ok(Comparison {
            app: app(app_file::read(old)?, app_file::read(new)?),
            modules: modules
                .into_iter()
                .filter_map(|(name, change)| Some((name, change?)))
                .collect(),
            attributes_only: same.into_iter().map(|(name, _)| name).collect(),
            private: private::compare(old, new)?,
            consolidated,
            appup: app_file::find(new, "appup")?.is_some(),
        })
    })
}

fn app(old: Option<AppFile>, new: Option<AppFile>) -> AppChanges {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let keys: BTreeSet<&String> = old.keys.keys().chain(new.keys.keys()).collect();
    let changed = keys
        .into_iter()
        .filter(|key| old.keys.get(*key) != new.keys.get(*key));
    AppChanges {
        changed: changed.cloned().collect(),
        needs: new
            .needs
            .iter()
            .filter(|app| !old.needs.contains(app))
            .cloned()
            .collect(),
        callbacks: old.callback.into_iter().chain(new.callback).collect(),
        name: if new.name.is_empty() {
            old.name
        } else {
            new.name
        },
        old_version: old.version,
        new_version: new.version,
    }
}

/// Whether there is any difference in the code of two directories that need not be there.
fn protocols(old: &Path, new: &Path) -> Result<bool, HotError> {
    let there = |dir: &Path| dir.try_exists().map_err(HotError::io(dir));
    Ok(match (there(old)?, there(new)?) {
        (false, false) => false,
        (true, true) => differences(old, new)?.values().any(Option::is_some),
        _ => true,
    })
}

/// The modules of two directories that differ in anything; `None` for those with the same code.
type Differences = BTreeMap<String, Option<ModuleChange>>;

fn differences(old: &Path, new: &Path) -> Result<Differences, HotError> {
    let (before, after) = (files(old)?, files(new)?);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let found: Result<Vec<Option<Option<ModuleChange>>>, BeamError> = names
        .par_iter()
        .map(|name| difference(before.get(*name), after.get(*name)))
        .collect();
    let pairs = names.into_iter().zip(found?);
    Ok(pairs
        .filter_map(|(name, difference)| Some((name.clone(), difference?)))
        .collect())
}

/// BEAM files by the names of their modules.
fn files(ebin: &Path) -> Result<BTreeMap<String, PathBuf>, HotError> {
    let found = beam_files(ebin).map_err(HotError::io(ebin))?;
    let named = found.into_iter().map(|path| {
        let name = path.file_stem().unwrap_or_default();
        (name.to_string_lossy().into_owned(), path)
    });
    Ok(named.collect())
}

/// `None` when nothing differs, `Some(None)` when it is not the code that does.
fn difference(
    old: Option<&PathBuf>,
    new: Option<&PathBuf>,
) -> Result<Option<Option<ModuleChange>>, BeamError> {
    let (old, new) = (bytes(old)?, bytes(new)?);
    if let (Some((_, before)), Some((_, after))) = (&old, &new)
        && before == after
    {
        return Ok(None);
    }
    let change = ModuleChange {
        old: old.as_ref().map(known).transpose()?,
        new: new.as_ref().map(known).transpose()?,
    };
    match (&change.old, &change.new) {
        (Some(before), Some(after)) if before.md5 == after.md5 => {
            let whole = |side: &Option<Bytes<'_>>| {
                let (_, bytes) = side.as_ref()?;
                unpacked(bytes).ok().map(|bytes| bytes.into_owned())
            };
            Ok((whole(&old) != whole(&new)).then_some(None))
        }
        _ => Ok(Some(Some(change))),
    }
}

/// A file and what is in it.
type Bytes<'p> = (&'p PathBuf, Vec<u8>);

fn bytes(path: Option<&PathBuf>) -> Result<Option<Bytes<'_>>, BeamError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    read(path, &mut bytes).map_err(|kind| named(path, kind))?;
    Ok(Some((path, bytes)))
}

fn known((path, bytes): &Bytes<'_>) -> Result<Info, BeamError> {
    info_of(bytes).map_err(|kind| named(path, kind))
}

fn named(path: &Path, kind: BeamErrorKind) -> BeamError {
    let path = path.to_path_buf();
    BeamError { path, kind }
}
