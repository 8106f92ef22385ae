//! Handshakes of settings that change between two of them, and what each side says of a refusal.

use std::time::{Duration, SystemTime};

use mesh_core::spec::Role;

use super::*;
use crate::authority::Authority;
use crate::handshake::{Meeting, authority, meeting, node, node_made};
use crate::renewal::CLOCK_TOLERANCE;
use crate::tls::joiner_config;

const SECRET: &[u8] = b"secret";
const MANAGER: u128 = 1;
const WORKER: u128 = 2;

fn live(identity: &NodeIdentity) -> LiveTls {
    LiveTls::new(identity, TrustBundle::of(identity.root().clone())).unwrap()
}

fn pair(authority: &Authority) -> (LiveTls, LiveTls) {
    (live(&node(authority, MANAGER, Role::Manager)), live(&node(authority, WORKER, Role::Worker)))
}

fn meet(client: &LiveTls, server: &LiveTls) -> Meeting {
    let (client, server) = (client.client_config().unwrap(), server.server_config().unwrap());
    meeting(Arc::new(client), Arc::new(server), SECRET)
}

#[track_caller]
fn assert_met(meeting: &Meeting) {
    assert_eq!(meeting.client, Ok(()));
    assert_eq!(meeting.server.as_deref(), Ok(SECRET));
}

fn reason<T>(side: &Result<T, rustls::Error>, own: &NodeIdentity) -> Option<Refusal> {
    Refusal::of(side.as_ref().err()?, Some(own.peer()), Moment::from(SystemTime::now()))
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let authority = authority();
    let (boss, hand) = (node(&authority, MANAGER, Role::Manager), node(&authority, WORKER, Role::Worker));
    let (manager, worker) = (live(&boss), live(&hand));
    let client = Arc::new(worker.client_config().unwrap());
    let server = Arc::new(manager.server_config().unwrap());
    let meet_showing = |boss: &NodeIdentity, hand: &NodeIdentity| {
        let met = meeting(Arc::clone(&client), Arc::clone(&server), SECRET);
        assert_met(&met);
        assert_eq!(met.saw, [Some(boss.certificate().clone()), Some(hand.certificate().clone())]);
    };
    meet_showing(&boss, &hand);

    let renewed = (node(&authority, MANAGER, Role::Manager), node(&authority, WORKER, Role::Worker));
    manager.present(&renewed.0).unwrap();
    meet_showing(&renewed.0, &hand);
    worker.present(&renewed.1).unwrap();
    meet_showing(&renewed.0, &renewed.1);
}

#[test]
fn a_worker_is_not_taken_for_a_manager() {
    let authority = authority();
    let (one, two) = (node(&authority, WORKER, Role::Worker), node(&authority, 3, Role::Worker));
    let met = meet(&live(&one), &live(&two));
    assert_eq!(reason(&met.client, &one), Some(Refusal::NotManager));
    assert!(met.server.is_err());
}

#[test]
fn a_removed_node_is_refused_at_once_on_either_side_and_is_told() {
    let authority = authority();
    let (boss, hand) = (node(&authority, MANAGER, Role::Manager), node(&authority, WORKER, Role::Worker));
    let (manager, worker) = (live(&boss), live(&hand));
    // The same settings before and after: nothing of the first handshake helps in the second.
    let client = Arc::new(worker.client_config().unwrap());
    let server = Arc::new(manager.server_config().unwrap());
    assert_met(&meeting(Arc::clone(&client), Arc::clone(&server), SECRET));

    manager.refuse(BTreeSet::from([NodeId::from_bits(WORKER)]));
    assert!(manager.refuses(NodeId::from_bits(WORKER)) && !manager.refuses(NodeId::from_bits(MANAGER)));
    let met = meeting(Arc::clone(&client), Arc::clone(&server), SECRET);
    assert_eq!(reason(&met.server, &boss), Some(Refusal::Removed));
    assert_eq!(reason(&met.client, &hand), Some(Refusal::OwnRemoved));

    manager.refuse(BTreeSet::new());
    worker.refuse(BTreeSet::from([NodeId::from_bits(MANAGER)]));
    let met = meeting(client, server, SECRET);
    assert_eq!(reason(&met.client, &hand), Some(Refusal::Removed));
    assert_eq!(reason(&met.server, &boss), Some(Refusal::OwnRemoved));
}

#[test]
fn expired_and_foreign_are_told_apart_and_an_hour_is_tolerated() {
    let (ours, theirs) = (authority(), authority());
    let boss = node(&ours, MANAGER, Role::Manager);
    let manager = live(&boss);
    let now = SystemTime::now();
    let life = crate::NODE_CERTIFICATE_LIFE;
    let minute = Duration::from_mins(1);
    let hour = CLOCK_TOLERANCE;
    for (made, expected) in [
        (now - life - hour + minute, "ok"),
        (now - life - hour - minute, "expired"),
        (now + hour + hour - minute, "ok"),
        (now + hour + hour + minute, "not yet valid"),
    ] {
        let hand = node_made(&ours, WORKER, Role::Worker, made);
        let met = meet(&live(&hand), &manager);
        let (seen, told) = (reason(&met.server, &boss), reason(&met.client, &hand));
        match expected {
            "ok" => assert_met(&met),
            "expired" => {
                assert!(matches!(seen, Some(Refusal::Expired { ends, .. }) if ends == hand.peer().ends()));
                assert!(
                    matches!(told, Some(Refusal::OwnOutsideLife { ends, .. }) if ends == hand.peer().ends())
                );
            }
            _ => {
                assert!(
                    matches!(seen, Some(Refusal::NotYetValid { made, .. }) if made == hand.peer().made())
                );
                assert!(matches!(told, Some(Refusal::OwnOutsideLife { .. })));
            }
        }
        // A certificate of another cluster is foreign, whatever its age.
        let stranger = node_made(&theirs, WORKER, Role::Worker, made);
        let met = meet(&live(&node(&ours, WORKER, Role::Worker)), &live(&stranger));
        assert_eq!(reason(&met.client, &hand), Some(Refusal::Foreign));
        let forged = LiveTls::new(&stranger, TrustBundle::of(ours.root().clone())).unwrap();
        let met = meet(&forged, &manager);
        assert_eq!(reason(&met.server, &boss), Some(Refusal::Foreign));
        assert_eq!(reason(&met.client, &stranger), Some(Refusal::OwnForeign));
    }
}

#[test]
fn a_joiner_and_nobody_reach_a_live_server() {
    let authority = authority();
    let (manager, _) = pair(&authority);
    let joiner = joiner_config(authority.root().digest()).unwrap();
    let met = meeting(Arc::new(joiner), Arc::new(manager.server_config().unwrap()), SECRET);
    assert_met(&met);
}
