//! An agent alone, told by hand what it should have.

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used)]

// Each of these crates uses a part of it.
#[allow(dead_code)]
mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::fakes::{FakeNetwork, FakeRuntime};
use mesh_core::assignment::{AssignmentSet, AssignmentUpdate, Held};
use mesh_core::id::{NodeId, TaskId};
use mesh_core::spec::{HealthConfig, Resources};
use mesh_runtime::task::TaskLaunch;
use meshd::agent::saved::SavedFile;
use meshd::agent::seam::TaskRuntime;
use meshd::agent::ways::{AgentHandle, Event, ways};
use meshd::agent::worker;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

/// An agent that knows of nothing.
struct Agent {
    handle: AgentHandle,
    /// Raised when it is dropped.
    _stop: watch::Sender<bool>,
    _dir: TempDir,
}

impl Agent {
    async fn start(runtime: &FakeRuntime) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let facts = common::facts(NodeId::from_bits(1), "w1", [192, 0, 2, 11].into());
        let network = FakeNetwork::new(runtime.journal());
        let file = SavedFile::new(dir.path().join("view"));
        let (handle, inbox) = ways();
        let (stop, stopping) = watch::channel(false);
        worker::start(facts, runtime.clone(), network, file, inbox, stopping).await.unwrap();
        Self { handle, _stop: stop, _dir: dir }
    }

    /// What it has of its assignments, once it has looked at all that was told before.
    async fn held(&self) -> Option<Held> {
        let (reply, held) = oneshot::channel();
        self.handle.events.send(Event::Recall(reply)).unwrap();
        held.await.unwrap()
    }

    /// It should have nothing.
    fn tell_nothing(&self) {
        let set = Box::new(AssignmentSet::default());
        self.handle.events.send(Event::Update(AssignmentUpdate::Full { version: 1, set })).unwrap();
    }

    /// Waits until it has nothing left.
    async fn rid_of_all(&self) {
        let mut state = self.handle.state.clone();
        let rid = state.wait_for(|state| state.present == 0 && state.running == 0);
        drop(tokio::time::timeout(common::PATIENCE, rid).await.unwrap().unwrap());
    }
}

/// A runtime that has a task of an earlier daemon, and whether that runs.
async fn with_task(runs: bool) -> (FakeRuntime, TaskId) {
    let (runtime, id) = (FakeRuntime::default(), TaskId::from_bits(7));
    let launch = TaskLaunch {
        id,
        name: format!("web.1.{id}"),
        image: "mesh/whoami:1".into(),
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        labels: BTreeMap::new(),
        hostname: None,
        dir: None,
        user: None,
        resources: Resources::default(),
        stop_signal: 15,
        stop_grace_period: Duration::from_secs(10),
        read_only: false,
        health: HealthConfig::default(),
        resolv_conf: Vec::new(),
        hosts: Vec::new(),
    };
    runtime.prepare(&launch).await.unwrap();
    if runs {
        runtime.start(&id).await.unwrap();
    }
    (runtime, id)
}

#[tokio::test]
async fn what_nobody_knows_of_is_stopped_and_removed_once_the_managers_have_told_all() {
    for (runs, log) in
        [(true, ["prepare", "start", "stop", "remove"].as_slice()), (false, ["prepare", "remove"].as_slice())]
    {
        let (runtime, id) = with_task(runs).await;
        let agent = Agent::start(&runtime).await;
        assert_eq!(agent.held().await, None);
        assert_eq!(runtime.adopt().await.len(), 1, "nobody has told anything yet");
        agent.tell_nothing();
        runtime.wait_for(id, "remove").await;
        agent.rid_of_all().await;
        assert_eq!(runtime.log(id), log);
    }
}

#[tokio::test]
async fn what_ends_before_the_managers_have_told_all_is_removed_too() {
    let (runtime, id) = with_task(true).await;
    let agent = Agent::start(&runtime).await;
    runtime.kill(id, 1).await;
    agent.tell_nothing();
    runtime.wait_for(id, "remove").await;
    agent.rid_of_all().await;
    assert!(runtime.adopt().await.is_empty());
}

#[tokio::test]
async fn a_removal_that_fails_is_tried_again_after_a_while() {
    let (runtime, id) = with_task(true).await;
    let agent = Agent::start(&runtime).await;
    runtime.fail_removals(1);
    let begin = Instant::now();
    agent.tell_nothing();
    runtime.wait_for(id, "remove").await;
    agent.rid_of_all().await;
    assert!(runtime.adopt().await.is_empty());
    assert_eq!(runtime.log(id), ["prepare", "start", "stop", "remove", "remove"]);
    assert!(begin.elapsed() >= Duration::from_secs(5));
}
