//! What happens to each desired application: an action, nothing, or why nothing can be done.

use std::collections::HashSet;

use super::index::{Index, UNKNOWN};
use super::removal::Orphans;
use super::{Action, BlockReason, Desired, MAX_CYCLE_NAMES, Name, Options, Plan, difference};
use crate::graph::{components, cycle};

/// Decides on all desired applications and adds what follows to `plan`. Returns the wave of each
/// name's action, 0 where it has none.
pub(super) fn decide<'a, N: Name>(
    index: &Index<'_, 'a, N>,
    orphans: &Orphans,
    options: &Options<'a, N>,
    plan: &mut Plan<'a, N>,
) -> Vec<u32> {
    let mut judge = Judge {
        index,
        orphans,
        options,
        plan,
        waves: vec![0; index.len()],
        blocked: vec![false; index.len()],
        broken: options
            .broken
            .iter()
            .filter_map(|broken| broken.name)
            .collect(),
    };
    for id in index.ids() {
        if let Some(dirs) = index.duplicates(id) {
            judge.block(id, BlockReason::Duplicate(dirs.to_vec()));
        }
    }
    for component in components(index.graph()).iter() {
        match component {
            [id] => judge.one(*id),
            members => judge.cycle(members),
        }
    }
    judge.waves
}

struct Judge<'j, 's, 'a, N> {
    index: &'j Index<'s, 'a, N>,
    orphans: &'j Orphans,
    options: &'j Options<'a, N>,
    plan: &'j mut Plan<'a, N>,
    waves: Vec<u32>,
    blocked: Vec<bool>,
    broken: HashSet<N>,
}

impl<'a, N: Name> Judge<'_, '_, 'a, N> {
    fn block(&mut self, id: u32, reason: BlockReason<'a, N>) {
        self.blocked[id as usize] = true;
        self.plan.blocked.push((self.index.name(id), reason));
    }

    fn cycle(&mut self, members: &[u32]) {
        let path = cycle(self.index.graph(), members, MAX_CYCLE_NAMES);
        let names: Vec<N> = path.into_iter().map(|id| self.index.name(id)).collect();
        for &id in members {
            self.block(id, BlockReason::Cycle(names.clone()));
        }
    }

    /// One application whose dependencies are all decided on.
    fn one(&mut self, id: u32) {
        let Some(app) = self.index.sole_desired(id) else {
            return;
        };
        if let Some(reason) = self.obstacle(id, app) {
            return self.block(id, reason);
        }
        match difference::action(app, self.index.current(id)) {
            None => self.plan.unchanged += 1,
            Some((kind, reasons)) => {
                let (after, wave) = self.after(id);
                self.waves[id as usize] = wave;
                self.plan.actions.push(Action {
                    kind,
                    name: app.name,
                    wave,
                    after,
                    reasons,
                });
            }
        }
    }

    fn obstacle(&self, id: u32, app: &Desired<'a, N>) -> Option<BlockReason<'a, N>> {
        let mut missing: Vec<N> = Vec::new();
        let mut named = HashSet::new();
        let mut blocked = None;
        for &name in &app.depends_on {
            let dependency = self.index.number(name);
            if dependency == id {
                return Some(BlockReason::SelfDependency);
            }
            match self.dependency(dependency, name) {
                Dependency::Fine => {}
                Dependency::Blocked => blocked = blocked.or(Some(name)),
                Dependency::Missing if named.insert(name) => missing.push(name),
                Dependency::Missing => {}
            }
        }
        if missing.is_empty() {
            return blocked.map(BlockReason::BlockedDependency);
        }
        Some(BlockReason::MissingDependency(missing))
    }

    /// A dependency that runs and stays is fine even when its own specification is not.
    fn dependency(&self, id: u32, name: N) -> Dependency {
        let known = id != UNKNOWN;
        if self.options.host.contains(&name) || known && self.orphans.stays(self.index, id) {
            Dependency::Fine
        } else if known && self.index.is_desired(id) {
            if self.blocked[id as usize] {
                Dependency::Blocked
            } else {
                Dependency::Fine
            }
        } else if self.broken.contains(&name) || known && !self.orphans.is_removed(id) {
            Dependency::Blocked
        } else {
            Dependency::Missing
        }
    }

    /// The dependencies that have actions, and the wave after theirs.
    fn after(&self, id: u32) -> (Vec<N>, u32) {
        let targets = self.index.graph().targets(id);
        let mut after = Vec::new();
        let mut wave = 0;
        for &target in targets
            .iter()
            .filter(|&&target| self.waves[target as usize] > 0)
        {
            wave = wave.max(self.waves[target as usize]);
            after.push(self.index.name(target));
        }
        (after, wave + 1)
    }
}

enum Dependency {
    Fine,
    Blocked,
    Missing,
}
