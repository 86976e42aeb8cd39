//! Many files at once.

use std::path::PathBuf;

use rayon::prelude::*;

use super::code::Code;
use super::file::{beam_files, is_beam, read};
use super::{BeamError, BeamErrorKind, MAX_FILES, Module, named, with_code};
use crate::{md5_lanes, pool};

/// How many files one thread reads and then digests side by side.
const GROUP: usize = 32;
/// How many bytes of code a file may have to be digested beside others.
const MAX_GROUPED: usize = 1024 * 1024;

/// All modules of `places`, each an `ebin` directory or a file; those of a directory are sorted by
/// file name. Files are read in parallel.
pub fn scan(places: &[PathBuf]) -> Result<Vec<Module>, BeamError> {
    let mut files = Vec::new();
    for place in places {
        let error = |kind| BeamError {
            path: place.clone(),
            kind,
        };
        if is_beam(place) && place.is_file() {
            files.push(place.clone());
        } else {
            let mut found = beam_files(place).map_err(|failed| error(failed.into()))?;
            found.sort_unstable();
            files.append(&mut found);
        }
        if files.len() > MAX_FILES {
            return Err(error(BeamErrorKind::TooMany));
        }
    }
    let groups: Result<Vec<Vec<Module>>, BeamError> =
        pool::run(|| files.par_chunks(GROUP).map(group).collect());
    Ok(groups?.into_iter().flatten().collect())
}

/// The modules of a few files, digested side by side; what is long would keep much in memory and is
/// digested by itself.
fn group(paths: &[PathBuf]) -> Result<Vec<Module>, BeamError> {
    let mut modules = Vec::with_capacity(paths.len());
    let mut messages = Vec::with_capacity(paths.len());
    let mut places = Vec::with_capacity(paths.len());
    let mut buffer = Vec::new();
    for path in paths {
        let mut message = None;
        let take = |code: Code<'_>| {
            let md5 = if code.len() > MAX_GROUPED {
                code.md5()
            } else {
                message = Some(code.message());
                [0; 16]
            };
            (code.name, md5)
        };
        let read = read(path, &mut buffer).and_then(|()| with_code(&buffer, take));
        if let Some(message) = message {
            places.push(modules.len());
            messages.push(message);
        }
        modules.push(named(path, read)?);
    }
    for (place, md5) in places.into_iter().zip(md5_lanes::digests(&messages)) {
        modules[place].md5 = md5;
    }
    Ok(modules)
}
