//! Several managers in one process, over real TLS on loopback: entering, leaving, restarts, and going on alone.

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Each test crate uses a part of it.
#[allow(dead_code)]
mod common;

use std::net::SocketAddr;

use common::node::{Node, Stopped, leader, three};
use common::{PATIENCE, amended, service};
use mesh_core::command::{create_service, remove_node, update_node};
use mesh_core::id::{NodeId, ServiceId};
use mesh_core::spec::{NodeSpec, Role};
use meshd::clock::now;
use meshd::entropy::SystemEntropy;
use meshd::office::{Loss, Post};

async fn create(node: &Node, name: &str) -> ServiceId {
    let (id, transaction) =
        create_service(&node.store(), service(name, 0), now(), &mut SystemEntropy).unwrap();
    node.raft().propose(transaction).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_join_vote_and_have_the_same_store() {
    let nodes = three().await;
    let ids: Vec<u64> = nodes.iter().map(Node::raft_id).collect();
    let service = create(&nodes[0], "web").await;
    for node in &nodes {
        node.wait_voters(&ids).await;
        node.wait("service", |store| store.service(service).map(drop)).await;
        node.served().await;
    }
    let store = nodes[2].store();
    for node in &nodes {
        let status = store.node(node.node()).unwrap().manager.clone().unwrap();
        assert_eq!((status.raft_id, status.addr), (node.raft_id(), node.record.now().manager_addr()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_and_comes_back() {
    let [first, second, third] = three().await;
    let stopped = first.stop().await;
    // It has handed over: nobody had to wait for an election timeout.
    assert!([&second, &third].iter().any(|node| node.raft().role().borrow().leader.is_some()));
    let service = create(leader(&[&second, &third]).await, "web").await;
    let first = stopped.start().await;
    first.seated().await;
    first.wait("service made meanwhile", |store| store.service(service).map(drop)).await;
    first.served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_managers_restart() {
    let [first, second, third] = three().await;
    let service = create(&first, "web").await;
    let stopped = [third.stop().await, second.stop().await, first.stop().await];
    let mut back = Vec::new();
    for stopped in stopped {
        back.push(stopped.start().await);
    }
    let nodes: Vec<&Node> = back.iter().collect();
    leader(&nodes).await;
    for node in nodes {
        node.served().await;
        assert!(node.store().service(service).is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_was_killed_before_it_entered_goes_on_where_it_was() {
    let first = Node::found().await;
    let second = Node::let_in(&first, Role::Manager).await.start().await;
    second.seated().await;
    first.wait_voters(&[first.raft_id(), second.raft_id()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_whose_number_is_gone_draws_another() {
    let [first, second, third] = three().await;
    let gone = third.raft_id();
    first.raft().change(mesh_raft::MemberChange::Remove { id: gone }).await.unwrap();
    let mut record = third.record.watch();
    let drawn = record.wait_for(|now| now.raft_id.is_some_and(|id| id != gone));
    drop(tokio::time::timeout(PATIENCE, drawn).await.unwrap().unwrap());
    third.seated().await;
    first.wait_voters(&[first.raft_id(), second.raft_id(), third.raft_id()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_departs_and_the_others_do_not_count_it() {
    let [first, second, third] = three().await;
    assert_eq!(first.office.loss().await, Loss::Spare);
    second.office.depart().await;
    first.wait_voters(&[first.raft_id(), third.raft_id()]).await;
    assert!(first.store().node(second.node()).unwrap().manager.is_none());
    // The leader goes, too: it hands over first.
    first.office.depart().await;
    third.wait_voters(&[third.raft_id()]).await;
    assert_eq!(third.office.loss().await, Loss::Cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_has_just_taken_over_knows_what_the_others_lose() {
    let [first, second, third] = three().await;
    for (from, to) in [(&first, &second), (&second, &third), (&third, &first)] {
        from.raft().transfer(Some(to.raft_id())).await.unwrap();
        to.leads().await;
        assert_eq!(to.office.loss().await, Loss::Spare);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_left_goes_on_alone_with_everything() {
    let [first, second, third] = three().await;
    let service = create(&first, "web").await;
    third.wait("service", |store| store.service(service).map(drop)).await;
    let tokens = |node: &Node| [Role::Worker, Role::Manager].map(|role| node.token(role).to_string());
    let before = tokens(&first);
    drop((first.stop().await, second.stop().await));
    let surveyed = third.office.survey_new_cluster().await.unwrap();
    assert_eq!((surveyed.dropped.len(), surveyed.store.services().count()), (2, 1));
    let forced = third.office.force_new_cluster().await.unwrap();
    assert_eq!(forced.dropped, surveyed.dropped);
    third.leads().await;
    third.wait_voters(&[third.raft_id()]).await;
    assert!(third.store().service(service).is_some());
    assert_eq!(tokens(&third), before);
    let managers: Vec<_> =
        third.store().nodes().filter(|node| node.manager.is_some()).map(|node| node.id).collect();
    assert_eq!(managers, [third.node()]);
    // And grows again.
    let fourth = Node::join(&third, Role::Manager).await;
    fourth.seated().await;
    create(&third, "later").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_that_were_dropped_come_back_as_workers_and_make_no_second_cluster() {
    let [first, second, third] = three().await;
    let dropped = [first.stop().await, second.stop().await];
    third.office.force_new_cluster().await.unwrap();
    // They are a majority of the group that was.
    let [first, second] = dropped.map(Stopped::start);
    let (first, second) = tokio::join!(first, second);
    for node in [&first, &second] {
        node.served().await;
        node.vacant().await;
    }
    third.wait_voters(&[third.raft_id()]).await;
    set_role(&third, &first, Role::Manager).await;
    first.seated().await;
}

/// As one does that went before it heard of the last that joined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_finds_those_that_its_own_state_tells_of() {
    let [first, second, third] = three().await;
    let (gone, stopped) = (first.stop().await, second.stop().await);
    third.office.force_new_cluster().await.unwrap();
    stopped.knows_only(&[gone.addr(), stopped.addr()]);
    let second = stopped.start().await;
    assert_eq!(second.open_not_at(Some(second.addr())).await.0, third.addr());
    second.vacant().await;
}

/// Both were away while every manager that they knew was replaced by one that they have never heard of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_no_manager_any_more_is_told_where_they_are() {
    let three = three().await;
    let first = &three[0];
    // The leader goes to where a node listens by its own port.
    let port = {
        let free = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        free.local_addr().unwrap().port()
    };
    let at = |number| SocketAddr::from(([127, 0, 0, number], port));
    let manager = Node::join_at(first, Role::Manager, at(2)).await;
    manager.seated().await;
    let worker = Node::join_at(first, Role::Worker, at(3)).await;
    worker.served().await;
    let away = [manager.stop().await, worker.stop().await];
    let last = Node::join_at(first, Role::Manager, at(4)).await;
    last.seated().await;
    set_role_of(first, away[0].node(), Role::Worker).await;
    last.wait("demotion", |store| store.node(away[0].node())?.manager.is_none().then_some(())).await;
    for old in &three {
        old.office.depart().await;
    }
    last.wait_voters(&[last.raft_id()]).await;
    for old in three {
        drop(old.stop().await);
    }
    for stopped in away {
        let node = stopped.start().await;
        assert_eq!(node.open_not_at(Some(node.addr())).await.0, last.addr());
        node.vacant().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_does_not_answer_is_not_let_in() {
    let first = Node::found().await;
    let closed = {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap()
    };
    let refused = Node::apply(&first, Role::Manager, closed).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("manager could not be added: {closed} does not answer")), "{refused}");
    assert_eq!(first.store().nodes().count(), 1, "nobody was let in");
    // A worker need not be reached.
    Node::apply(&first, Role::Worker, closed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_manager_is_a_worker_with_nothing_left_of_it() {
    let [first, second, third] = three().await;
    set_role(&first, &second, Role::Worker).await;
    second.vacant().await;
    first.wait_voters(&[first.raft_id(), third.raft_id()]).await;
    second.served().await;
    // With two left, each needs the other's vote to be let go.
    set_role(&first, &third, Role::Worker).await;
    third.vacant().await;
    first.wait_voters(&[first.raft_id()]).await;
    create(&first, "web").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_becomes_a_manager_and_a_worker_again_and_is_served_all_the_time() {
    let first = Node::found().await;
    let second = Node::join(&first, Role::Worker).await;
    second.served().await;
    for _ in 0..2 {
        set_role(&first, &second, Role::Manager).await;
        second.seated().await;
        first.wait_voters(&[first.raft_id(), second.raft_id()]).await;
        assert_eq!(second.keys.identity().peer().role, Role::Manager);
        set_role(&first, &second, Role::Worker).await;
        second.vacant().await;
        first.wait_voters(&[first.raft_id()]).await;
    }
    second.served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_demoted_while_it_leaves_comes_to_its_end() {
    let [first, second, third] = three().await;
    let mut record = second.record.watch();
    set_role(&first, &second, Role::Worker).await;
    drop(record.wait_for(|now| now.role == Role::Worker).await.unwrap());
    second.record.close().await;
    first.wait_voters(&[first.raft_id(), third.raft_id()]).await;
    second.wait_post("an empty office", |post| matches!(post, Post::Vacant)).await;
    drop(tokio::time::timeout(PATIENCE, second.stop()).await.expect("it goes on for ever"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_leader_hands_over_first() {
    let [first, second, third] = three().await;
    set_role(&first, &first, Role::Worker).await;
    first.vacant().await;
    let leader = leader(&[&second, &third]).await;
    leader.wait_voters(&[second.raft_id(), third.raft_id()]).await;
    create(leader, "web").await;
    first.served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_was_removed_from_the_cluster_counts_no_more() {
    let [first, second, third] = three().await;
    let gone = third.stop().await;
    let id = gone.node();
    let answering = [first.raft_id(), second.raft_id()].into();
    amended(&first.raft(), |store| remove_node(store, id, true, &answering, now())).await;
    first.wait_voters(&[first.raft_id(), second.raft_id()]).await;
    drop(gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_manager_says_so_and_is_let_go_by_the_others() {
    let [first, second, third] = three().await;
    let stopped = third.stop().await;
    std::fs::write(stopped.raft_file(), "nothing that raft wrote").unwrap();
    let third = stopped.start().await;
    let post = third.office.post().borrow().clone();
    let Post::Closed { error } = post else { panic!("its state was taken") };
    assert!(error.contains("state.redb") && error.contains("--force-new-cluster"), "{error}");
    third.served().await;
    set_role(&first, &third, Role::Worker).await;
    third.vacant().await;
    first.wait_voters(&[first.raft_id(), second.raft_id()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_lost_its_state_comes_as_another_member() {
    let [first, second, third] = three().await;
    let lost = third.raft_id();
    let stopped = third.stop().await;
    std::fs::remove_dir_all(stopped.raft_file().parent().unwrap()).unwrap();
    let third = stopped.start().await;
    third.seated().await;
    assert_ne!(third.raft_id(), lost);
    first.wait_voters(&[first.raft_id(), second.raft_id(), third.raft_id()]).await;
    assert!(first.raft().members().borrow().is_removed(lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_reached_elsewhere_tells_the_others() {
    let [first, second, third] = three().await;
    let stopped = third.stop().await;
    let addr = stopped.move_away().await;
    let third = stopped.start().await;
    first
        .wait("new address", |store| {
            let manager = store.node(third.node())?.manager.as_ref()?;
            (manager.addr == addr).then_some(())
        })
        .await;
    first.wait_voters(&[first.raft_id(), second.raft_id(), third.raft_id()]).await;
    let member = second.raft().members().borrow().get(third.raft_id()).unwrap();
    assert_eq!(member.addr, Some(addr));
}

/// As `node promote` and `node demote` do.
async fn set_role(leader: &Node, node: &Node, role: Role) {
    set_role_of(leader, node.node(), role).await;
}

async fn set_role_of(leader: &Node, node: NodeId, role: Role) {
    amended(&leader.raft(), |store| {
        let known = store.node(node).unwrap();
        let spec = NodeSpec { role, ..known.spec.clone() };
        let reachable = store.nodes().filter_map(|node| Some(node.manager.as_ref()?.raft_id)).collect();
        update_node(store, known.id, known.meta.version, spec, &reachable, now())
    })
    .await;
}
