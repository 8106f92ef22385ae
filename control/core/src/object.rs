//! What the store holds: specs with what the cluster decided and what the agents observed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, NetworkId, NodeId, ServiceId, TaskId};
use crate::name::Name;
use crate::port::{Port, Protocol, PublishMode};
use crate::secret::Secret;
use crate::spec::{ClusterSpec, GenericAmount, Labels, NetworkSpec, NodeSpec, Role, ServiceSpec, TaskSpec};
use crate::time::Timestamp;

/// Bookkeeping of every object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Index of the log entry that last changed the object; users send it back to change it.
    pub version: u64,
    /// Index of the log entry that made the object: the order in which objects came.
    pub created_version: u64,
    /// When it was made, by the leader's clock.
    pub created_at: Timestamp,
    /// When it was last changed, by the leader's clock.
    pub updated_at: Timestamp,
}

/// Number of a backend in the dataplane: given with the endpoint, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointId(pub u32);

/// VXLAN network identifier, 24 bits (RFC 7348).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vni(pub u32);

/// The largest VNI that networks get; the ones above are the dataplane's own.
pub const VNI_MAX: Vni = Vni(0x00ff_ff00);

/// The smallest VNI that networks get; Swarm begins there too.
pub const VNI_MIN: Vni = Vni(4096);

/// The cluster itself; there is exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Identifier, made at init.
    pub id: ClusterId,
    /// Bookkeeping.
    pub meta: Meta,
    /// Settings.
    pub spec: ClusterSpec,
    /// Roots that nodes trust, PEM: one certificate, or three while the root is rotated.
    pub trust: String,
    /// SHA-256 of the root certificate (DER) that signs certificates now.
    pub signer: [u8; 32],
    /// Key of that root, PEM.
    pub signing_key: Secret,
    /// Secret part of the workers' join token.
    pub worker_token: Secret,
    /// Secret part of the managers' join token.
    pub manager_token: Secret,
    /// What seals every manager's keys at rest, `SWMKEY-1-…`.
    pub unlock_key: Secret,
    /// Next endpoint id to give.
    pub next_endpoint: u32,
    /// Next VNI to give.
    pub next_vni: u32,
}

/// A machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Identifier, given when it joins, the CN of its certificate.
    pub id: NodeId,
    /// Bookkeeping.
    pub meta: Meta,
    /// What its operator wants.
    pub spec: NodeSpec,
    /// What its agent told of it.
    pub description: NodeDescription,
    /// What the managers see of it.
    pub status: NodeStatus,
    /// Its part in Raft, when it is a manager. `spec.role` says whether it is to be one.
    pub manager: Option<ManagerStatus>,
    /// SHA-256 of the root certificate (DER) that signed the node's own.
    pub issuer: [u8; 32],
}

/// What a node tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Host name.
    pub hostname: String,
    /// `linux`
    pub os: String,
    /// `x86_64`, `aarch64`
    pub arch: String,
    /// What tasks may use in all.
    pub resources: crate::spec::ResourceAmount,
    /// Generic resources that tasks may use in all, by kind.
    pub generic: BTreeMap<String, GenericAmount>,
    /// Version of meshd.
    pub engine_version: String,
    /// Engine labels.
    pub engine_labels: Labels,
    /// Networks that the node itself is on; pools keep clear of them.
    pub routes: Vec<IpNet>,
    /// Ports that processes of the node listen on; they are not published over.
    pub listening: Vec<(Port, Protocol)>,
}

/// Whether a node can be worked with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Joined, not heard of yet.
    #[default]
    Unknown,
    /// Its agent reports in.
    Ready,
    /// Silent for more than three heartbeats.
    Down,
    /// It left; it can be removed.
    Disconnected,
}

impl NodeState {
    /// Whether the node cannot be asked for its tasks: it is silent, or it left.
    pub fn is_away(self) -> bool {
        matches!(self, Self::Down | Self::Disconnected)
    }
}

/// What the managers see of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Whether it can be worked with.
    pub state: NodeState,
    /// Why, when not ready.
    pub message: String,
    /// Address it is reached at (management).
    pub addr: IpAddr,
    /// Address that tunnels end at.
    pub data_path_addr: IpAddr,
}

/// A manager's part in Raft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Raft's number for it, never used again.
    pub raft_id: u64,
    /// `address:port` of its management endpoint.
    pub addr: std::net::SocketAddr,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Identifier.
    pub id: ServiceId,
    /// Bookkeeping.
    pub meta: Meta,
    /// What the user wants now.
    pub spec: ServiceSpec,
    /// What the user wanted before.
    pub previous_spec: Option<Box<ServiceSpec>>,
    /// Version of the spec alone: tasks made from an older one are dirty.
    pub spec_version: u64,
    /// What the allocator gave.
    pub endpoint: ServiceEndpoint,
    /// How far the last change of its tasks is; `None` before the first.
    pub update: Option<UpdateStatus>,
    /// How often a job was run; `None` for what is no job.
    pub job: Option<JobStatus>,
    /// How far the rebalance is that a user asked for; `None` when there is none.
    pub rebalance: Option<Rebalance>,
}

/// How far a rebalance of a service is: tasks move from the nodes with the most of them to those with the
/// fewest, new one first, while that makes the spread better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// Tasks that move at once at most.
    pub parallelism: u32,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// Tasks that are to leave their node when their successors serve.
    pub moving: BTreeSet<TaskId>,
    /// Tasks that were moved.
    pub moved: u32,
}

/// How far a change of a service's tasks is, update or rollback. It is all that a new leader needs to carry on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// How far.
    pub state: UpdateState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it came to its end.
    pub completed_at: Option<Timestamp>,
    /// In words.
    pub message: String,
    /// Slots that it has to change, when it began.
    pub slots: u32,
    /// The watched tasks that failed before they ran for as long as they are watched.
    pub failed: BTreeSet<TaskId>,
}

/// States of an update; Swarm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UpdateState {
    /// Under way.
    Updating,
    /// Stopped after failures.
    Paused,
    /// Done.
    Completed,
    /// Going back, by command or after failures.
    RollbackStarted,
    /// Stopped on the way back.
    RollbackPaused,
    /// Back at the previous spec.
    RollbackCompleted,
}

/// How often a job was run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Counts up with each run; tasks of earlier ones do not count.
    pub iteration: u64,
    /// When the last run began.
    pub last_execution: Timestamp,
}

/// Virtual addresses and ports of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    /// Virtual address by network; empty with DNS round robin.
    pub vips: BTreeMap<NetworkId, IpAddr>,
    /// Published ports, dynamic ones filled in.
    pub ports: Vec<AllocatedPort>,
}

/// A published port with its number settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AllocatedPort {
    /// Port that clients use.
    pub published: Port,
    /// Port that the task listens on.
    pub target: Port,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where it answers.
    pub mode: PublishMode,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Identifier.
    pub id: NetworkId,
    /// Bookkeeping.
    pub meta: Meta,
    /// What the user wants.
    pub spec: NetworkSpec,
    /// VXLAN network identifier.
    pub vni: Vni,
    /// Address range in use.
    pub subnet: IpNet,
    /// Address of the gateway, answered by the dataplane.
    pub gateway: IpAddr,
}

/// How far a task is. States only move forward; their numbers are Swarm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum TaskState {
    /// Made by an orchestrator.
    New = 0,
    /// Has its addresses, waits for a node.
    Pending = 64,
    /// Has a node.
    Assigned = 192,
    /// The node took it.
    Accepted = 256,
    /// Image, file system and network are being made.
    Preparing = 320,
    /// Could be started.
    Ready = 384,
    /// Is being started.
    Starting = 448,
    /// Runs, and is healthy where it has a probe.
    Running = 512,
    /// Ended by itself with success.
    Complete = 576,
    /// Ended because it was told to.
    Shutdown = 640,
    /// Ended with an error.
    Failed = 704,
    /// The node would not have it.
    Rejected = 768,
    /// To be deleted (a desired state only).
    Remove = 800,
    /// Its node has been away too long to ask.
    Orphaned = 832,
}

/// What a task's agent last said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Observed state.
    pub state: TaskState,
    /// When that was observed, by the observer's clock.
    pub timestamp: Timestamp,
    /// What is going on, in words.
    pub message: String,
    /// What went wrong; empty when nothing did.
    pub err: String,
    /// Process and container, once started.
    pub container: Option<ContainerStatus>,
}

/// The process of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Container id, 64 hexadecimal digits.
    pub container_id: String,
    /// Process id on the node; 0 when there is none.
    pub pid: u32,
    /// Exit status, once it ended (128 + signal number for a signal).
    pub exit_code: Option<i32>,
    /// What its probe says.
    pub health: Health,
}

/// What a task's probe says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Health {
    /// It has no probe.
    #[default]
    None,
    /// It has not been healthy yet.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// The last probe failed, but not as many in a row as make it unhealthy. It gets no new flows meanwhile.
    Failing,
    /// Too many probes failed in a row; it is about to be ended.
    Unhealthy,
}

impl Health {
    /// Whether new flows may go to the task.
    pub fn serves(self) -> bool {
        matches!(self, Self::None | Self::Healthy)
    }

    /// As Docker says it, empty without a probe; `failing` is this project's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How a task leaves: out of every balancer and name, then its connections get time to end, then it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Longest time that its connections get, from when it is out of all balancers.
    pub drain: Duration,
    /// Every node that sends to it has taken it out of its balancers and names.
    pub cleared: bool,
}

/// A task's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEndpoint {
    /// Number in the dataplane.
    pub id: EndpointId,
    /// The network.
    pub network: NetworkId,
    /// Address in it.
    pub address: IpAddr,
}

/// One run of a service's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Identifier.
    pub id: TaskId,
    /// Bookkeeping.
    pub meta: Meta,
    /// The service it belongs to.
    pub service: ServiceId,
    /// The service's name when the task was made.
    pub service_name: Name,
    /// What it runs: the service's when the task was made, so later changes do not reach it. Tasks made from
    /// the same spec share it in the store.
    pub spec: Arc<TaskSpec>,
    /// The service's `spec_version` it was made from.
    pub spec_version: u64,
    /// Which of the replicas it is, from 1; 0 for a task of a global service.
    pub slot: u32,
    /// Node it is placed on; set by the scheduler (from the start for global services).
    pub node: Option<NodeId>,
    /// Where the managers want it. Written by managers alone.
    pub desired_state: TaskState,
    /// Where it is. Written on the word of its agent, and by managers before it has one.
    pub status: TaskStatus,
    /// Networks and addresses, `ingress` first when ports are published.
    pub endpoints: Vec<TaskEndpoint>,
    /// Ports that this task takes on its node (`mode=host`).
    pub host_ports: Vec<AllocatedPort>,
    /// Its desired state rises to `RUNNING` no earlier than this (restart delay).
    pub start_at: Timestamp,
    /// When the restarts that led to it were made, as far as its restart policy counts them; the oldest first.
    pub restarts: Vec<Timestamp>,
    /// When the managers heard that it runs, by the leader's clock.
    pub running_at: Option<Timestamp>,
    /// How it leaves, once it is to be stopped.
    pub leaving: Option<Leaving>,
    /// Generic resources that it was given on its node, by kind.
    pub generic: BTreeMap<String, GenericAmount>,
    /// The run of its job that it belongs to.
    pub job_iteration: Option<u64>,
    /// An update made it to change its place, and counts its failure.
    pub watched: bool,
}

impl Task {
    /// `SERVICE.SLOT.TASKID`, for global services `SERVICE.NODEID.TASKID`; the container's and DNS name.
    pub fn name(&self) -> String {
        match (self.slot, self.node) {
            (0, Some(node)) => format!("{}.{}.{}", self.service_name, node, self.id),
            _ => format!("{}.{}.{}", self.service_name, self.slot, self.id),
        }
    }
}

impl Role {
    /// `manager` or `worker`, as the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

impl TaskState {
    /// Every state, in the order in which they come.
    pub const ALL: [Self; 14] = [
        Self::New,
        Self::Pending,
        Self::Assigned,
        Self::Accepted,
        Self::Preparing,
        Self::Ready,
        Self::Starting,
        Self::Running,
        Self::Complete,
        Self::Shutdown,
        Self::Failed,
        Self::Rejected,
        Self::Remove,
        Self::Orphaned,
    ];

    /// Whether the task has ended (`COMPLETE` and beyond): it holds no address, port or resources any more.
    pub fn is_final(self) -> bool {
        self > Self::Running
    }

    /// The state in lower case, as the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl ServiceEndpoint {
    /// The ports that tasks take on their nodes, in order.
    pub fn host_ports(&self) -> Vec<AllocatedPort> {
        let host = self.ports.iter().filter(|port| port.mode == PublishMode::Host);
        let mut ports: Vec<_> = host.copied().collect();
        ports.sort_unstable();
        ports
    }
}

impl Service {
    /// Whether it publishes a port through the routing mesh, so that its tasks join the ingress network.
    pub fn publishes_ingress(&self) -> bool {
        self.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress)
    }
}
