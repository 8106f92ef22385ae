//! Several managers in one process: what goes through one that does not lead, and nodes whose managers come and
//! go.

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Each test crate uses a part of it.
#[allow(dead_code)]
mod common;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use common::node::{Node, leader, three};
use common::{PATIENCE, service};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use mesh_core::command::create_service;
use mesh_core::id::TaskId;
use mesh_core::object::{NodeState, TaskState};
use mesh_core::spec::Role;
use meshd::clock::now;
use meshd::entropy::SystemEntropy;
use meshd::rpc::forward::{API_PREFIX, ForwardError, Lane, Passed};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

async fn create(by: &Node, name: &str, replicas: u32) {
    let (_, transaction) =
        create_service(&by.store(), service(name, replicas), now(), &mut SystemEntropy).unwrap();
    by.raft().propose(transaction).await.unwrap();
}

/// Waits until this many tasks run.
async fn running(by: &Node, count: usize) -> Vec<TaskId> {
    by.wait("running tasks", |store| {
        let running = store.tasks().filter(|task| task.status.state == TaskState::Running);
        let running: Vec<TaskId> = running.map(|task| task.id).collect();
        (running.len() == count).then_some(running)
    })
    .await
}

/// An API that gives back what it is sent, or nothing at all.
fn api() -> Router {
    let echo = |request: Request| async move { Response::new(request.into_body()) };
    let silent = || async { std::future::pending::<StatusCode>().await };
    let endless = || async {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first"))]);
        let rest = futures_util::stream::pending();
        Response::new(Body::from_stream(futures_util::StreamExt::chain(first, rest)))
    };
    Router::new()
        .route("/services/echo", post(echo))
        .route("/services/silent", get(silent))
        .route("/services/endless", get(endless))
        .route("/swarm/leave", post(echo))
}

fn ask(method: &str, path: &str, body: Body) -> Request {
    let uri: Uri = format!("{API_PREFIX}{path}").parse().unwrap();
    Request::builder().method(method).uri(uri).body(body).unwrap()
}

async fn pass(by: &Node, request: Request) -> Result<Response, ForwardError> {
    match by.to_leader().pass(Lane::Users, request, None).await? {
        Passed::Answered(response) => Ok(response),
        Passed::Here(_) => panic!("it leads"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_passed_on_whole_and_its_answer_comes_back_whole() {
    let [first, second, third] = three().await;
    first.api.set(Some(api()));
    for follower in [&second, &third] {
        // The answer begins before the question ends: both stream.
        let (frames, body) = mpsc::channel(1);
        let body = Body::new(StreamBody::new(ReceiverStream::new(body)));
        let part = Bytes::from(vec![7; 1 << 20]);
        frames.send(Ok::<_, std::io::Error>(Frame::data(part.clone()))).await.unwrap();
        let response = pass(follower, ask("POST", "/services/echo", body)).await.unwrap();
        let mut body = response.into_body();
        let read = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        // What is under way does not need that anything new is sent the same way.
        follower.to_leader().hang_up(Lane::Users).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let last = trailers.clone();
        tokio::spawn(async move {
            for _ in 1..8 {
                frames.send(Ok(Frame::data(part.clone()))).await.unwrap();
            }
            frames.send(Ok(Frame::trailers(last))).await.unwrap();
        });
        let rest = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        assert_eq!(rest.trailers(), Some(&trailers));
        assert_eq!(read + rest.to_bytes().len(), 8 << 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_keeps_what_it_is_asked_itself_and_answers_for_the_cluster_alone() {
    let [first, second, _third] = three().await;
    first.api.set(Some(api()));
    let request = ask("POST", "/services/echo", Body::from("mine"));
    let Passed::Here(request) = first.to_leader().pass(Lane::Users, request, None).await.unwrap() else {
        panic!("it leads")
    };
    assert_eq!(request.uri().path(), format!("{API_PREFIX}/services/echo"));
    assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "mine");
    // What concerns the leader as a node is not for others to ask.
    let refused = pass(&second, ask("POST", "/swarm/leave", Body::empty())).await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_ends_with_its_leader_and_is_not_sent_to_the_next() {
    let [first, second, third] = three().await;
    for node in [&first, &second, &third] {
        node.api.set(Some(api()));
    }
    let response = pass(&second, ask("GET", "/services/endless", Body::empty())).await.unwrap();
    let mut endless = response.into_body();
    assert_eq!(endless.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let to_leader = second.to_leader();
    let silent = tokio::spawn(async move {
        to_leader.pass(Lane::Users, ask("GET", "/services/silent", Body::empty()), None).await
    });
    let stopped = first.stop().await;
    timeout(PATIENCE, endless.frame()).await.unwrap().unwrap().unwrap_err();
    let silent = timeout(PATIENCE, silent).await.unwrap().unwrap();
    assert_eq!(silent.unwrap_err(), ForwardError::Broken);
    // The next one answers.
    let leader = leader(&[&second, &third]).await;
    let follower = if leader.node() == second.node() { &third } else { &second };
    let response = pass(follower, ask("POST", "/services/echo", Body::from("again"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "again");
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_a_request_is_refused_soon_and_was_sent_to_nobody() {
    let [first, second, third] = three().await;
    drop((first.stop().await, second.stop().await));
    third.wait_role("end of the last leader", |state| !state.is_leader() && state.leader.is_none()).await;
    let asked = timeout(Duration::from_secs(10), pass(&third, ask("POST", "/services/echo", Body::empty())));
    assert_eq!(asked.await.unwrap().unwrap_err(), ForwardError::NoLeader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_moves_on_when_its_manager_goes_and_is_told_no_more_than_it_missed() {
    let nodes = three().await;
    let worker = Node::join(&nodes[0], Role::Worker).await;
    create(&nodes[0], "web", 4).await;
    running(&nodes[0], 4).await;
    let mut up: Vec<Node> = nodes.into();
    for _ in 0..4 {
        let (manager, _) = worker.open().await;
        let at = up.iter().position(|node| node.addr() == manager).unwrap();
        let stopped = up.remove(at).stop().await;
        let (_, resumed) = worker.open_not_at(Some(manager)).await;
        assert!(resumed, "it was told everything again");
        let back = stopped.start().await;
        back.seated().await;
        let (_, resumed) = back.open().await;
        assert!(resumed, "a restarted daemon was told everything again");
        up.push(back);
    }
    // All of them go on as one: what is new reaches every node.
    create(leader(&up.iter().collect::<Vec<_>>()).await, "more", 4).await;
    running(&up[0], 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_there_was_no_leader_is_told_to_the_next() {
    let [first, second, third] = three().await;
    let worker = Node::join(&first, Role::Worker).await;
    first
        .wait("four nodes that are ready", |store| {
            let ready = store.nodes().filter(|node| node.status.state == NodeState::Ready);
            (ready.count() == 4).then_some(())
        })
        .await;
    create(&first, "web", 8).await;
    let tasks = running(&first, 8).await;
    let own: Vec<TaskId> =
        tasks.into_iter().filter(|id| first.store().task(*id).unwrap().node == Some(worker.node())).collect();
    assert!(!own.is_empty(), "eight tasks on four nodes");
    let stopped = (first.stop().await, second.stop().await);
    for id in &own {
        worker.runtime.kill(*id, 3).await;
    }
    let first = stopped.0.start().await;
    for id in own {
        first
            .wait("the failure that nobody heard at first", |store| {
                store.task(id).filter(|task| task.status.state == TaskState::Failed).map(drop)
            })
            .await;
    }
    drop(third);
}
