//! Which files of `priv` differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::HotError;
use crate::pool;
use crate::store::{Found, walk};

const BUFFER: usize = 64 * 1024;

/// Files of `priv`, by their paths from the build's directory on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PrivateChanges {
    /// Only in the new build.
    pub added: Vec<PathBuf>,
    /// Only in the old one.
    pub removed: Vec<PathBuf>,
    /// In both, with other bytes or another right to be run.
    pub changed: Vec<PathBuf>,
}

/// Whether a file is code that the system's loader takes into the VM.
pub(super) fn is_native(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = name.rsplit('.').next().unwrap_or_default();
    matches!(ending, "so" | "dll" | "dylib") || name.contains(".so.")
}

/// Compares the directories `priv` of two builds.
pub(super) fn compare(old: &Path, new: &Path) -> Result<PrivateChanges, HotError> {
    let (old, new) = (Dir::of(old)?, Dir::of(new)?);
    let only = |a: &Dir, b: &Dir| {
        let names = a.files.keys().filter(|name| !b.files.contains_key(*name));
        names.map(|name| below(name)).collect()
    };
    let both: Vec<&PathBuf> = old
        .files
        .keys()
        .filter(|name| new.files.contains_key(*name))
        .collect();
    let differ: Result<Vec<bool>, HotError> = pool::disk(|| {
        both.par_iter()
            .map(|name| differs(&old, &new, name))
            .collect()
    });
    let differing = both.iter().zip(differ?).filter(|(_, differs)| *differs);
    Ok(PrivateChanges {
        added: only(&new, &old),
        removed: only(&old, &new),
        changed: differing.map(|(name, _)| below(name)).collect(),
    })
}

fn below(name: &Path) -> PathBuf {
    Path::new("priv").join(name)
}

/// A directory `priv`. Build tools make it a link to the sources' one.
#[derive(Default)]
struct Dir {
    root: PathBuf,
    files: BTreeMap<PathBuf, Found>,
}

impl Dir {
    fn of(build: &Path) -> Result<Self, HotError> {
        let root = build.join("priv");
        if !root.try_exists().map_err(HotError::io(&root))? {
            return Ok(Self::default());
        }
        let root = root.canonicalize().map_err(HotError::io(&root))?;
        let tree = walk(&root, Path::new(""))?;
        let files = tree
            .files
            .into_iter()
            .map(|found| (found.path.clone(), found));
        Ok(Self {
            files: files.collect(),
            root,
        })
    }

    fn open(&self, name: &Path) -> Result<File, HotError> {
        let path = self.root.join(name);
        File::open(&path).map_err(HotError::io(&path))
    }
}

fn differs(old: &Dir, new: &Dir, name: &Path) -> Result<bool, HotError> {
    let (Some(before), Some(after)) = (old.files.get(name), new.files.get(name)) else {
        return Ok(true);
    };
    if before.metadata.len() != after.metadata.len()
        || before.is_executable() != after.is_executable()
    {
        return Ok(true);
    }
    let same = same_bytes(old.open(name)?, new.open(name)?);
    Ok(!same.map_err(HotError::io(&new.root.join(name)))?)
}

fn same_bytes(mut old: File, mut new: File) -> std::io::Result<bool> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    loop {
        before.clear();
        after.clear();
        old.by_ref().take(BUFFER as u64).read_to_end(&mut before)?;
        new.by_ref().take(BUFFER as u64).read_to_end(&mut after)?;
        if before != after {
            return Ok(false);
        }
        if before.is_empty() {
            return Ok(true);
        }
    }
}
