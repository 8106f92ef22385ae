//! The decision, call by call and caller by caller.

use std::sync::Arc;

use mesh_core::command::{InitCluster, JoinNode, init_cluster, join_node};
use mesh_core::object::{ManagerStatus, NodeDescription};
use mesh_core::secret::Secret;
use mesh_core::spec::{ClusterSpec, NodeSpec};
use mesh_core::store::{Expect, Key, Object, Transaction, Write};
use mesh_core::time::Timestamp;
use mesh_identity::CLOCK_TOLERANCE;
use tonic::Code;

use super::*;
use crate::entropy::SystemEntropy;

const CLUSTER: ClusterId = ClusterId::from_bits(1);
const NOW: Moment = Moment(1_000_000);
const JOIN: &str = "/mesh.v1.Join/Join";
const SESSION: &str = "/mesh.v1.Dispatcher/Session";
const ENTER: &str = "/mesh.v1.Managers/Enter";
const MESSAGES: &str = "/mesh.v1.Raft/Messages";
const API: &str = "/mesh.api/services";

fn joining(number: u8, role: Role) -> JoinNode {
    let raft_id = u64::from(number);
    JoinNode {
        id: id(number),
        spec: NodeSpec { role, ..NodeSpec::default() },
        description: NodeDescription { hostname: format!("n{number}"), ..NodeDescription::default() },
        addr: [192, 0, 2, number].into(),
        data_path_addr: [192, 0, 2, number].into(),
        manager: (role == Role::Manager)
            .then(|| ManagerStatus { raft_id, addr: ([192, 0, 2, number], 2377).into() }),
        issuer: [1; 32],
    }
}

fn id(number: u8) -> NodeId {
    NodeId::from_bits(number.into())
}

/// Managers 1 and 2 and worker 3.
fn store() -> Store {
    let mut store = Store::default();
    let init = InitCluster {
        id: CLUSTER,
        spec: ClusterSpec::default(),
        trust: String::new(),
        signer: [1; 32],
        signing_key: Secret::default(),
        worker_token: Secret::default(),
        manager_token: Secret::default(),
        unlock_key: Secret::default(),
        node: joining(1, Role::Manager),
    };
    let at = Timestamp::default();
    let first = init_cluster(&store, init, at, &mut SystemEntropy).unwrap();
    store.apply(1, &first).unwrap();
    for (index, node) in [(2, joining(2, Role::Manager)), (3, joining(3, Role::Worker))] {
        let joined = join_node(&store, node, at).unwrap();
        store.apply(index, &joined).unwrap();
    }
    store
}

fn write(store: &mut Store, write: Write) {
    let index = store.index() + 1;
    store.apply(index, &Transaction { at: Timestamp::default(), writes: vec![write] }).unwrap();
}

fn change(store: &mut Store, number: u8, change: impl FnOnce(&mut Node)) {
    let mut node = Node::clone(store.node(id(number)).unwrap());
    change(&mut node);
    let expect = Expect::Version(node.meta.version);
    write(store, Write::Put { object: Object::Node(Arc::new(node)), expect });
}

fn remove(store: &mut Store, number: u8) {
    let version = store.node(id(number)).unwrap().meta.version;
    write(store, Write::Delete { key: Key::Node(id(number)), expect: Expect::Version(version) });
}

fn certificate(number: u8, role: Role) -> PeerIdentity {
    let (not_before, not_after) = (NOW.0 - 5000, NOW.0 + 5000);
    PeerIdentity { node: id(number), role, cluster: CLUSTER, not_before, not_after }
}

/// What manager 1 sees while it leads.
fn view(store: &Store) -> View<'_> {
    View { cluster: CLUSTER, store, leader: Some(1) }
}

fn call(store: &Store, path: &str, certificate: &PeerIdentity) -> Result<Admitted, Denied> {
    admit(view(store), Call { path, certificate: Some(certificate), on_behalf: None }, NOW)
}

fn passed_on(store: &Store, path: &str, by: &PeerIdentity, text: &str) -> Result<Admitted, Denied> {
    let header = HeaderValue::from_str(text).unwrap();
    admit(view(store), Call { path, certificate: Some(by), on_behalf: Some(&header) }, NOW)
}

fn node_of(admitted: Result<Admitted, Denied>) -> Option<NodeId> {
    admitted.unwrap().caller.map(|caller| caller.node)
}

#[test]
fn nobody_may_join_and_nothing_else() {
    let nobody = |path| admit(view(&store()), Call { path, certificate: None, on_behalf: None }, NOW);
    assert_eq!(node_of(nobody(JOIN)), None);
    for path in [SESSION, ENTER, MESSAGES, API] {
        assert_eq!(nobody(path), Err(Denied::Nobody), "{path}");
    }
    for path in ["/", "/mesh.v1.Join/Leave", "/mesh.v1.Join/Join/", "/mesh.apiary", "/mesh.v1.Managers/"] {
        assert_eq!(nobody(path), Err(Denied::Unknown { path: path.to_owned() }));
    }
}

#[test]
fn a_worker_is_no_manager_whatever_the_store_wants_of_it() {
    let mut store = store();
    let worker = certificate(3, Role::Worker);
    for wanted in [Role::Worker, Role::Manager] {
        change(&mut store, 3, |node| node.spec.role = wanted);
        assert_eq!(node_of(call(&store, SESSION, &worker)), Some(id(3)));
        for path in [ENTER, MESSAGES, API] {
            assert_eq!(call(&store, path, &worker), Err(Denied::Worker), "{path}");
        }
    }
    // Once it has its new certificate, it may enter.
    assert_eq!(node_of(call(&store, ENTER, &certificate(3, Role::Manager))), Some(id(3)));
}

#[test]
fn a_demoted_manager_is_a_node_from_the_moment_its_vote_is_gone() {
    let mut store = store();
    let manager = certificate(2, Role::Manager);
    change(&mut store, 2, |node| node.spec.role = Role::Worker);
    let standing = call(&store, ENTER, &manager).unwrap();
    change(&mut store, 2, |node| node.manager = None);
    let demoted = Denied::Demoted { node: id(2) };
    assert_eq!(standing.stands(&store), Err(demoted.clone()));
    for path in [ENTER, API, MESSAGES] {
        assert_eq!(call(&store, path, &manager), Err(demoted.clone()));
    }
    assert_eq!(node_of(call(&store, SESSION, &manager)), Some(id(2)));
}

#[test]
fn raft_is_heard_from_any_manager_by_one_that_does_not_know_who_leads() {
    let store = store();
    let new = certificate(7, Role::Manager);
    let message = Call { path: MESSAGES, certificate: Some(&new), on_behalf: None };
    for (leader, heard) in [(Some(2), false), (Some(1), false), (Some(77), true), (None, true)] {
        let view = View { leader, ..view(&store) };
        assert_eq!(admit(view, message, NOW).is_ok(), heard, "{leader:?}");
        let session = Call { path: SESSION, ..message };
        assert!(admit(view, session, NOW).is_err(), "{leader:?}");
    }
}

#[test]
fn a_removed_node_is_nobody_from_that_moment_on() {
    let mut store = store();
    let (worker, manager) = (certificate(3, Role::Worker), certificate(2, Role::Manager));
    let standing = [
        (3, call(&store, SESSION, &worker).unwrap()),
        (2, call(&store, API, &manager).unwrap()),
        (3, passed_on(&store, SESSION, &certificate(1, Role::Manager), &id(3).to_string()).unwrap()),
    ];
    let spoken_for = passed_on(&store, SESSION, &manager, &id(3).to_string()).unwrap();
    assert!(standing.iter().all(|(_, admitted)| admitted.stands(&store).is_ok()));
    remove(&mut store, 3);
    remove(&mut store, 2);
    assert_eq!(spoken_for.stands(&store), Err(Denied::Speaker { node: id(2) }), "not the caller is meant");
    for (number, admitted) in &standing {
        assert_eq!(admitted.stands(&store), Err(Denied::Removed { node: id(*number) }));
    }
    assert_eq!(call(&store, SESSION, &worker), Err(Denied::Removed { node: id(3) }));
    assert_eq!(call(&store, API, &manager), Err(Denied::Removed { node: id(2) }));
    // It cannot come back; it has to forget who it was, and to join as any other machine.
    assert_eq!(call(&store, JOIN, &worker), Err(Denied::Removed { node: id(3) }));
}

#[test]
fn a_certificate_that_is_over_or_foreign_helps_nobody() {
    let store = store();
    let tolerated = i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap();
    let ends = NOW.0 - tolerated;
    let late = PeerIdentity { not_before: 0, not_after: ends, ..certificate(3, Role::Worker) };
    assert_eq!(node_of(call(&store, SESSION, &late)), Some(id(3)));
    let over = PeerIdentity { not_after: ends - 1, ..late };
    let denied = call(&store, SESSION, &over).unwrap_err();
    assert_eq!(denied, Denied::Expired { ends: Moment(ends - 1), now: NOW });
    let words = denied.to_string();
    for part in [&Moment(ends - 1).to_string(), &NOW.to_string(), "swarm join --token"] {
        assert!(words.contains(part), "{words}");
    }
    // But it is known by it when it comes back.
    assert_eq!(node_of(call(&store, JOIN, &over)), Some(id(3)));

    let foreign = PeerIdentity { cluster: ClusterId::from_bits(9), ..certificate(1, Role::Manager) };
    for path in [JOIN, SESSION, ENTER, MESSAGES, API] {
        assert_eq!(call(&store, path, &foreign), Err(Denied::Foreign), "{path}");
    }
}

#[test]
fn only_a_manager_speaks_for_others_and_only_for_what_they_may() {
    let store = store();
    let (manager, worker) = (certificate(1, Role::Manager), certificate(3, Role::Worker));
    let other = id(3).to_string();
    let admitted = passed_on(&store, SESSION, &manager, &other).unwrap();
    assert_eq!((admitted.caller.map(|caller| caller.node), admitted.passed_on), (Some(id(3)), true));
    assert_eq!(passed_on(&store, ENTER, &manager, &other), Err(Denied::Worker));
    assert_eq!(node_of(passed_on(&store, ENTER, &manager, &id(2).to_string())), Some(id(2)));
    assert_eq!(passed_on(&store, SESSION, &manager, NOBODY), Err(Denied::Nobody));
    assert_eq!(node_of(passed_on(&store, JOIN, &manager, NOBODY)), None);
    let unknown = passed_on(&store, SESSION, &manager, &id(9).to_string());
    assert_eq!(unknown, Err(Denied::Removed { node: id(9) }));
    let unreadable = passed_on(&store, SESSION, &manager, "?");
    assert_eq!(unreadable, Err(Denied::Unreadable { text: "?".to_owned() }));
    // A worker speaks for itself alone, whatever it says.
    let own = passed_on(&store, SESSION, &worker, &id(1).to_string()).unwrap();
    assert_eq!((own.caller.map(|caller| caller.node), own.passed_on), (Some(id(3)), false));
    assert_eq!(node_of(passed_on(&store, JOIN, &worker, &id(1).to_string())), Some(id(3)));
}

#[test]
fn who_asks_through_a_manager_that_was_let_go_is_sent_to_another() {
    let mut store = store();
    let manager = certificate(2, Role::Manager);
    change(&mut store, 2, |node| (node.spec.role, node.manager) = (Role::Worker, None));
    for path in [SESSION, ENTER, API] {
        let denied = passed_on(&store, path, &manager, &id(1).to_string()).unwrap_err();
        assert_eq!(denied, Denied::Speaker { node: id(2) }, "{path}");
        assert_eq!(Status::from(denied).code(), Code::Unavailable, "the caller asks another");
    }
    assert_eq!(node_of(call(&store, SESSION, &manager)), Some(id(2)), "for itself it still speaks");
}

#[test]
fn a_manager_whose_store_is_empty_knows_managers_by_their_certificates() {
    let store = Store::default();
    let (manager, worker) = (certificate(1, Role::Manager), certificate(3, Role::Worker));
    for path in [MESSAGES, ENTER, API] {
        assert!(call(&store, path, &manager).is_ok(), "{path}");
        assert_eq!(call(&store, path, &worker), Err(Denied::Worker), "{path}");
    }
    assert_eq!(call(&store, SESSION, &worker), Err(Denied::Removed { node: id(3) }));
}
