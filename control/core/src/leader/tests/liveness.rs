//! Who is there.

use super::*;

#[test]
fn a_node_is_ready_once_its_agent_speaks() {
    let mut cluster = VirtualCluster::new(2, 1);
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (NodeState::Ready, NodeState::Ready));
    cluster.run_for(secs(600));
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (NodeState::Ready, NodeState::Ready));
    assert_eq!(
        cluster.node(node(2)).meta.version,
        cluster.node(node(1)).meta.version.max(4),
        "heartbeats write nothing"
    );
}

#[test]
fn a_node_is_down_after_more_than_three_heartbeats_of_silence() {
    let mut cluster = VirtualCluster::new(2, 1);
    // Its last heartbeat is not older than the cluster's first 50 ms.
    cluster.silence(node(2));
    cluster.run_for(HEARTBEAT * 3);
    assert_eq!(state(&cluster, 2), NodeState::Ready);
    let left = until(&mut cluster, 2, NodeState::Down).unwrap();
    assert!(left <= HEARTBEAT / 10 + Duration::from_millis(2), "{left:?}");
    assert_eq!(cluster.node(node(2)).status.message, "heartbeat failure");
    cluster.resume(node(2));
    let back = until(&mut cluster, 2, NodeState::Ready).unwrap();
    assert!(back < Duration::from_millis(10), "{back:?}");
    assert_eq!(cluster.node(node(2)).status.message, "");
}

#[test]
fn the_heartbeat_is_a_setting_that_takes_effect_at_once() {
    let mut cluster = VirtualCluster::new(2, 1);
    let mut spec = cluster.store.cluster().unwrap().spec.clone();
    spec.heartbeat = secs(5);
    let request =
        command::UpdateCluster { version: 1, spec: Some(spec), ..command::UpdateCluster::default() };
    let transaction = command::update_cluster(&cluster.store, request, cluster.now).unwrap();
    cluster.commit(&transaction).unwrap();
    cluster.check_assignments();
    cluster.run_for(secs(20));
    cluster.silence(node(2));
    let took = until(&mut cluster, 2, NodeState::Down).unwrap();
    assert!(took > secs(10) && took <= secs(16), "{took:?}");
}

#[test]
fn an_announced_restart_has_thirty_seconds() {
    let mut cluster = VirtualCluster::new(2, 1);
    let service = cluster.create_service(service_spec("web", 2)).unwrap();
    cluster.run_for(SOON);
    let tasks: Vec<_> = cluster.live(service).iter().map(|task| task.id).collect();
    cluster.restart(node(2));
    cluster.run_for(secs(29));
    assert_eq!(state(&cluster, 2), NodeState::Ready);
    cluster.resume(node(2));
    cluster.run_for(secs(10));
    assert_eq!(
        cluster.live(service).iter().map(|task| task.id).collect::<Vec<_>>(),
        tasks,
        "nothing was replaced"
    );
    cluster.restart(node(2));
    let took = until(&mut cluster, 2, NodeState::Down).unwrap();
    assert!(took >= RESTART_GRACE && took < RESTART_GRACE + secs(1), "{took:?}");
}

#[test]
fn a_new_leader_gives_every_node_a_full_grace_period() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.silence(node(2));
    cluster.run_for(Duration::from_millis(2900));
    cluster.silence(node(3));
    until(&mut cluster, 2, NodeState::Down).unwrap();
    cluster.new_leader();
    let took = until(&mut cluster, 3, NodeState::Down).unwrap();
    assert!(took >= TAKEOVER_GRACE, "{took:?}");
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (NodeState::Ready, NodeState::Down));
}

#[test]
fn a_leader_that_was_frozen_blames_nobody() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.run_for(SOON);
    // Nothing happens for a minute, not even the leader's own alarm; then everything at once.
    cluster.now = cluster.now + secs(60);
    cluster.run_for(SOON);
    assert!((1..=3).all(|number| state(&cluster, number) == NodeState::Ready));
    assert!(cluster.store.nodes().all(|node| node.meta.version < 10), "nobody was down in between");
}

#[test]
fn a_node_that_joined_and_never_spoke_goes_down() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let joined = command::join_node(&store, join_request(2), now).unwrap();
    let mut actions = commit(&mut leader, &mut store, &joined, now, &mut entropy);
    let mut at = now;
    let mut seen = Vec::new();
    for _ in 0..20 {
        let wake_at = actions.wake_at;
        settle(&mut leader, &mut store, actions, at, &mut entropy);
        seen.push((at, store.node(node(2)).unwrap().status.state));
        let Some(next) = wake_at else { break };
        // Node 1 is heard all the time, so only node 2 runs out of it.
        at = next.max(at);
        let beat = Event::Heartbeat { node: node(1), session: SessionId::from_bits(7) };
        actions = leader.step(beat, at, &mut entropy);
    }
    let (down, _) = seen.iter().find(|(_, state)| *state == NodeState::Down).expect("down in the end");
    assert!(down.since(now) >= TAKEOVER_GRACE, "{seen:?}");
}

#[test]
fn a_session_that_ends_is_not_yet_silence() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let ended = Event::SessionClosed { node: node(1), session: SessionId::from_bits(7) };
    let actions = leader.step(ended, now, &mut entropy);
    assert!(actions.propose.is_empty());
    let again = leader.step(opened(1, 8), now + secs(3), &mut entropy);
    assert!(again.propose.is_empty(), "back in time, it was never away");
    let actions = leader.step(Event::Wake, again.wake_at.unwrap(), &mut entropy);
    assert_eq!(actions.propose.len(), 1);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    assert_eq!(store.node(node(1)).unwrap().status.state, NodeState::Down);
}

#[test]
fn a_node_that_is_down_and_heard_again_over_its_old_session_is_ready() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let silence = leader.step(Event::Wake, now, &mut entropy).wake_at.unwrap();
    let actions = leader.step(Event::Wake, silence, &mut entropy);
    settle(&mut leader, &mut store, actions, silence, &mut entropy);
    assert_eq!(store.node(node(1)).unwrap().status.state, NodeState::Down);
    let beat = Event::Heartbeat { node: node(1), session: SessionId::from_bits(7) };
    let actions = leader.step(beat, silence + secs(9), &mut entropy);
    assert!(actions.close.is_empty());
    settle(&mut leader, &mut store, actions, silence, &mut entropy);
    assert_eq!(store.node(node(1)).unwrap().status.state, NodeState::Ready);
}

#[test]
fn what_follows_an_announced_restart_does_not_shorten_it() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let session = SessionId::from_bits(7);
    leader.step(Event::RestartAnnounced { node: node(1), session }, now, &mut entropy);
    // A heartbeat that was under way, and the connection's end.
    leader.step(Event::Heartbeat { node: node(1), session }, now, &mut entropy);
    let actions = leader.step(Event::SessionClosed { node: node(1), session }, now, &mut entropy);
    let due = actions.wake_at.unwrap();
    assert!(due.since(now) >= RESTART_GRACE, "{due:?}");
    let forged = Event::RestartAnnounced { node: node(1), session: SessionId::from_bits(9) };
    assert_eq!(
        leader.step(forged, now + secs(9), &mut entropy).wake_at,
        Some(due),
        "only a node's own session speaks for it"
    );
    let actions = leader.step(Event::Wake, due, &mut entropy);
    settle(&mut leader, &mut store, actions, due, &mut entropy);
    assert_eq!(store.node(node(1)).unwrap().status.state, NodeState::Down);
}

#[test]
fn a_hundred_nodes_that_fall_silent_at_once_are_down_in_one_batch() {
    let mut cluster = VirtualCluster::new(100, 1);
    let applied = cluster.applied;
    for number in 2..=100 {
        cluster.silence(node(number));
    }
    cluster.run_for(secs(5));
    let down = cluster.store.nodes().filter(|node| node.status.state == NodeState::Down).count();
    assert_eq!(down, 99);
    assert!(cluster.applied - applied <= 20, "{} log entries", cluster.applied - applied);
}
