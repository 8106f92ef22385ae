//! The point of renewal, and lives checked against clocks that differ.

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::Role;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::authority::{Authority, CertificateRequest, NODE_CERTIFICATE_LIFE};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn identity(not_before: i64, not_after: i64) -> PeerIdentity {
    let (node, cluster) = (NodeId::from_bits(1), ClusterId::from_bits(2));
    PeerIdentity { node, role: Role::Worker, cluster, not_before, not_after }
}

#[test]
fn the_point_lies_in_fifty_to_eighty_percent_of_the_life() {
    for (made, ends, drawn, due) in [
        (0, 1000, 0, 500),
        (0, 1000, u32::MAX, 800),
        (0, 1000, u32::MAX / 2, 649),
        (700, 700 + 90 * DAY, u32::MAX, 700 + 72 * DAY),
        (5, 5, 77, 5),
        (9, 5, 77, 9),
    ] {
        let plan = Renewal::between(Moment(made), Moment(ends), drawn);
        assert_eq!(plan.due(), Moment(due), "{made} {ends} {drawn}");
    }
}

#[test]
fn a_plan_says_later_then_due_then_expired() {
    let plan = Renewal::between(Moment(0), Moment(1000), 0);
    for (now, state) in [
        (-5, RenewalState::Later(Duration::from_secs(505))),
        (499, RenewalState::Later(Duration::from_secs(1))),
        (500, RenewalState::Due),
        (1000, RenewalState::Due),
        (1001, RenewalState::Expired),
    ] {
        assert_eq!(plan.state(Moment(now)), state, "{now}");
    }
}

#[test]
fn a_certificate_keeps_its_point_and_others_have_their_own() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(400_000);
    let cluster = ClusterId::from_bits(2);
    let authority = Authority::create(cluster, now).unwrap();
    let certificate = |life| {
        let request = CertificateRequest::create().unwrap();
        let subject = (NodeId::from_bits(1), Role::Worker, cluster);
        let pem = authority.issue(&request.request_pem, subject, now, life).unwrap();
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    };
    let one = certificate(NODE_CERTIFICATE_LIFE);
    let plan = Renewal::plan(&one, 7).unwrap();
    assert_eq!(plan, Renewal::plan(&one, 7).unwrap());
    assert_ne!(plan, Renewal::plan(&one, 8).unwrap());
    assert_ne!(plan, Renewal::plan(&certificate(NODE_CERTIFICATE_LIFE), 7).unwrap());
    // The hour by which certificates are dated back is no part of the life: the shortest is not due at once.
    let short = Renewal::plan(&certificate(Duration::from_hours(1)), 7).unwrap();
    let made = Moment::from(now);
    assert!((made.0 + HOUR / 2..=made.0 + HOUR * 4 / 5).contains(&short.due().0), "{short:?}");
}

#[test]
fn an_hour_of_difference_is_tolerated_and_no_more() {
    let peer = identity(10 * DAY, 100 * DAY);
    for now in [10 * DAY - HOUR, 50 * DAY, 100 * DAY + HOUR] {
        assert_eq!(peer.check_life(Moment(now)), Ok(()), "{now}");
    }
    let late = Moment(100 * DAY + HOUR + 1);
    assert_eq!(peer.check_life(late), Err(Refusal::Expired { ends: peer.ends(), now: late }));
    let early = Moment(10 * DAY - HOUR - 1);
    assert_eq!(peer.check_life(early), Err(Refusal::NotYetValid { made: peer.made(), now: early }));
    assert_eq!(peer.made(), Moment(10 * DAY + HOUR));
}

#[test]
fn clocks_are_compared_both_ways_and_both_are_named() {
    let ours = Moment(1_792_000_000);
    for theirs in [ours.0 - HOUR, ours.0, ours.0 + HOUR] {
        assert_eq!(compare_clocks(ours, Moment(theirs)), Ok(()));
    }
    for theirs in [ours.0 - HOUR - 1, ours.0 + HOUR + 1] {
        let words = compare_clocks(ours, Moment(theirs)).unwrap_err().to_string();
        for clock in [ours, Moment(theirs)] {
            assert!(words.contains(&clock.to_string()), "{words}");
        }
    }
    assert_eq!(ours.to_string(), "2026-10-14 17:46:40 UTC");
}
