//! What goes: applications that are managed and not desired, dependents first.

use std::collections::HashSet;

use super::index::Index;
use super::{Action, ActionKind, Broken, Current, Name, Options, Plan, Reason, RefusalReason};
use crate::graph::{Graph, components};

/// The managed applications that are not desired.
pub(super) struct Orphans {
    /// Left alone: their specification may be one that cannot be read.
    pub held: Vec<u32>,
    /// To be removed, unless refused.
    pub candidates: Vec<u32>,
    pub refused: Option<RefusalReason>,
    /// How many stay because orphans are not removed.
    pub kept: usize,
    removed: Vec<bool>,
}

impl Orphans {
    pub(super) fn is_removed(&self, id: u32) -> bool {
        self.removed.get(id as usize).copied().unwrap_or(false)
    }

    /// Whether it runs and goes on doing so.
    pub(super) fn stays<N: Name>(&self, index: &Index<'_, '_, N>, id: u32) -> bool {
        index.runs(id) && !self.is_removed(id)
    }
}

pub(super) fn orphans<N: Name>(index: &Index<'_, '_, N>, options: &Options<'_, N>) -> Orphans {
    let unread = Unread::new(&options.broken);
    let mut orphans = Orphans {
        held: Vec::new(),
        candidates: Vec::new(),
        refused: None,
        kept: 0,
        removed: vec![false; index.len()],
    };
    let mut managed = 0;
    for id in index.ids() {
        let Some(app) = index.current(id) else {
            continue;
        };
        managed += 1;
        if index.is_desired(id) {
            continue;
        }
        if unread.may_be(app) {
            orphans.held.push(id);
        } else if options.remove_orphans {
            orphans.candidates.push(id);
        } else {
            orphans.kept += 1;
        }
    }
    if managed > 1 && orphans.candidates.len() == managed {
        orphans.refused = Some(RefusalReason::AllOrphans);
    } else {
        for &id in &orphans.candidates {
            orphans.removed[id as usize] = true;
        }
    }
    orphans
}

/// The specifications that could not be read.
struct Unread<'a, N> {
    dirs: HashSet<&'a [u8]>,
    names: HashSet<N>,
    /// One of them may have any name.
    nameless: bool,
}

impl<'a, N: Name> Unread<'a, N> {
    fn new(broken: &[Broken<'a, N>]) -> Self {
        Self {
            dirs: broken.iter().map(|broken| broken.dir).collect(),
            names: broken.iter().filter_map(|broken| broken.name).collect(),
            nameless: broken.iter().any(|broken| !broken.certain),
        }
    }

    /// Whether one of them may be the application's.
    fn may_be(&self, app: &Current<'a, N>) -> bool {
        self.names.contains(&app.name)
            || app.dir.map_or(self.nameless, |dir| self.dirs.contains(dir))
    }
}

/// Adds the removals to the plan. One waits for the actions of all that were deployed after it;
/// those that wait for one another go together.
pub(super) fn order<'a, N: Name>(
    index: &Index<'_, 'a, N>,
    orphans: &Orphans,
    waves: &[u32],
    plan: &mut Plan<'a, N>,
) {
    if !orphans.candidates.iter().any(|&id| orphans.is_removed(id)) {
        return;
    }
    let graph = dependents(index, orphans, waves);
    plan.visited.edges += graph.edges();
    let components = components(&graph);
    let component_of = components.by_node(graph.len());
    let mut waves = waves.to_vec();
    for component in components.iter() {
        let outside = |id: u32| component_of[id as usize] != component_of[component[0] as usize];
        let before = component
            .iter()
            .flat_map(|&id| graph.targets(id))
            .filter(|&&id| outside(id));
        let wave = 1 + before.map(|&id| waves[id as usize]).max().unwrap_or(0);
        for &id in component.iter().filter(|id| orphans.is_removed(**id)) {
            waves[id as usize] = wave;
        }
    }
    for &id in &orphans.candidates {
        let others = graph.targets(id).iter();
        let before =
            others.filter(|&&other| component_of[other as usize] != component_of[id as usize]);
        plan.actions.push(Action {
            kind: ActionKind::Remove,
            name: index.name(id),
            wave: waves[id as usize],
            after: before.map(|&other| index.name(other)).collect(),
            reasons: vec![Reason::Orphan],
        });
    }
}

/// An edge leads from a removal to each action of what depends on it now.
fn dependents<N: Name>(index: &Index<'_, '_, N>, orphans: &Orphans, waves: &[u32]) -> Graph {
    let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); index.len()];
    let acting = |id: u32| orphans.is_removed(id) || waves[id as usize] > 0;
    for id in index.ids().filter(|id| acting(*id)) {
        let dependencies = index.current(id).map_or(&[][..], |app| &app.depends_on);
        for dependency in dependencies.iter().map(|name| index.number(*name)) {
            if dependency != id && orphans.is_removed(dependency) {
                dependents[dependency as usize].push(id);
            }
        }
    }
    Graph::new(dependents.into_iter())
}
