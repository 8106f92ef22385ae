//! Handshakes of settings that change between two of them, and what each side says of a refusal.

use std::time::SystemTime;

use mesh_core::spec::Role;

use super::*;
use crate::authority::Authority;
use crate::handshake::{Meeting, authority, meeting, node, node_made};
use crate::refusal::Refusal;
use crate::renewal::{CLOCK_TOLERANCE, Moment};

const SECRET: &[u8] = b"secret";
const MANAGER: u128 = 1;
const WORKER: u128 = 2;

fn live(identity: &NodeIdentity, root: &Authority) -> LiveTls {
    LiveTls::new(identity, TrustBundle::of(root.root().clone())).unwrap()
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
    let (manager, worker) = (live(&boss, &authority), live(&hand, &authority));
    let client = Arc::new(worker.client_config().unwrap());
    let server = Arc::new(manager.server_config().unwrap());
    let meet_showing = |boss: &NodeIdentity, hand: &NodeIdentity| {
        let met = meeting(Arc::clone(&client), Arc::clone(&server), SECRET);
        assert_met(&met);
        assert_eq!(met.saw, [Some(boss.certificate().clone()), Some(hand.certificate().clone())]);
    };
    meet_showing(&boss, &hand);

    let renewed = (node(&authority, MANAGER, Role::Manager), node(&authority, WORKER, Role::Worker));
    manager.present(&renewed.0);
    meet_showing(&renewed.0, &hand);
    worker.present(&renewed.1);
    meet_showing(&renewed.0, &renewed.1);
}

#[test]
fn a_worker_is_not_taken_for_a_manager() {
    let authority = authority();
    let (one, two) = (node(&authority, WORKER, Role::Worker), node(&authority, 3, Role::Worker));
    let met = meet(&live(&one, &authority), &live(&two, &authority));
    assert_eq!(reason(&met.client, &one), Some(Refusal::NotManager));
    assert!(met.server.is_err());
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
            // Over or not, it may come back; what it may ask for is for the services to say.
            Ok(()) | Err(Refusal::Expired { .. }) => assert_met(&met),
            Err(refusal) => {
                assert_eq!(reason(&met.server, &boss), Some(refusal));
                assert!(matches!(reason(&met.client, &hand), Some(Refusal::OwnOutsideLife { .. })));
                let (words, made) = (refusal.to_string(), hand.peer().made().to_string());
                assert!(words.contains(&now.to_string()) && words.contains(&made), "{words}");
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
    let met = meet(&live_at(&hand, &authority, late), &live(&boss, &authority));
    assert_eq!(reason(&met.client, &hand), Some(Refusal::Expired { ends: boss.peer().ends(), now: late }));
    // To the manager it says so as well, whose own words then name the manager's clock.
    assert!(matches!(reason(&met.server, &boss), Some(Refusal::OwnOutsideLife { .. })));
}

#[test]
fn a_node_that_was_away_for_too_long_still_shows_who_it_was_but_no_manager_of_the_kind_is_trusted() {
    let authority = authority();
    let made = SystemTime::now() - crate::NODE_CERTIFICATE_LIFE - CLOCK_TOLERANCE * 2;
    let boss = node(&authority, MANAGER, Role::Manager);
    let (hand, late) =
        (node_made(&authority, WORKER, Role::Worker, made), node_made(&authority, 3, Role::Manager, made));
    let met = meet(&live(&hand, &authority), &live(&boss, &authority));
    assert_met(&met);
    assert_eq!(met.saw[1].as_ref(), Some(hand.certificate()));
    let met = meet(&live(&boss, &authority), &live(&late, &authority));
    assert!(
        matches!(reason(&met.client, &boss), Some(Refusal::Expired { ends, .. }) if ends == late.peer().ends())
    );
}
