//! Handshakes between two in-memory connections: who is trusted by whom.

use super::*;
use crate::authority::Authority;
use crate::handshake::{authority, meet};

fn node(authority: &Authority, role: Role) -> NodeIdentity {
    crate::handshake::node(authority, 7, role)
}

#[test]
fn nodes_of_one_cluster_meet_with_certificates_on_both_sides() {
    let authority = authority();
    let (manager, worker) = (node(&authority, Role::Manager), node(&authority, Role::Worker));
    let read = meet(worker.client_config().unwrap(), manager.server_config().unwrap(), b"secret");
    assert_eq!(read.unwrap(), b"secret");
}

#[test]
fn a_worker_is_not_taken_for_a_manager() {
    let authority = authority();
    let (one, two) = (node(&authority, Role::Worker), node(&authority, Role::Worker));
    let error = meet(one.client_config().unwrap(), two.server_config().unwrap(), b"secret").unwrap_err();
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn a_node_of_another_cluster_is_refused_on_either_side() {
    let (ours, theirs) = (authority(), authority());
    let (manager, stranger) = (node(&ours, Role::Manager), node(&theirs, Role::Manager));
    assert!(meet(stranger.client_config().unwrap(), manager.server_config().unwrap(), b"x").is_err());
    assert!(meet(manager.client_config().unwrap(), stranger.server_config().unwrap(), b"x").is_err());
    // Only the client's certificate is foreign: its own root is swapped for ours.
    let forged = NodeIdentity { root: ours.root().clone(), ..stranger };
    assert!(meet(forged.client_config().unwrap(), manager.server_config().unwrap(), b"x").is_err());
}

#[test]
fn a_joiner_trusts_the_root_of_its_token_and_only_a_manager_under_it() {
    let authority = authority();
    let digest = authority.root().digest();
    let manager = node(&authority, Role::Manager).server_config().unwrap();
    assert_eq!(meet(joiner_config(digest).unwrap(), manager, b"token").unwrap(), b"token");
    let worker = node(&authority, Role::Worker).server_config().unwrap();
    assert!(meet(joiner_config(digest).unwrap(), worker, b"token").is_err());
}

#[test]
fn a_wrong_digest_is_refused_before_the_token_is_sent() {
    let (ours, theirs) = (authority(), authority());
    let manager = node(&theirs, Role::Manager).server_config().unwrap();
    let error = meet(joiner_config(ours.root().digest()).unwrap(), manager, b"token").unwrap_err();
    assert!(error.to_string().contains("remote CA does not match fingerprint"), "{error}");
}

#[test]
fn a_root_shown_by_a_server_that_has_no_certificate_of_it_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let stranger = node(&theirs, Role::Manager);
    let forged = NodeIdentity { root: ours.root().clone(), ..stranger };
    let digest = ours.root().digest();
    assert!(meet(joiner_config(digest).unwrap(), forged.server_config().unwrap(), b"token").is_err());
}
