//! The names of both states as numbers, so that everything after works on vectors.

use std::collections::HashMap;

use super::{Current, Desired, Name, Visited};
use crate::graph::Graph;

/// Number of a dependency that neither state names.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// Both states by number of the name.
pub(super) struct Index<'s, 'a, N> {
    numbers: HashMap<N, u32>,
    names: Vec<N>,
    desired: Vec<Option<&'s Desired<'a, N>>>,
    current: Vec<Option<&'s Current<'a, N>>>,
    /// Directories of the names that more than one specification has.
    duplicates: HashMap<u32, Vec<&'a [u8]>>,
    /// Dependencies between desired applications, without those of duplicate names.
    graph: Graph,
}

impl<'s, 'a, N: Name> Index<'s, 'a, N> {
    pub(super) fn new(desired: &'s [Desired<'a, N>], current: &'s [Current<'a, N>]) -> Self {
        let most = desired.len() + current.len();
        let mut index = Self {
            numbers: HashMap::with_capacity(most),
            names: Vec::with_capacity(most),
            desired: Vec::with_capacity(most),
            current: Vec::with_capacity(most),
            duplicates: HashMap::new(),
            graph: Graph::new(std::iter::empty::<[u32; 0]>()),
        };
        for app in desired {
            let id = index.enter(app.name);
            match index.desired[id as usize] {
                None => index.desired[id as usize] = Some(app),
                Some(first) => {
                    index
                        .duplicates
                        .entry(id)
                        .or_insert_with(|| vec![first.dir])
                        .push(app.dir);
                }
            }
        }
        for app in current {
            let id = index.enter(app.name);
            index.current[id as usize].get_or_insert(app);
        }
        index.graph = index.dependencies();
        index
    }

    fn enter(&mut self, name: N) -> u32 {
        let next = self.names.len() as u32;
        let id = *self.numbers.entry(name).or_insert(next);
        if id == next {
            self.names.push(name);
            self.desired.push(None);
            self.current.push(None);
        }
        id
    }

    fn dependencies(&self) -> Graph {
        let mut last = vec![UNKNOWN; self.len()];
        Graph::new(self.ids().map(|id| {
            let dependencies = self.sole_desired(id).map_or(&[][..], |app| &app.depends_on);
            let mut targets = Vec::with_capacity(dependencies.len());
            for target in dependencies.iter().map(|name| self.number(*name)) {
                let counts = self.sole_desired(target).is_some();
                if counts && std::mem::replace(&mut last[target as usize], id) != id {
                    targets.push(target);
                }
            }
            targets
        }))
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        0..self.names.len() as u32
    }

    pub(super) fn name(&self, id: u32) -> N {
        self.names[id as usize]
    }

    /// [`UNKNOWN`] when neither state names it.
    pub(super) fn number(&self, name: N) -> u32 {
        self.numbers.get(&name).copied().unwrap_or(UNKNOWN)
    }

    pub(super) fn is_desired(&self, id: u32) -> bool {
        self.desired.get(id as usize).is_some_and(Option::is_some)
    }

    /// The one specification that has the name.
    pub(super) fn sole_desired(&self, id: u32) -> Option<&'s Desired<'a, N>> {
        let app = self.desired.get(id as usize).copied().flatten()?;
        if self.is_duplicate(id) {
            None
        } else {
            Some(app)
        }
    }

    fn is_duplicate(&self, id: u32) -> bool {
        !self.duplicates.is_empty() && self.duplicates.contains_key(&id)
    }

    pub(super) fn duplicates(&self, id: u32) -> Option<&[&'a [u8]]> {
        self.duplicates.get(&id).map(Vec::as_slice)
    }

    pub(super) fn current(&self, id: u32) -> Option<&'s Current<'a, N>> {
        self.current.get(id as usize).copied().flatten()
    }

    pub(super) fn runs(&self, id: u32) -> bool {
        self.current(id).is_some_and(|app| app.running)
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn visited(&self) -> Visited {
        Visited {
            nodes: self.names.len(),
            edges: self.graph.edges(),
        }
    }
}
