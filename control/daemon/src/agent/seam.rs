//! What the agent works with: a runtime and a node's network. In production these are
//! [`mesh_runtime::native::NativeRuntime`] and [`super::network::Network`]; tests bring their own.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use mesh_core::id::TaskId;
use mesh_dataplane::desired::DesiredState;
use mesh_dns::table::Table;
use mesh_runtime::error::RuntimeError;
use mesh_runtime::health::{Probe, ProbeOutcome};
use mesh_runtime::native::NativeRuntime;
use mesh_runtime::sockets::Connections;
use mesh_runtime::task::{Found, Prepared, RuntimeEvent, TaskLaunch};
use tokio::sync::mpsc;

/// What runs tasks; clones are the same runtime. The contract of each call is that of the native runtime's.
pub trait TaskRuntime: Clone + Send + Sync + 'static {
    /// What happens to tasks from now on.
    fn events(&self) -> mpsc::Receiver<RuntimeEvent>;
    /// Tasks that are there already.
    fn adopt(&self) -> impl Future<Output = Vec<Found>> + Send;
    /// Makes namespace and file system.
    fn prepare(&self, launch: &TaskLaunch) -> impl Future<Output = Result<Prepared, RuntimeError>> + Send;
    /// Starts the process.
    fn start(&self, task: &TaskId) -> impl Future<Output = Result<u32, RuntimeError>> + Send;
    /// Probes the running task once.
    fn probe(
        &self,
        task: &TaskId,
        probe: &Probe,
        limit: Duration,
    ) -> impl Future<Output = Result<ProbeOutcome, RuntimeError>> + Send;
    /// The task's connections, also those that its process left behind.
    fn connections(&self, task: &TaskId) -> impl Future<Output = Result<Connections, RuntimeError>> + Send;
    /// Stops the process.
    fn stop(&self, task: &TaskId) -> impl Future<Output = Result<Option<i32>, RuntimeError>> + Send;
    /// Removes everything.
    fn remove(&self, task: &TaskId) -> impl Future<Output = Result<(), RuntimeError>> + Send;
}

impl TaskRuntime for NativeRuntime {
    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        Self::events(self)
    }

    async fn adopt(&self) -> Vec<Found> {
        Self::adopt(self).await
    }

    async fn prepare(&self, launch: &TaskLaunch) -> Result<Prepared, RuntimeError> {
        Self::prepare(self, launch).await
    }

    async fn start(&self, task: &TaskId) -> Result<u32, RuntimeError> {
        Self::start(self, task).await
    }

    async fn probe(
        &self,
        task: &TaskId,
        probe: &Probe,
        limit: Duration,
    ) -> Result<ProbeOutcome, RuntimeError> {
        Self::probe(self, task, probe, limit).await
    }

    async fn connections(&self, task: &TaskId) -> Result<Connections, RuntimeError> {
        Self::connections(self, task).await
    }

    async fn stop(&self, task: &TaskId) -> Result<Option<i32>, RuntimeError> {
        Self::stop(self, task).await
    }

    async fn remove(&self, task: &TaskId) -> Result<(), RuntimeError> {
        Self::remove(self, task).await
    }
}

/// A node's network as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Interfaces, routes, balancers.
    pub state: DesiredState,
    /// Names.
    pub names: Table,
}

/// The network is not (all) as it should be. The agent tries again.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct NetworkError {
    /// What went wrong.
    pub message: String,
    /// Endpoints that could not be made, when everything else was; `None`: nothing can be relied on.
    pub endpoints: Option<BTreeSet<u32>>,
}

/// What makes the node's network; clones are the same.
pub trait NodeNetwork: Clone + Send + Sync + 'static {
    /// Makes the network so; doing it again changes nothing but what others have broken.
    fn apply(&self, view: &View) -> impl Future<Output = Result<(), NetworkError>> + Send;
}
