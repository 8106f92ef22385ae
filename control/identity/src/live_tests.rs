//! Handshakes of settings that change between two of them, and what each side says of a refusal.

use std::time::SystemTime;

use mesh_core::spec::Role;

use super::*;
use crate::authority::Authority;
use crate::handshake::{Meeting, authority, meeting, node, node_made};
use crate::refusal::Refusal;
use crate::renewal::{CLOCK_TOLERANCE, Moment};
use crate::tls::joiner_config;

const SECRET: &[u8] = b"secret";
const MANAGER: u128 = 1;
const WORKER: u128 = 2;

fn live(identity: &NodeIdentity) -> LiveTls {
    LiveTls::new(identity, TrustBundle::of(identity.root().clone())).unwrap()
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

/// A clock that stands.
#[derive(Debug)]
struct Standing(Moment);

impl TimeProvider for Standing {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0.unix())
    }
}

fn live_at(identity: &NodeIdentity, root: &Authority, now: Moment) -> LiveTls {
    let trust = TrustBundle::of(root.root().clone());
    LiveTls::with_clock(identity, trust, Arc::new(Standing(now))).unwrap()
}

#[test]
fn a_life_outside_of_the_clocks_hour_is_refused_with_both_clocks_and_told_from_a_foreign_one() {
    let (ours, theirs) = (authority(), authority());
    let boss = node(&ours, MANAGER, Role::Manager);
    let hand = node(&ours, WORKER, Role::Worker);
    let stranger = node(&theirs, WORKER, Role::Worker);
    let (begins, ends) = (Moment(hand.peer().not_before), hand.peer().ends());
    let hour = i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap();
    // The worker's own clock is right; the manager's says this.
    let right = Moment::from(SystemTime::now());
    for now in [begins.0 - hour - 1, begins.0 - hour, right.0, ends.0 + hour, ends.0 + hour + 1] {
        let now = Moment(now);
        let manager = live_at(&boss, &ours, now);
        let met = meet(&live_at(&hand, &ours, right), &manager);
        let expected = hand.peer().check_life(now);
        match expected {
            Ok(()) => assert_met(&met),
            Err(refusal) => {
                assert_eq!(reason(&met.server, &boss), Some(refusal));
                assert!(matches!(reason(&met.client, &hand), Some(Refusal::OwnOutsideLife { .. })));
                let other = if now > ends { ends } else { hand.peer().made() };
                let words = refusal.to_string();
                assert!(words.contains(&now.to_string()) && words.contains(&other.to_string()), "{words}");
            }
        }
        let met = meet(&live_at(&stranger, &ours, right), &manager);
        assert_eq!(reason(&met.server, &boss), Some(Refusal::Foreign));
        assert_eq!(reason(&met.client, &stranger), Some(Refusal::OwnForeign));
    }
}

#[test]
fn a_client_whose_clock_is_wrong_names_both_clocks_too() {
    let authority = authority();
    let (boss, hand) = (node(&authority, MANAGER, Role::Manager), node(&authority, WORKER, Role::Worker));
    let late = Moment(boss.peer().not_after + 7200);
    let met = meet(&live_at(&hand, &authority, late), &live(&boss));
    assert_eq!(reason(&met.client, &hand), Some(Refusal::Expired { ends: boss.peer().ends(), now: late }));
    // To the manager it says so as well, whose own words then name the manager's clock.
    assert!(matches!(reason(&met.server, &boss), Some(Refusal::OwnOutsideLife { .. })));
}

#[test]
fn expired_is_what_a_node_is_that_was_away_for_too_long() {
    let authority = authority();
    let boss = node(&authority, MANAGER, Role::Manager);
    let made = SystemTime::now() - crate::NODE_CERTIFICATE_LIFE - CLOCK_TOLERANCE * 2;
    let hand = node_made(&authority, WORKER, Role::Worker, made);
    let met = meet(&live(&hand), &live(&boss));
    assert!(
        matches!(reason(&met.server, &boss), Some(Refusal::Expired { ends, .. }) if ends == hand.peer().ends())
    );
    // Its way back: it comes without a certificate, as a joiner.
    let joiner = joiner_config(authority.root().digest()).unwrap();
    let server = live(&boss).server_config().unwrap();
    assert_met(&meeting(Arc::new(joiner), Arc::new(server), SECRET));
}
