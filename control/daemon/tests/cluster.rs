//! A manager and a worker in one process, over real TLS on loopback: joining, sessions, the way of a task
//! from the user's request to its report, and restarts of either side. Runtime and network are fakes that
//! remember what they were asked.

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used)]

// Each of these crates uses a part of it.
#[allow(dead_code)]
mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Cluster, PATIENCE, Worker};
use mesh_core::id::{NodeId, TaskId};
use mesh_core::object::{Health, NodeState, Task, TaskState};
use mesh_core::spec::Role;
use mesh_core::store::Store;
use mesh_identity::{
    Authority, CertificateRequest, JoinToken, LiveTls, NODE_CERTIFICATE_LIFE, TokenSecret, TrustBundle,
};
use mesh_runtime::health::{HealthCheck, Probe};
use meshd::error::DaemonError;
use meshd::rpc::proto::AgentMessage;
use meshd::rpc::proto::dispatcher_client::DispatcherClient;
use meshd::settling::Settlement;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_runs_on_a_node_that_joined_by_token() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    cluster.create_service("web", 3).await;
    let tasks = cluster.wait("three running tasks", |store| {
        let running: Vec<_> =
            store.tasks().filter(|task| task.status.state == TaskState::Running).cloned().collect();
        (running.len() == 3).then_some(running)
    });
    for task in tasks.await {
        assert_eq!(task.node, Some(worker.node()));
        let container = task.status.container.clone().unwrap();
        assert_eq!(container.container_id.len(), 64);
        let seen = worker.runtime.log(task.id);
        assert_eq!(seen, ["prepare", "start"], "{}", task.id);
        assert!(worker.network.knew_before_start(task.id), "{}", task.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_task_is_reported_and_replaced() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    cluster.create_service("web", 1).await;
    let first = cluster.wait_running(1).await.remove(0);
    worker.runtime.kill(first.id, 137).await;
    let failed = cluster
        .wait("the failure", |store| {
            store.task(first.id).filter(|task| task.status.state == TaskState::Failed).cloned()
        })
        .await;
    assert_eq!(failed.status.err, "task: non-zero exit (137)");
    let second = cluster.wait_running(1).await.remove(0);
    assert_ne!(second.id, first.id);
    worker.runtime.wait_for(first.id, "remove").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_network_cannot_be_made_says_why_while_it_waits() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    let reason = "veth: no buffer space available";
    worker.network.break_down(Some(reason));
    cluster.create_service("web", 1).await;
    let waiting = cluster
        .wait("the reason", |store| store.tasks().find(|task| task.status.err == reason).cloned())
        .await;
    assert_eq!(waiting.status.state, TaskState::Preparing);
    worker.network.break_down(None);
    let task = cluster.wait_running(1).await.remove(0);
    assert_eq!((task.id, task.status.err.as_str()), (waiting.id, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_network_cannot_be_made_as_keeps_no_task_from_leaving() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    let service = cluster.create_service("web", 2).await;
    let tasks = cluster.wait_running(2).await;
    worker.network.break_down(Some("nf_tables: cannot allocate memory"));
    cluster.scale_service(service, 1).await;
    let (left, ..) = cluster.wait("a task that leaves", leaving).await;
    worker.runtime.wait_for(left, "remove").await;
    cluster.remove_service(service).await;
    for task in &tasks {
        worker.runtime.wait_for(task.id, "remove").await;
        assert_eq!(worker.runtime.log(task.id), ["prepare", "start", "stop", "remove"]);
    }
    cluster.wait("an empty store", |store| (store.tasks().count() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_service_is_out_of_the_network_before_its_signal() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    let service = cluster.create_service("web", 1).await;
    let task = cluster.wait_running(1).await.remove(0);
    cluster.remove_service(service).await;
    worker.runtime.wait_for(task.id, "remove").await;
    assert_eq!(worker.runtime.log(task.id), ["prepare", "start", "stop", "remove"]);
    assert!(worker.network.withdrew_before_stop(task.id));
    cluster.wait("an empty store", |store| (store.tasks().count() == 0).then_some(())).await;
}

/// The service's task that is on its way out, and whether every node has let go of it.
fn leaving(store: &Store) -> Option<(TaskId, NodeId, bool)> {
    let task = store.tasks().find(|task| task.desired_state > TaskState::Running)?;
    Some((task.id, task.node?, task.leaving?.cleared))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_serves_until_every_node_has_let_go_of_it_and_then_until_nobody_is_connected() {
    let cluster = Cluster::start().await;
    let mut workers = vec![Worker::join(&cluster).await, Worker::join(&cluster).await];
    // Nobody waits for a node that is not there yet.
    for worker in &workers {
        worker.served().await;
    }
    let service = cluster.create_service("web", 2).await;
    for task in cluster.wait_running(2).await {
        for worker in &workers {
            worker.runtime.connect(task.id, 1);
        }
    }
    for worker in &workers {
        worker.network.hold(true);
    }
    cluster.scale_service(service, 1).await;
    let (task, node, cleared) = cluster.wait("a task that leaves", leaving).await;
    assert!(!cleared, "both nodes still send to it");
    let at = workers.iter().position(|worker| worker.node() == node).unwrap();
    let there = workers.swap_remove(at);
    there.network.hold(false);
    let waiting = cluster.settled(Duration::from_millis(300)).await.waiting;
    assert_eq!(waiting, [workers[0].node()]);
    assert!(!leaving(&cluster.raft().store()).unwrap().2, "one still does");
    workers[0].network.hold(false);
    cluster.wait("the word of both", |store| leaving(store).filter(|(_, _, cleared)| *cleared)).await;
    // Its daemon restarts meanwhile, and goes on with what is left of the time.
    let there = there.restart().await;
    there.served().await;
    assert!(cluster.settled(PATIENCE).await.settled);
    assert_eq!(there.runtime.log(task), ["prepare", "start"], "somebody is connected");
    there.runtime.connect(task, 0);
    there.runtime.wait_for(task, "remove").await;
    assert_eq!(there.runtime.log(task), ["prepare", "start", "stop", "remove"]);
    assert!(there.network.withdrew_before_stop(task));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_worker_goes_on_with_its_tasks() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    cluster.create_service("web", 2).await;
    let before: Vec<_> = cluster.wait_running(2).await.iter().map(|task| task.id).collect();
    let worker = worker.restart().await;
    worker.served().await;
    // A change that only a served agent carries out: so it has heard everything by then.
    cluster.create_service("later", 1).await;
    let after = cluster.wait_running(3).await;
    for task in &before {
        assert!(after.iter().any(|now| now.id == *task), "{task} was replaced");
        assert_eq!(worker.runtime.log(*task), ["prepare", "start"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_what_it_knew_goes_on_with_what_it_is_told_of() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    let service = cluster.create_service("web", 1).await;
    let task = cluster.wait_running(1).await.remove(0);
    assert!(cluster.settled(PATIENCE).await.settled);
    let away = worker.stop().await;
    away.forget();
    let worker = away.start().await;
    worker.served().await;
    assert!(cluster.settled(PATIENCE).await.settled && worker.network.serves(task.id));
    assert_eq!(cluster.wait_running(1).await.remove(0).id, task.id);
    assert_eq!(worker.runtime.log(task.id), ["prepare", "start"]);

    let away = worker.stop().await;
    away.forget();
    cluster.remove_service(service).await;
    let worker = away.start().await;
    worker.runtime.wait_for(task.id, "remove").await;
    assert_eq!(worker.runtime.log(task.id), ["prepare", "start", "stop", "remove"]);
    cluster.wait("an empty store", |store| (store.tasks().count() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_manager_finds_its_worker_and_its_tasks() {
    let mut cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    cluster.create_service("web", 2).await;
    let before: Vec<_> = cluster.wait_running(2).await.iter().map(|task| task.id).collect();
    cluster.stop_manager().await;
    let ended = before[0];
    worker.runtime.kill(ended, 3).await;
    cluster.start_manager().await;
    let failed = cluster
        .wait("the failure that nobody heard at first", |store| {
            store.task(ended).filter(|task| task.status.state == TaskState::Failed).cloned()
        })
        .await;
    assert_eq!(failed.status.err, "task: non-zero exit (3)");
    assert_eq!(worker.runtime.log(before[1]), ["prepare", "start"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_is_gone_at_once_and_one_that_restarts_is_not() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    let id = worker.node();
    worker.served().await;
    let state = |store: &mesh_core::store::Store| store.node(id).map(|node| node.status.state);
    cluster.wait("a ready node", |store| (state(store) == Some(NodeState::Ready)).then_some(())).await;
    let worker = worker.restart().await;
    worker.served().await;
    assert_eq!(state(&cluster.raft().store()), Some(NodeState::Ready));
    worker.leave().await;
    let left = cluster
        .wait("a node that left", |store| {
            store.node(id).filter(|node| node.status.state == NodeState::Disconnected).cloned()
        })
        .await;
    assert_eq!(left.status.message, "the node left the cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_are_refused_for_good() {
    let cluster = Cluster::start().await;
    let right = cluster.token(Role::Worker);
    let stranger = Authority::create(mesh_core::id::ClusterId::from_bits(9), SystemTime::now()).unwrap();
    let cases = [
        (JoinToken { root: stranger.root().digest(), ..right }, "does not match fingerprint"),
        (JoinToken { secret: TokenSecret::from_random(1), ..right }, "A valid join token is necessary"),
        (cluster.token(Role::Manager), "it does not listen for others: nothing listens here"),
    ];
    for (token, words) in cases {
        let refused = cluster.application(token).pursue(drop).await.unwrap_err();
        assert!(matches!(refused, DaemonError::JoinRefused { .. }), "{refused:?}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert_eq!(cluster.raft().store().nodes().count(), 1, "nobody was let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_for_nodes_of_the_cluster_alone() {
    let cluster = Cluster::start().await;
    let nobody = mesh_identity::tls::joiner_config(cluster.token(Role::Worker).root, None).unwrap();
    let (to, hello) = tokio::sync::mpsc::channel(1);
    to.send(AgentMessage { kind: None }).await.unwrap();
    let channel = meshd::rpc::client::connect(cluster.addr().to_string(), nobody.into()).await.unwrap();
    let refused = DispatcherClient::new(channel)
        .session(tokio_stream::wrappers::ReceiverStream::new(hello))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    // A request of another cluster's node does not even get through TLS.
    let other = Authority::create(mesh_core::id::ClusterId::from_bits(9), SystemTime::now()).unwrap();
    let csr = CertificateRequest::create().unwrap();
    let subject =
        (mesh_core::id::NodeId::from_bits(3), Role::Manager, mesh_core::id::ClusterId::from_bits(9));
    let certificate =
        other.issue(&csr.request_pem, subject, SystemTime::now(), NODE_CERTIFICATE_LIFE).unwrap();
    let stranger = mesh_identity::tls::NodeIdentity::new(&certificate, &csr.key_pem).unwrap();
    let trust = TrustBundle::of(other.root().clone());
    let tls = LiveTls::new(&stranger, trust).unwrap().client_config().unwrap();
    assert!(meshd::rpc::client::connect(cluster.addr().to_string(), tls.into()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_settled_once_the_slowest_node_has_it_and_the_dead_are_not_waited_for() {
    let cluster = Cluster::start().await;
    let (quick, slow) = (Worker::join(&cluster).await, Worker::join(&cluster).await);
    quick.served().await;
    slow.served().await;
    let all = Settlement { settled: true, waiting: Vec::new() };
    assert_eq!(cluster.settled(PATIENCE).await, all);

    slow.network.hold(true);
    cluster.create_service("one", 0).await;
    let waited = cluster.settled(Duration::from_millis(300)).await;
    assert_eq!(waited, Settlement { settled: false, waiting: vec![slow.node()] });
    let (later, ()) = tokio::join!(cluster.settled(PATIENCE), async { slow.network.hold(false) });
    assert_eq!(later, all);

    slow.network.hold(true);
    cluster.create_service("two", 0).await;
    let (left, ()) = tokio::join!(cluster.settled(PATIENCE), async { slow.crash() });
    assert_eq!(left, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_changed_nothing_is_settled_too() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    worker.served().await;
    cluster.conflict().await;
    // Sooner than any other entry comes by itself.
    assert!(cluster.settled(Duration::from_secs(3)).await.settled);
    cluster.create_service("one", 2).await;
    cluster.wait_running(2).await;
    assert!(cluster.settled(PATIENCE).await.settled);
}

/// Every 10 ms, as often in a row as `retries` says.
fn check(retries: u32) -> HealthCheck {
    HealthCheck {
        probe: Probe::Exec(vec!["probe".to_owned()]),
        interval: Duration::from_millis(10),
        timeout: PATIENCE,
        start_period: Duration::ZERO,
        start_interval: Duration::from_millis(10),
        retries,
    }
}

/// The only task, once its probe says this.
async fn wait_health(cluster: &Cluster, health: Health) -> Arc<Task> {
    let look = |store: &Store| {
        let task = store.tasks().find(|task| !task.status.state.is_final())?;
        let said = task.status.container.as_ref().map(|container| container.health);
        (said == Some(health)).then(|| task.clone())
    };
    cluster.wait(&format!("task that is {health:?}"), look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_once_it_is_healthy_and_serves_while_it_is() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    worker.runtime.probe_with(check(u32::MAX));
    cluster.create_service("web", 1).await;
    let starting = wait_health(&cluster, Health::Starting).await;
    worker.runtime.wait_for(starting.id, "start").await;
    let complaint = "health check failed: probe";
    cluster
        .wait("word of why it does not run", |store| {
            let status = &store.task(starting.id)?.status;
            (status.state == TaskState::Starting && status.err == complaint).then_some(())
        })
        .await;
    worker.runtime.set_healthy(true);
    let running = cluster.wait_running(1).await.remove(0);
    let health = running.status.container.as_ref().map(|container| container.health);
    assert_eq!((running.id, health, running.status.err.as_str()), (starting.id, Some(Health::Healthy), ""));
    assert!(cluster.settled(PATIENCE).await.settled && worker.network.serves(running.id));

    for _ in 0..3 {
        worker.runtime.set_healthy(false);
        let failing = wait_health(&cluster, Health::Failing).await;
        assert_eq!((failing.status.state, failing.status.err.as_str()), (TaskState::Running, complaint));
        assert!(cluster.settled(PATIENCE).await.settled && !worker.network.serves(running.id));
        worker.runtime.set_healthy(true);
        let healthy = wait_health(&cluster, Health::Healthy).await;
        assert_eq!((healthy.id, healthy.status.err.as_str()), (running.id, ""));
        assert!(cluster.settled(PATIENCE).await.settled && worker.network.serves(running.id));
    }
    assert_eq!(worker.runtime.log(running.id), ["prepare", "start"], "it was left alone all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_task_is_withdrawn_stopped_and_replaced() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    worker.runtime.probe_with(check(3));
    worker.runtime.set_healthy(true);
    cluster.create_service("web", 1).await;
    let first = cluster.wait_running(1).await.remove(0);
    worker.runtime.set_healthy(false);
    let failed = cluster
        .wait("end of the task", |store| {
            store.task(first.id).filter(|task| task.status.state == TaskState::Failed).cloned()
        })
        .await;
    let words = "task: non-zero exit (143): unhealthy container (health check failed: probe)";
    assert_eq!(failed.status.err, words);
    assert!(worker.network.withdrew_before_stop(first.id));
    worker.runtime.set_healthy(true);
    assert_ne!(cluster.wait_running(1).await.remove(0).id, first.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_never_healthy_fails_without_having_run() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    worker.runtime.probe_with(check(2));
    cluster.create_service("web", 1).await;
    let failed = cluster.wait("end of a task", |store| {
        store.tasks().find(|task| task.status.state == TaskState::Failed).cloned()
    });
    let failed = failed.await;
    assert!(failed.status.err.contains("unhealthy container"), "{}", failed.status.err);
    assert_eq!(failed.running_at, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_worker_goes_on_probing() {
    let cluster = Cluster::start().await;
    let worker = Worker::join(&cluster).await;
    worker.runtime.probe_with(check(u32::MAX));
    worker.runtime.set_healthy(true);
    cluster.create_service("web", 1).await;
    let task = cluster.wait_running(1).await.remove(0);
    let worker = worker.restart().await;
    worker.served().await;
    worker.runtime.set_healthy(false);
    let failing = wait_health(&cluster, Health::Failing).await;
    let worker = worker.restart().await;
    worker.served().await;
    assert_eq!(failing.id, task.id);
    worker.runtime.set_healthy(true);
    assert_eq!(wait_health(&cluster, Health::Healthy).await.id, task.id);
    assert_eq!(worker.runtime.log(task.id), ["prepare", "start"]);
}
