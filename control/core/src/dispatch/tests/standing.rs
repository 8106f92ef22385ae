//! What a node is told of its own part, of the managers and of the roots.

use super::*;
use crate::assignment::Standing;
use crate::command;
use crate::spec::Role;

/// What each of three nodes was told since it was told last, by what `act` commits.
fn told_by(cluster: &mut VirtualCluster, act: impl FnOnce(&mut VirtualCluster)) -> [AssignmentChanges; 3] {
    let before = [1, 2, 3].map(|number| set(cluster, number));
    act(cluster);
    cluster.check_assignments();
    let after = [1, 2, 3].map(|number| set(cluster, number));
    [0, 1, 2].map(|at| before[at].difference(&after[at]))
}

#[test]
fn a_role_is_told_to_the_node_that_is_to_have_it() {
    let mut cluster = VirtualCluster::new(3, 1);
    assert_eq!(set(&mut cluster, 1).standing.role, Role::Manager);
    assert_eq!(set(&mut cluster, 2).standing.role, Role::Worker);
    let told = told_by(&mut cluster, |cluster| {
        cluster.update_node(node(2), |spec| spec.role = Role::Manager).unwrap();
    });
    assert!(told[0].is_empty() && told[2].is_empty(), "it is nobody else's business: {told:?}");
    let standing = told[1].standing.clone().unwrap();
    assert_eq!((standing.role, standing.trust.as_str(), standing.signer), (Role::Manager, "root", [1; 32]));
    let rest = AssignmentChanges { standing: None, ..told[1].clone() };
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_manager_is_told_to_all_when_it_is_one() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.update_node(node(2), |spec| spec.role = Role::Manager).unwrap();
    let status = crate::object::ManagerStatus { raft_id: 2, addr: ([172, 16, 0, 2], 2377).into() };
    let told = told_by(&mut cluster, |cluster| {
        let entered = command::enter_raft(&cluster.store, node(2), status.clone(), cluster.now).unwrap();
        cluster.commit(&entered).unwrap();
    });
    for changes in &told {
        assert_eq!(changes.managers, [(node(2), Some(status.addr))].into());
        assert_eq!(changes.standing, None);
    }
    assert_eq!(set(&mut cluster, 3).managers.keys().copied().collect::<Vec<_>>(), [node(1), node(2)]);
    let told = told_by(&mut cluster, |cluster| {
        let left = command::leave_raft(&cluster.store, node(2), cluster.now).unwrap();
        cluster.commit(&left).unwrap();
    });
    assert!(told.iter().all(|changes| changes.managers == [(node(2), None)].into()));
    // One that leaves the cluster is none from the same entry on.
    let entered = command::enter_raft(&cluster.store, node(2), status, cluster.now).unwrap();
    cluster.commit(&entered).unwrap();
    cluster.depart(node(2)).unwrap();
    assert_eq!(set(&mut cluster, 3).managers.keys().copied().collect::<Vec<_>>(), [node(1)]);
    cluster.check_assignments();
}

#[test]
fn a_new_root_is_told_to_all_with_the_role_of_each() {
    let mut cluster = VirtualCluster::new(3, 1);
    let root = command::NewRoot {
        trust: "-----BEGIN CERTIFICATE-----".repeat(3),
        signer: [2; 32],
        signing_key: crate::secret::Secret::new("key"),
    };
    let told = told_by(&mut cluster, |cluster| {
        let begun = command::begin_root_rotation(&cluster.store, root.clone(), cluster.now).unwrap();
        cluster.commit(&begun).unwrap();
    });
    let roles = [Role::Manager, Role::Worker, Role::Worker];
    for (changes, role) in told.iter().zip(roles) {
        let expected = Standing { role, trust: root.trust.clone(), signer: root.signer };
        assert_eq!(changes.standing.as_ref(), Some(&expected));
    }
    let told = told_by(&mut cluster, |cluster| {
        let renewed = command::renew_node(&cluster.store, node(2), root.signer, cluster.now).unwrap();
        cluster.commit(&renewed).unwrap();
    });
    assert!(told.iter().all(AssignmentChanges::is_empty), "who has renewed is the managers' own: {told:?}");
    // Secrets of the cluster are nobody's.
    let text = format!("{:?}", set(&mut cluster, 2));
    assert!(!text.contains("SWMKEY") && !text.contains("Secret"));
}
