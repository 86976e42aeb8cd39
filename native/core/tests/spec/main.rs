//! Specs from outside: whole files, whole commits, hostile input.

mod formats;
mod fuzz;
mod hostile;
mod problems;
mod snapshot;
mod sources;

use bc_gitops_core::spec::Atoms;

/// A VM that has every atom.
pub struct AllAtoms;

impl Atoms for AllAtoms {
    fn known(&self, _name: &str) -> bool {
        true
    }
}
