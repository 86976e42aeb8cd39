//! The steps from old code to new code, as OTP's appup instructions name them (OTP: appup(4)).

use super::compare::{Comparison, ModuleChange};
use super::order::imported_first;
use super::roles::{changes_state, is_supervisor};
use crate::beam::Info;

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

/// All steps of all builds in one order: what is imported is loaded first, deletions come last.
pub(super) fn steps(builds: &[Comparison]) -> Vec<Step> {
    let changes = || builds.iter().flat_map(|build| &build.modules);
    let loaded: Vec<(&String, &ModuleChange, &Info)> = changes()
        .filter_map(|(name, change)| Some((name, change, change.new.as_ref()?)))
        .collect();
    let imports: Vec<(&str, &[String])> = loaded
        .iter()
        .map(|(name, _, info)| (name.as_str(), info.imports.as_slice()))
        .collect();
    let order = imported_first(&imports);
    let loads = order.into_iter().map(|number| {
        let (name, change, info) = loaded[number];
        load(name, change, info)
    });
    let deletions = changes()
        .filter(|(_, change)| change.new.is_none())
        .map(|(name, _)| Step::Delete(name.clone()));
    loads.chain(deletions).collect()
}

fn load(name: &str, change: &ModuleChange, new: &Info) -> Step {
    let name = name.to_owned();
    if change.old.is_none() {
        Step::Add(name)
    } else if is_supervisor(new) {
        Step::UpdateSupervisor(name)
    } else if changes_state(new) {
        Step::Update(name)
    } else {
        Step::Load(name)
    }
}
