//! A cluster's handshakes through a change of its root from start to end, and bundles of roots as text.

use std::sync::Arc;

use mesh_core::spec::Role;

use super::*;
use crate::authority::Authority;
use crate::handshake::{Meeting, authority, meeting, node};
use crate::live::LiveTls;
use crate::tls::{NodeIdentity, joiner_config};

/// A cluster of a manager and a worker, before, in and after a rotation.
struct Cluster {
    old: Authority,
    new: Authority,
    both: TrustBundle,
    manager: LiveTls,
    worker: LiveTls,
}

impl Cluster {
    fn new() -> Self {
        let (old, new) = (authority(), authority());
        let cross = old.cross_sign(&new).unwrap();
        let both = TrustBundle::rotating(old.root().clone(), new.root().clone(), cross).unwrap();
        let trust = TrustBundle::of(old.root().clone());
        let manager = LiveTls::new(&node(&old, 1, Role::Manager), trust.clone()).unwrap();
        let worker = LiveTls::new(&node(&old, 2, Role::Worker), trust).unwrap();
        Self { old, new, both, manager, worker }
    }

    fn meet(&self) -> Meeting {
        let (client, server) = (self.worker.client_config().unwrap(), self.manager.server_config().unwrap());
        meeting(Arc::new(client), Arc::new(server), b"secret")
    }

    /// A joiner whose token names this root.
    fn join(&self, root: &Authority) -> Meeting {
        let server = self.manager.server_config().unwrap();
        meeting(Arc::new(joiner_config(root.root().digest(), None).unwrap()), Arc::new(server), b"secret")
    }
}

#[track_caller]
fn assert_met(met: &Meeting) {
    assert_eq!((met.client.clone(), met.server.as_deref()), (Ok(()), Ok(b"secret".as_slice())));
}

#[test]
fn nodes_meet_in_every_order_of_a_rotations_steps() {
    // Which of the two goes first with each step; between any two steps they still meet.
    for manager_first in [0b00, 0b01, 0b10, 0b11] {
        let cluster = Cluster::new();
        let renewed = [node(&cluster.new, 1, Role::Manager), node(&cluster.new, 2, Role::Worker)];
        let live = |first: bool| if first { (&cluster.manager, 0) } else { (&cluster.worker, 1) };
        let order = |step: u8| {
            let first = manager_first >> step & 1 == 1;
            [live(first), live(!first)]
        };
        for (side, _) in order(0) {
            side.trust(cluster.both.clone()).unwrap();
            assert_met(&cluster.meet());
            assert_met(&cluster.join(&cluster.old));
        }
        for (side, number) in order(1) {
            side.present(&renewed[number]);
            assert_met(&cluster.meet());
            assert_met(&cluster.join(&cluster.old));
        }
        for (side, _) in order(0) {
            side.trust(TrustBundle::of(cluster.new.root().clone())).unwrap();
            assert_met(&cluster.meet());
        }
        assert_met(&cluster.join(&cluster.new));
        assert!(cluster.join(&cluster.old).client.is_err());
    }
}

#[test]
fn a_renewed_node_meets_one_that_has_not_heard_of_the_rotation() {
    let cluster = Cluster::new();
    cluster.manager.trust(cluster.both.clone()).unwrap();
    cluster.manager.present(&node(&cluster.new, 1, Role::Manager));
    assert_met(&cluster.meet());
    assert_met(&cluster.join(&cluster.old));
    assert_met(&cluster.join(&cluster.new));
}

#[test]
fn the_old_root_opens_nothing_after_the_end() {
    let cluster = Cluster::new();
    cluster.manager.trust(TrustBundle::of(cluster.new.root().clone())).unwrap();
    cluster.manager.present(&node(&cluster.new, 1, Role::Manager));
    cluster.worker.trust(cluster.both.clone()).unwrap();
    assert!(cluster.meet().server.is_err());
}

#[test]
fn a_bundle_is_checked_when_made_and_read() {
    let (old, new, other) = (authority(), authority(), authority());
    let root = |authority: &Authority| authority.root().clone();
    let cross = old.cross_sign(&new).unwrap();
    let both = TrustBundle::rotating(root(&old), root(&new), cross.clone()).unwrap();
    for wrong in [
        TrustBundle::rotating(root(&other), root(&new), cross.clone()),
        TrustBundle::rotating(root(&old), root(&other), cross),
        TrustBundle::rotating(root(&old), root(&new), root(&new)),
    ] {
        assert!(wrong.unwrap_err().to_string().contains("cross-signed"));
    }
    for bundle in [both.clone(), TrustBundle::of(root(&old))] {
        assert_eq!(TrustBundle::from_pem(&bundle.to_pem()).unwrap(), bundle);
    }
    let two = root(&old).pem().to_owned() + root(&new).pem();
    for text in ["", two.as_str(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(TrustBundle::from_pem(text).is_err(), "{text}");
    }
}

#[test]
fn the_issuer_of_a_certificate_is_found_by_its_signature() {
    let (old, new, other) = (authority(), authority(), authority());
    let cross = old.cross_sign(&new).unwrap();
    let both = TrustBundle::rotating(old.root().clone(), new.root().clone(), cross).unwrap();
    let issuer = |identity: &NodeIdentity| both.issuer_of(identity.certificate()).unwrap();
    assert_eq!(issuer(&node(&old, 1, Role::Worker)), Some(old.root().digest()));
    assert_eq!(issuer(&node(&new, 1, Role::Worker)), Some(new.root().digest()));
    assert_eq!(issuer(&node(&other, 1, Role::Worker)), None);
}
