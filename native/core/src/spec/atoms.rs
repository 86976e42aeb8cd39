//! Admission of new atoms. Atoms are never collected, so what a repository may add is bounded:
//! existing atoms are free, a file has a quota, and the VM has one (see `bc_gitops_parser`).

use std::collections::HashSet;

use super::limits;

/// Which atoms the VM already has.
pub trait Atoms: Sync {
    /// Whether an atom of this name exists.
    fn known(&self, name: &str) -> bool;
}

/// No VM: no atom exists.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoAtoms;

impl Atoms for NoAtoms {
    fn known(&self, _name: &str) -> bool {
        false
    }
}

/// What one file adds.
pub(crate) struct Admission<'a> {
    atoms: &'a dyn Atoms,
    new: HashSet<String>,
}

impl<'a> Admission<'a> {
    pub(crate) fn new(atoms: &'a dyn Atoms) -> Self {
        Admission {
            atoms,
            new: HashSet::new(),
        }
    }

    /// Counts an atom; false when the file's quota is used up.
    pub(crate) fn admit(&mut self, name: &str) -> bool {
        if matches!(name, "true" | "false" | "undefined")
            || self.atoms.known(name)
            || self.new.contains(name)
        {
            return true;
        }
        if self.new.len() >= limits::NEW_ATOMS {
            return false;
        }
        self.new.insert(name.to_owned())
    }

    pub(crate) fn into_new(self) -> Vec<String> {
        let mut names: Vec<String> = self.new.into_iter().collect();
        names.sort_unstable();
        names
    }
}
