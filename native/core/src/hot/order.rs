//! In which order modules are loaded.

use std::collections::HashMap;

use crate::graph::{Graph, components};

/// The numbers of `modules`, each a name and the modules it imports: what is imported comes before
/// what imports it. The modules of a cycle stand together, by name.
pub(super) fn imported_first(modules: &[(&str, &[String])]) -> Vec<usize> {
    let mut by_name: Vec<usize> = (0..modules.len()).collect();
    by_name.sort_by_key(|&number| modules[number].0);
    let place: HashMap<&str, u32> = (0..)
        .zip(&by_name)
        .map(|(place, &number)| (modules[number].0, place))
        .collect();
    let graph = Graph::new(by_name.iter().map(|&number| {
        let imports = modules[number].1.iter();
        imports
            .filter_map(|name| place.get(name.as_str()).copied())
            .collect::<Vec<u32>>()
    }));
    let mut order = Vec::with_capacity(modules.len());
    for component in components(&graph).iter() {
        let mut members = component.to_vec();
        members.sort_unstable();
        order.extend(members.into_iter().map(|place| by_name[place as usize]));
    }
    order
}
