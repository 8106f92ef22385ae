//! Handshakes of a joiner, which has nothing but a token, and certificates with keys that are not theirs.

use rustls::ServerConfig;

use super::*;
use crate::authority::Authority;
use crate::error::IdentityError;
use crate::handshake::{authority, meet, node};
use crate::live::LiveTls;
use crate::trust::TrustBundle;

/// A server with a certificate of one authority that shows the root of another.
fn server(authority: &Authority, role: Role, shown: &Authority) -> ServerConfig {
    let trust = TrustBundle::of(shown.root().clone());
    LiveTls::new(&node(authority, 7, role), trust).unwrap().server_config().unwrap()
}

#[test]
fn a_joiner_trusts_the_root_of_its_token_and_only_a_manager_under_it() {
    let authority = authority();
    let digest = authority.root().digest();
    let manager = server(&authority, Role::Manager, &authority);
    assert_eq!(meet(joiner_config(digest, None).unwrap(), manager, b"token").unwrap(), b"token");
    let worker = server(&authority, Role::Worker, &authority);
    assert!(meet(joiner_config(digest, None).unwrap(), worker, b"token").is_err());
}

#[test]
fn a_wrong_digest_is_refused_before_the_token_is_sent() {
    let (ours, theirs) = (authority(), authority());
    let manager = server(&theirs, Role::Manager, &theirs);
    let error = meet(joiner_config(ours.root().digest(), None).unwrap(), manager, b"token").unwrap_err();
    assert!(error.to_string().contains("remote CA does not match fingerprint"), "{error}");
}

#[test]
fn a_root_shown_by_a_server_that_has_no_certificate_of_it_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let forged = server(&theirs, Role::Manager, &ours);
    assert!(meet(joiner_config(ours.root().digest(), None).unwrap(), forged, b"token").is_err());
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let authority = authority();
    let (one, other) = (node(&authority, 1, Role::Worker), node(&authority, 2, Role::Worker));
    let again = NodeIdentity::from_pem(one.to_pem()).unwrap();
    assert_eq!(again.certificate(), one.certificate());
    let key_at = other.to_pem().find("-----BEGIN PRIVATE KEY").unwrap();
    let certificate_ends = one.to_pem().find("-----BEGIN PRIVATE KEY").unwrap();
    let mixed = NodeIdentity::new(&one.to_pem()[..certificate_ends], &other.to_pem()[key_at..]);
    assert!(matches!(mixed, Err(IdentityError::KeyMismatch)), "{mixed:?}");
}
