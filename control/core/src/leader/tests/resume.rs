//! Agents that come back: they are told what changed, and everything only when nobody knows what they have.

use super::*;
use crate::assignment::AssignmentChanges;
use crate::testing::Sent;

/// Loses a node's connection; the agent opens a new session soon after.
fn reconnect(cluster: &mut VirtualCluster, number: u128) {
    cluster.describe(node(number), |_| {});
    cluster.run_for(SOON);
}

/// What was sent while something happened.
fn sent_by(cluster: &mut VirtualCluster, act: impl FnOnce(&mut VirtualCluster)) -> Sent {
    let before = cluster.sent;
    act(cluster);
    let now = cluster.sent;
    Sent { full: now.full - before.full, increments: now.increments - before.increments, ..Sent::default() }
}

/// Two nodes, with tasks on both.
fn busy() -> VirtualCluster {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.create_service(service_spec("web", 4)).unwrap();
    cluster.run_for(SOON);
    cluster
}

#[test]
fn an_agent_that_comes_back_is_told_what_changed() {
    let mut cluster = busy();
    let resumed = sent_by(&mut cluster, |cluster| reconnect(cluster, 2));
    assert_eq!(
        resumed,
        Sent { full: 0, increments: 1, ..Sent::default() },
        "that nothing changed is said too: it opens the session"
    );
    cluster.silence(node(2));
    let missed = sent_by(&mut cluster, |cluster| {
        cluster.join(join_request(3)).unwrap();
        cluster.create_service(service_spec("other", 6)).unwrap();
        cluster.run_for(SOON);
    });
    assert!(missed.increments > 1, "something happens: {missed:?}");
    let resumed = sent_by(&mut cluster, |cluster| {
        cluster.resume(node(2));
        cluster.run_for(Duration::from_millis(1));
    });
    assert_eq!(resumed, Sent { full: 0, increments: 1, ..Sent::default() });
    cluster.check_assignments();
    cluster.run_for(SOON);
    cluster.check_assignments();
}

#[test]
fn a_new_leader_that_has_the_past_resumes_every_session() {
    let mut cluster = busy();
    cluster.silence(node(2));
    cluster.create_service(service_spec("other", 3)).unwrap();
    cluster.run_for(SOON);
    cluster.resume(node(2));
    let resumed = sent_by(&mut cluster, |cluster| {
        cluster.new_leader();
        cluster.run_for(SOON);
    });
    assert_eq!(resumed.full, 0, "{resumed:?}");
    cluster.check_assignments();
}

#[test]
fn a_new_leader_without_the_past_resumes_those_for_whom_nothing_changed() {
    let mut cluster = busy();
    cluster.silence(node(2));
    // A peer more is news to node 2, and not to node 1, which has heard of it.
    cluster.join(join_request(3)).unwrap();
    cluster.run_for(Duration::from_millis(10));
    let resumed = sent_by(&mut cluster, |cluster| {
        cluster.new_leader_with(History::default());
        cluster.run_for(Duration::from_millis(500));
    });
    assert_eq!(resumed.full, 0, "{resumed:?}");
    let anew = sent_by(&mut cluster, |cluster| {
        cluster.resume(node(2));
        cluster.run_for(Duration::from_millis(1));
    });
    assert_eq!(anew, Sent { full: 1, increments: 0, ..Sent::default() });
    cluster.run_for(SOON);
    cluster.check_assignments();
}

#[test]
fn an_agent_that_has_something_else_gets_everything() {
    let mut cluster = busy();
    cluster.agent(node(2)).corrupt();
    let anew = sent_by(&mut cluster, |cluster| reconnect(cluster, 2));
    assert_eq!(anew.full, 1, "{anew:?}");
    cluster.check_assignments();
    cluster.agent(node(2)).forget();
    let anew = sent_by(&mut cluster, |cluster| reconnect(cluster, 2));
    assert_eq!(anew.full, 1, "{anew:?}");
    cluster.check_assignments();
}

#[test]
fn a_session_that_goes_on_is_compared_now_and_then() {
    let mut cluster = busy();
    let calm = sent_by(&mut cluster, |cluster| cluster.run_for(secs(60)));
    assert_eq!(calm, Sent::default(), "what is as it should be is not sent");
    cluster.agent(node(2)).corrupt();
    let repaired = sent_by(&mut cluster, |cluster| cluster.run_for(secs(60)));
    assert_eq!(repaired, Sent { full: 1, increments: 0, ..Sent::default() });
    cluster.check_assignments();
}

/// A leader alone whose node 1 has what the first session gave it.
fn held() -> (Leader, Store, Seeded, Timestamp, Held) {
    let (mut leader, mut store, mut entropy, now) = alone();
    let actions = leader.step(opened(1, 8), now, &mut entropy);
    let [(_, AssignmentUpdate::Full { version, set })] = actions.send.as_slice() else {
        panic!("{actions:?}")
    };
    let held = Held { version: *version, digest: set.digest() };
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    (leader, store, entropy, now, held)
}

/// What a new session that begins with this is answered.
fn resumed(leader: &mut Leader, held: Held, now: Timestamp) -> AssignmentUpdate {
    let seed = leader.store().index() << 32 | held.version << 8 | u64::from(held.digest[0]);
    let Event::SessionOpened { node, description, addr, data_path_addr, .. } = opened(1, 0) else {
        unreachable!()
    };
    let (session, held) = (SessionId::new(&mut Seeded(seed)), Some(held));
    let event = Event::SessionOpened { node, session, description, addr, data_path_addr, held };
    leader.step(event, now, &mut Seeded(1)).send.remove(0).1
}

fn join(leader: &mut Leader, store: &mut Store, number: u32, now: Timestamp) {
    let joined = command::join_node(store, join_request(number), now).unwrap();
    commit(leader, store, &joined, now, &mut Seeded(1));
}

#[test]
fn an_increment_leads_from_what_the_agent_has_to_now() {
    let (mut leader, mut store, _, now, held) = held();
    let nothing = AssignmentUpdate::Increment {
        from: held.version,
        to: store.index(),
        changes: Box::new(AssignmentChanges::default()),
    };
    assert_eq!(resumed(&mut leader, held, now), nothing);
    join(&mut leader, &mut store, 2, now);
    join(&mut leader, &mut store, 3, now);
    let AssignmentUpdate::Increment { from, to, changes } = resumed(&mut leader, held, now) else {
        panic!("a full set")
    };
    assert_eq!((from, to), (held.version, store.index()));
    assert_eq!(changes.peers.keys().copied().collect::<Vec<_>>(), [node(2), node(3)]);
    let rest = AssignmentChanges { peers: std::collections::BTreeMap::new(), ..*changes };
    assert!(rest.is_empty(), "{rest:?}");
    // What follows goes on from there.
    let joined = command::join_node(&store, join_request(4), now).unwrap();
    let next = commit(&mut leader, &mut store, &joined, now, &mut Seeded(1));
    assert!(
        matches!(next.send.as_slice(), [(_, AssignmentUpdate::Increment { from, .. })] if *from == to),
        "{:?}",
        next.send
    );
}

#[test]
fn a_version_that_the_leader_has_not_come_to_gets_everything() {
    let (mut leader, store, _, now, held) = held();
    let ahead = Held { version: store.index() + 1, ..held };
    assert!(matches!(resumed(&mut leader, ahead, now), AssignmentUpdate::Full { .. }));
    let wrong = Held { digest: [0; 32], ..held };
    assert!(matches!(resumed(&mut leader, wrong, now), AssignmentUpdate::Full { .. }));
    let ancient = Held { version: 0, digest: [0; 32] };
    assert!(matches!(resumed(&mut leader, ancient, now), AssignmentUpdate::Full { .. }));
}

#[test]
fn what_is_too_long_ago_gets_everything() {
    let (mut leader, mut store, _, now, held) = held();
    join(&mut leader, &mut store, 2, now);
    for _ in 0..HISTORY_CHANGES - 1 {
        rename(&mut leader, &mut store, now);
    }
    assert!(matches!(resumed(&mut leader, held, now), AssignmentUpdate::Increment { .. }));
    rename(&mut leader, &mut store, now);
    assert!(matches!(resumed(&mut leader, held, now), AssignmentUpdate::Full { .. }));
}

/// A log entry that is no news to any agent.
fn rename(leader: &mut Leader, store: &mut Store, now: Timestamp) {
    let cluster = store.cluster().unwrap();
    let mut spec = cluster.spec.clone();
    spec.labels.insert("n".to_owned(), store.index().to_string());
    let request = command::UpdateCluster {
        version: cluster.meta.version,
        spec: Some(spec),
        ..command::UpdateCluster::default()
    };
    let made = command::update_cluster(store, request, now).unwrap();
    let actions = commit(leader, store, &made, now, &mut Seeded(1));
    assert_eq!(actions.send, []);
}

#[test]
fn only_the_version_sent_last_is_compared() {
    let (mut leader, mut store, mut entropy, now, held) = held();
    let session = SessionId::from_bits(8);
    let mut check = |leader: &mut Leader, held: Held| {
        leader.step(Event::Held { node: node(1), session, held }, now, &mut entropy).send
    };
    assert_eq!(check(&mut leader, held), []);
    join(&mut leader, &mut store, 2, now);
    let behind = Held { digest: [0; 32], ..held };
    assert_eq!(check(&mut leader, behind), [], "an increment is on its way to it");
    let current = Held { version: store.index(), digest: leader.assignments(node(1)).digest() };
    assert_eq!(check(&mut leader, current), []);
    for wrong in [Held { digest: [0; 32], ..current }, Held { version: current.version + 5, ..current }] {
        let anew = check(&mut leader, wrong);
        assert!(
            matches!(anew.as_slice(), [(to, AssignmentUpdate::Full { .. })] if *to == session),
            "{wrong:?}: {anew:?}"
        );
    }
    let stranger = Event::Held { node: node(1), session: SessionId::from_bits(77), held: behind };
    let refused = leader.step(stranger, now, &mut Seeded(1));
    assert_eq!(
        (refused.send, refused.close),
        (vec![], vec![(SessionId::from_bits(77), SessionEnd::Unknown)])
    );
}

#[test]
fn saying_what_one_has_is_a_sign_of_life() {
    let (mut leader, _, mut entropy, now, held) = held();
    let event = Event::Held { node: node(1), session: SessionId::from_bits(8), held };
    let later = now + secs(3);
    let actions = leader.step(event, later, &mut entropy);
    assert!(actions.wake_at.unwrap().since(later) >= HEARTBEAT * 3);
}
