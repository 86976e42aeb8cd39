//! Graphs of numbered nodes and their strongly connected components.

/// Directed edges between the nodes `0..len`, all in one vector.
pub(crate) struct Graph {
    starts: Vec<usize>,
    targets: Vec<u32>,
}

impl Graph {
    /// The graph with the given edges of each node, in order.
    pub(crate) fn new<I: IntoIterator<Item = u32>>(edges: impl Iterator<Item = I>) -> Self {
        let mut graph = Self {
            starts: vec![0],
            targets: Vec::new(),
        };
        for targets in edges {
            graph.targets.extend(targets);
            graph.starts.push(graph.targets.len());
        }
        graph
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn edges(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn targets(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.targets[self.starts[node]..self.starts[node + 1]]
    }
}

/// The strongly connected components, each after all those that its edges lead to.
pub(crate) struct Components {
    nodes: Vec<u32>,
    ends: Vec<usize>,
}

impl Components {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.nodes[start..end])
    }

    /// The number of each node's component.
    pub(crate) fn by_node(&self, len: usize) -> Vec<u32> {
        let mut numbers = vec![0; len];
        for (number, component) in (0..).zip(self.iter()) {
            for &node in component {
                numbers[node as usize] = number;
            }
        }
        numbers
    }
}

const UNSEEN: u32 = u32::MAX;

/// Tarjan's algorithm with a stack of its own, so that a long chain needs no deep recursion
/// (R. Tarjan, "Depth-first search and linear graph algorithms", 1972).
pub(crate) fn components(graph: &Graph) -> Components {
    let mut search = Search {
        graph,
        seen: vec![UNSEEN; graph.len()],
        low: vec![0; graph.len()],
        open: vec![false; graph.len()],
        stack: Vec::new(),
        count: 0,
        found: Components {
            nodes: Vec::with_capacity(graph.len()),
            ends: Vec::new(),
        },
    };
    for root in 0..graph.len() as u32 {
        if search.seen[root as usize] == UNSEEN {
            search.from(root);
        }
    }
    search.found
}

struct Search<'g> {
    graph: &'g Graph,
    /// In which order a node was met.
    seen: Vec<u32>,
    /// The earliest open node that is reached from a node.
    low: Vec<u32>,
    open: Vec<bool>,
    stack: Vec<u32>,
    count: u32,
    found: Components,
}

impl Search<'_> {
    fn from(&mut self, root: u32) {
        let mut path: Vec<(u32, usize)> = vec![(root, 0)];
        self.enter(root);
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if let Some(&target) = self.graph.targets(node).get(*next) {
                *next += 1;
                if self.seen[target as usize] == UNSEEN {
                    self.enter(target);
                    path.push((target, 0));
                } else if self.open[target as usize] {
                    self.lower(node, self.seen[target as usize]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _)) = path.last() {
                self.lower(parent, self.low[node as usize]);
            }
            if self.low[node as usize] == self.seen[node as usize] {
                self.close(node);
            }
        }
    }

    fn enter(&mut self, node: u32) {
        self.seen[node as usize] = self.count;
        self.low[node as usize] = self.count;
        self.open[node as usize] = true;
        self.stack.push(node);
        self.count += 1;
    }

    fn lower(&mut self, node: u32, to: u32) {
        let low = &mut self.low[node as usize];
        *low = (*low).min(to);
    }

    fn close(&mut self, head: u32) {
        while let Some(node) = self.stack.pop() {
            self.open[node as usize] = false;
            self.found.nodes.push(node);
            if node == head {
                break;
            }
        }
        self.found.ends.push(self.found.nodes.len());
    }
}

/// One cycle within a component of more than one node, in the direction of the edges.
pub(crate) fn cycle(graph: &Graph, component: &[u32], most: usize) -> Vec<u32> {
    let members: std::collections::HashSet<u32> = component.iter().copied().collect();
    let inside = |node: u32| {
        graph
            .targets(node)
            .iter()
            .copied()
            .find(|target| *target != node && members.contains(target))
    };
    let mut places = std::collections::HashMap::new();
    let mut path = Vec::new();
    let mut node = component[component.len() - 1];
    while !places.contains_key(&node) {
        places.insert(node, path.len());
        path.push(node);
        match inside(node) {
            Some(next) => node = next,
            None => break,
        }
    }
    let start = places.get(&node).copied().unwrap_or(0);
    path.drain(..start);
    path.truncate(most);
    path
}
