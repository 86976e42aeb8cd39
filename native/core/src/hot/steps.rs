//! The steps from old code to new code, as OTP's appup instructions name them (OTP: appup(4)).

use std::path::Path;

use super::compare::Comparison;
use super::order::imported_first;
use super::roles::{changes_state, is_supervisor};
use crate::beam::{BeamError, Info, info_of};

/// One step; the names are those of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Loads a module that is new.
    Add(String),
    /// Takes a module away.
    Delete(String),
    /// Loads code; no process needs to be told.
    Load(String),
    /// Loads code of a supervisor, which then asks for its children anew.
    UpdateSupervisor(String),
    /// Suspends the processes of a module, loads its code and has it change their state.
    Update(String),
}

/// Code that is to be loaded.
#[derive(Debug, Clone, Copy)]
pub struct Coming<'a> {
    /// Where it was read.
    pub path: &'a Path,
    /// The whole file.
    pub bytes: &'a [u8],
    /// Whether other code of its module is loaded.
    pub replaces: bool,
}

/// The steps where of the former code no more is known than that it runs: to what comes, and away
/// from what goes.
pub fn steps_to(coming: &[Coming<'_>], gone: &[String]) -> Result<Vec<Step>, BeamError> {
    let mut known = Vec::with_capacity(coming.len());
    for Coming {
        path,
        bytes,
        replaces,
    } in coming
    {
        let info = info_of(bytes).map_err(|kind| BeamError {
            path: path.to_path_buf(),
            kind,
        })?;
        known.push((*replaces, info));
    }
    let loaded = known.iter().map(|(replaces, info)| (*replaces, info));
    Ok(in_order(loaded.collect(), gone.iter()))
}

/// All steps of all builds in one order: what is imported is loaded first, deletions come last.
pub(super) fn steps(builds: &[Comparison]) -> Vec<Step> {
    let changes = || builds.iter().flat_map(|build| &build.modules);
    let loaded =
        changes().filter_map(|(_, change)| Some((change.old.is_some(), change.new.as_ref()?)));
    let gone = changes().filter(|(_, change)| change.new.is_none());
    in_order(loaded.collect(), gone.map(|(name, _)| name))
}

fn in_order<'a>(loaded: Vec<(bool, &Info)>, gone: impl Iterator<Item = &'a String>) -> Vec<Step> {
    let imports: Vec<(&str, &[String])> = loaded
        .iter()
        .map(|(_, info)| (info.module.as_str(), info.imports.as_slice()))
        .collect();
    let order = imported_first(&imports);
    let loads = order.into_iter().map(|number| {
        let (replaces, info) = loaded[number];
        load(replaces, info)
    });
    loads.chain(gone.cloned().map(Step::Delete)).collect()
}

fn load(replaces: bool, new: &Info) -> Step {
    let name = new.module.clone();
    if !replaces {
        Step::Add(name)
    } else if is_supervisor(new) {
        Step::UpdateSupervisor(name)
    } else if changes_state(new) {
        Step::Update(name)
    } else {
        Step::Load(name)
    }
}
