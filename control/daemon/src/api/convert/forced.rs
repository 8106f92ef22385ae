//! What a manager that goes on alone would keep and drop.

use mesh_api::mesh::{DroppedManager, NewCluster};
use mesh_raft::Forced;

/// The survey, as the API shows it.
pub fn show(survey: &Forced) -> NewCluster {
    let Forced { dropped, uncertain, last, store, .. } = survey;
    let node_of = |raft_id: u64| {
        store.nodes().find(|node| node.manager.as_ref().is_some_and(|manager| manager.raft_id == raft_id))
    };
    let dropped = dropped.iter().map(|(raft_id, addr)| {
        let node = node_of(*raft_id);
        DroppedManager {
            node_id: node.map(|node| node.id.to_string()).unwrap_or_default(),
            hostname: node.map(|node| node.description.hostname.clone()).unwrap_or_default(),
            addr: addr.map(|addr| addr.to_string()).unwrap_or_default(),
        }
    });
    NewCluster {
        dropped: dropped.collect(),
        uncertain: *uncertain,
        index: last.index,
        nodes: store.nodes().count() as u64,
        services: store.services().count() as u64,
        networks: store.networks().count() as u64,
        tasks: store.tasks().count() as u64,
    }
}
