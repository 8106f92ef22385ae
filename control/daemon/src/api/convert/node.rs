//! Nodes.

use mesh_api::engine::Version;
use mesh_api::engine::node::{
    EngineDescription, ManagerStatus, Node as WireNode, NodeDescription, NodeSpec as WireSpec, NodeStatus,
    Plugin,
};
use mesh_api::engine::service::{Platform, ResourceAmount};
use mesh_core::object::{Node, NodeState};
use mesh_core::spec::{Availability, NodeSpec, Role};
use mesh_core::store::Store;

use super::super::backend::Peers;
use super::super::error::ApiError;
use super::container::show_amount;
use super::tls::Roots;
use super::{generic, labels, time_text};

/// What the operator wants of a node.
pub fn spec(wire: &WireSpec) -> Result<NodeSpec, ApiError> {
    let role = match wire.role.as_str() {
        "worker" => Role::Worker,
        "manager" => Role::Manager,
        other => {
            return Err(ApiError::field("Role", format!("{other:?}: worker or manager is expected")));
        }
    };
    if wire.availability.is_empty() {
        return Err(ApiError::field("Availability", "active, pause or drain is expected"));
    }
    Ok(NodeSpec {
        name: Some(wire.name.clone()).filter(|name| !name.is_empty()),
        labels: labels("Labels", &wire.labels)?,
        availability: availability(&wire.availability)?,
        role,
    })
}

/// Whether a node takes tasks; it does when nothing is said.
pub fn availability(text: &str) -> Result<Availability, ApiError> {
    Ok(match text {
        "" | "active" => Availability::Active,
        "pause" => Availability::Pause,
        "drain" => Availability::Drain,
        other => {
            let reason = format!("{other:?}: active, pause or drain is expected");
            return Err(ApiError::field("Availability", reason));
        }
    })
}

/// What is shown of nodes beside what the store says of each.
pub struct View {
    peers: Peers,
    roots: Roots,
}

impl View {
    /// The managers as the asked one sees them, and the roots that `store` says.
    pub fn new(peers: Peers, store: &Store) -> Self {
        Self { peers, roots: store.cluster().map(|cluster| Roots::of(cluster)).unwrap_or_default() }
    }
}

/// The node, as the API shows it.
pub fn show(node: &Node, view: &View) -> WireNode {
    let peers = &view.peers;
    let manager = node.manager.as_ref().map(|manager| ManagerStatus {
        leader: peers.is_leader(manager.raft_id),
        reachability: peers.reachability(manager.raft_id).as_str().to_owned(),
        addr: manager.addr.to_string(),
    });
    WireNode {
        id: node.id.to_string(),
        version: Version { index: node.meta.version },
        created_at: time_text(node.meta.created_at),
        updated_at: time_text(node.meta.updated_at),
        spec: show_spec(&node.spec),
        description: show_description(node, &view.roots),
        status: NodeStatus {
            state: state_word(node.status.state).to_owned(),
            message: node.status.message.clone(),
            addr: node.status.addr.to_string(),
        },
        manager_status: manager,
    }
}

fn show_spec(spec: &NodeSpec) -> WireSpec {
    WireSpec {
        name: spec.name.clone().unwrap_or_default(),
        labels: spec.labels.clone(),
        role: spec.role.as_str().to_owned(),
        availability: availability_word(spec.availability).to_owned(),
    }
}

fn show_description(node: &Node, roots: &Roots) -> NodeDescription {
    let told = &node.description;
    NodeDescription {
        hostname: told.hostname.clone(),
        platform: Platform { architecture: told.arch.clone(), os: told.os.clone() },
        resources: ResourceAmount {
            generic_resources: generic::show(&told.generic),
            ..show_amount(told.resources)
        },
        engine: EngineDescription {
            engine_version: told.engine_version.clone(),
            labels: told.engine_labels.clone(),
            plugins: vec![Plugin { kind: "Network".to_owned(), name: "overlay".to_owned() }],
        },
        tls_info: Some(roots.of_node(node.issuer)),
    }
}

/// The availability as Docker spells it.
pub fn availability_word(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

/// The state as Docker spells it.
pub fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "unknown",
        NodeState::Ready => "ready",
        // One that left is shown so, too.
        NodeState::Down | NodeState::Disconnected => "down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_availabilities_are_words_of_a_list() {
        let wire = |role: &str, availability: &str| WireSpec {
            role: role.to_owned(),
            availability: availability.to_owned(),
            ..WireSpec::default()
        };
        let meant = spec(&wire("worker", "drain")).unwrap();
        assert_eq!(show_spec(&meant), wire("worker", "drain"));
        for (role, availability, field) in
            [("king", "active", "Role"), ("worker", "asleep", "Availability"), ("worker", "", "Availability")]
        {
            let message = spec(&wire(role, availability)).unwrap_err().to_string();
            assert!(message.starts_with(&format!("invalid value for {field}: ")), "{message}");
        }
    }
}
