//! A runtime without processes and a network without packets. Both write what they are asked into one
//! journal, so that a test sees the order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_core::id::TaskId;
use mesh_dataplane::desired::Location;
use mesh_runtime::error::RuntimeError;
use mesh_runtime::health::{HealthCheck, Probe, ProbeOutcome};
use mesh_runtime::sockets::Connections;
use mesh_runtime::task::{Found, Prepared, RunState, RuntimeEvent, TaskLaunch};
use meshd::agent::seam::{NetworkError, NodeNetwork, TaskRuntime, View};
use tokio::sync::{Notify, mpsc, watch};

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Runtime(TaskId, &'static str),
    /// Namespaces that are attached, and those among them that take new flows.
    Network {
        attached: Vec<String>,
        serving: Vec<String>,
    },
}

pub type Journal = Arc<Mutex<Vec<Entry>>>;

#[derive(Clone, Default)]
pub struct FakeRuntime {
    journal: Journal,
    tasks: Arc<Mutex<BTreeMap<TaskId, Found>>>,
    listeners: Arc<Mutex<Vec<mpsc::Sender<RuntimeEvent>>>>,
    changed: Arc<Notify>,
    /// How tasks are probed that are prepared from now on,
    check: Arc<Mutex<Option<HealthCheck>>>,
    /// and what their probes say.
    healthy: Arc<Mutex<bool>>,
    /// How many are connected to a task.
    inbound: Arc<Mutex<BTreeMap<TaskId, usize>>>,
    /// So many removals fail from now on.
    unkillable: Arc<Mutex<u32>>,
}

fn netns(task: TaskId) -> String {
    format!("/netns/{task}")
}

impl FakeRuntime {
    pub fn journal(&self) -> Journal {
        Arc::clone(&self.journal)
    }

    fn write(&self, task: TaskId, what: &'static str) {
        self.journal.lock().unwrap().push(Entry::Runtime(task, what));
        self.changed.notify_waiters();
    }

    /// What was done with a task.
    pub fn log(&self, task: TaskId) -> Vec<&'static str> {
        let journal = self.journal.lock().unwrap();
        let of_task = |entry: &Entry| match entry {
            Entry::Runtime(id, what) if *id == task => Some(*what),
            _ => None,
        };
        journal.iter().filter_map(of_task).collect()
    }

    /// Waits until this was done with a task.
    pub async fn wait_for(&self, task: TaskId, what: &'static str) {
        let done = async {
            loop {
                let changed = self.changed.notified();
                if self.log(task).contains(&what) {
                    return;
                }
                changed.await;
            }
        };
        let done = tokio::time::timeout(super::PATIENCE, done).await;
        assert!(done.is_ok(), "{task} saw no {what}: {:?}", self.log(task));
    }

    /// Tasks that are prepared from now on are probed so.
    pub fn probe_with(&self, check: HealthCheck) {
        *self.check.lock().unwrap() = Some(check);
    }

    /// What all probes say from now on; at first they fail.
    pub fn set_healthy(&self, healthy: bool) {
        *self.healthy.lock().unwrap() = healthy;
    }

    /// So many are connected to a task.
    pub fn connect(&self, task: TaskId, inbound: usize) {
        self.inbound.lock().unwrap().insert(task, inbound);
    }

    /// So many removals fail from now on.
    pub fn fail_removals(&self, times: u32) {
        *self.unkillable.lock().unwrap() = times;
    }

    /// The process of a task ends.
    pub async fn kill(&self, task: TaskId, code: i32) {
        self.tasks.lock().unwrap().get_mut(&task).unwrap().state = RunState::Exited { code };
        let listeners = self.listeners.lock().unwrap().clone();
        for listener in listeners {
            // An agent that has ended does not listen.
            let _ = listener.send(RuntimeEvent::Exited { task, code }).await;
        }
    }
}

impl TaskRuntime for FakeRuntime {
    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(16);
        self.listeners.lock().unwrap().push(sender);
        receiver
    }

    async fn adopt(&self) -> Vec<Found> {
        self.tasks.lock().unwrap().values().cloned().collect()
    }

    async fn prepare(&self, launch: &TaskLaunch) -> Result<Prepared, RuntimeError> {
        self.write(launch.id, "prepare");
        let health = self.check.lock().unwrap().clone();
        let prepared = Prepared { netns: netns(launch.id).into(), container_id: "ab".repeat(32), health };
        let found = Found { launch: launch.clone(), prepared: prepared.clone(), state: RunState::Prepared };
        self.tasks.lock().unwrap().insert(launch.id, found);
        Ok(prepared)
    }

    async fn start(&self, task: &TaskId) -> Result<u32, RuntimeError> {
        self.write(*task, "start");
        self.tasks.lock().unwrap().get_mut(task).unwrap().state = RunState::Running { pid: 7 };
        Ok(7)
    }

    async fn probe(
        &self,
        _task: &TaskId,
        probe: &Probe,
        _limit: Duration,
    ) -> Result<ProbeOutcome, RuntimeError> {
        let healthy = *self.healthy.lock().unwrap();
        Ok(ProbeOutcome { healthy, output: probe.to_string() })
    }

    async fn connections(&self, task: &TaskId) -> Result<Connections, RuntimeError> {
        let inbound = self.inbound.lock().unwrap().get(task).copied().unwrap_or(0);
        Ok(Connections { inbound, unsent: 0 })
    }

    async fn stop(&self, task: &TaskId) -> Result<Option<i32>, RuntimeError> {
        self.write(*task, "stop");
        self.tasks.lock().unwrap().get_mut(task).unwrap().state = RunState::Exited { code: 143 };
        Ok(Some(143))
    }

    async fn remove(&self, task: &TaskId) -> Result<(), RuntimeError> {
        self.write(*task, "remove");
        let mut unkillable = self.unkillable.lock().unwrap();
        if *unkillable > 0 {
            *unkillable -= 1;
            return Err(RuntimeError::Unkillable { task: *task, seconds: 10 });
        }
        self.tasks.lock().unwrap().remove(task);
        Ok(())
    }
}

#[derive(Clone)]
pub struct FakeNetwork {
    journal: Journal,
    held: watch::Sender<bool>,
    broken: Arc<Mutex<Option<&'static str>>>,
}

impl FakeNetwork {
    pub fn new(journal: Journal) -> Self {
        Self { journal, held: watch::channel(false).0, broken: Arc::default() }
    }

    /// What goes wrong when a view is applied, from now on.
    pub fn break_down(&self, reason: Option<&'static str>) {
        *self.broken.lock().unwrap() = reason;
    }

    /// Whether views wait before they are applied.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Whether the task's namespace was attached when it was started.
    pub fn knew_before_start(&self, task: TaskId) -> bool {
        self.last_before(task, "start").is_some_and(|(attached, _)| attached.contains(&netns(task)))
    }

    /// Whether the task was still attached, but served no more, when it was stopped.
    pub fn withdrew_before_stop(&self, task: TaskId) -> bool {
        self.last_before(task, "stop").is_some_and(|(attached, serving)| {
            attached.contains(&netns(task)) && !serving.contains(&netns(task))
        })
    }

    /// Whether new flows go to the task now.
    pub fn serves(&self, task: TaskId) -> bool {
        let journal = self.journal.lock().unwrap();
        let last = journal.iter().rev().find_map(|entry| match entry {
            Entry::Network { serving, .. } => Some(serving.contains(&netns(task))),
            Entry::Runtime(..) => None,
        });
        last.unwrap_or(false)
    }

    fn last_before(&self, task: TaskId, what: &'static str) -> Option<(Vec<String>, Vec<String>)> {
        let journal = self.journal.lock().unwrap();
        let at = journal.iter().position(|entry| *entry == Entry::Runtime(task, what))?;
        journal[..at].iter().rev().find_map(|entry| match entry {
            Entry::Network { attached, serving } => Some((attached.clone(), serving.clone())),
            Entry::Runtime(..) => None,
        })
    }
}

impl NodeNetwork for FakeNetwork {
    async fn apply(&self, view: &View) -> Result<(), NetworkError> {
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        if let Some(reason) = *self.broken.lock().unwrap() {
            return Err(NetworkError { message: reason.to_owned(), endpoints: None });
        }
        let local = view.state.endpoints.iter().filter_map(|(id, endpoint)| match &endpoint.location {
            Location::Local(local) => Some((*id, local.netns.display().to_string())),
            Location::Remote(_) => None,
        });
        let local: Vec<(u32, String)> = local.collect();
        let balanced = |id: &u32| view.state.published.iter().any(|port| port.backends.contains(id));
        let serving = local.iter().filter(|(id, _)| balanced(id)).map(|(_, netns)| netns.clone()).collect();
        let attached = local.into_iter().map(|(_, netns)| netns).collect();
        self.journal.lock().unwrap().push(Entry::Network { attached, serving });
        Ok(())
    }
}
