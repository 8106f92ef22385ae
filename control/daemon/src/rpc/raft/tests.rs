use mesh_core::object::{ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus};
use mesh_core::spec::NodeSpec;
use mesh_core::store::{Expect, Object, Transaction, Write};
use mesh_core::time::Timestamp;

use super::*;

const MANAGER: NodeId = NodeId::from_bits(1);
const ENTERING: NodeId = NodeId::from_bits(2);
const WORKER: NodeId = NodeId::from_bits(3);
const NOBODY: NodeId = NodeId::from_bits(4);

/// A store in which [`MANAGER`] has number 7 in raft.
fn store() -> Store {
    let addr = std::net::Ipv4Addr::LOCALHOST.into();
    let status = NodeStatus { state: NodeState::Unknown, message: String::new(), addr, data_path_addr: addr };
    let known = ManagerStatus { raft_id: 7, addr: ([127, 0, 0, 1], 2377).into() };
    let nodes = [
        (MANAGER, NodeRole::Manager, Some(known)),
        (ENTERING, NodeRole::Manager, None),
        (WORKER, NodeRole::Worker, None),
    ];
    let writes = nodes.into_iter().map(|(id, role, manager)| {
        let node = Node {
            id,
            meta: Meta::default(),
            spec: NodeSpec { role, ..NodeSpec::default() },
            description: NodeDescription::default(),
            status: status.clone(),
            manager,
            issuer: [0; 32],
        };
        Write::Put { object: Object::Node(Arc::new(node)), expect: Expect::New }
    });
    let transaction = Transaction { at: Timestamp(1), writes: writes.collect() };
    let mut store = Store::default();
    store.apply(1, &transaction).unwrap();
    store
}

fn heard(node: NodeId, from: u64, leader: Option<u64>) -> Result<(), NotHeard> {
    admit(&store(), &Members::default(), leader, node, from)
}

#[test]
fn a_number_that_the_store_knows_is_its_owner_s_alone() {
    assert_eq!(heard(MANAGER, 7, Some(5)), Ok(()));
    for other in [ENTERING, WORKER, NOBODY] {
        for leader in [None, Some(5), Some(7)] {
            assert_eq!(heard(other, 7, leader), Err(NotHeard::Foreign { from: 7 }));
        }
    }
}

#[test]
fn a_number_that_nobody_knows_is_heard_from_one_that_enters() {
    assert_eq!(heard(ENTERING, 9, Some(5)), Ok(()));
    for node in [MANAGER, WORKER, NOBODY] {
        assert_eq!(heard(node, 9, Some(5)), Err(NotHeard::Stranger { from: 9 }));
    }
}

#[test]
fn who_has_no_leader_may_have_missed_that_somebody_was_let_in() {
    assert_eq!(heard(NOBODY, 9, None), Ok(()));
    assert_eq!(heard(NOBODY, 9, Some(9)), Ok(()), "and took it for its leader");
    assert_eq!(heard(NOBODY, 9, Some(5)), Err(NotHeard::Stranger { from: 9 }));
}
