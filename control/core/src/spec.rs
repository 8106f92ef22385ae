//! What users ask for. Specs are kept as given; what the cluster adds stands in [`crate::object`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{ConfigId, NetworkId, SecretId};
use crate::name::Name;
use crate::port::{Port, PublishedPort};

/// Labels: free text by key.
pub type Labels = BTreeMap<String, String>;

/// A service as a user wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Unique name; also the DNS name of the service.
    pub name: Name,
    /// Labels of the service (`mesh.*` are options of this project).
    pub labels: Labels,
    /// How many tasks, and where.
    pub mode: ServiceMode,
    /// What each task is.
    pub task: TaskSpec,
    /// How the service is reached.
    pub endpoint: EndpointSpec,
    /// How tasks are replaced when the spec changes.
    pub update: UpdateConfig,
    /// How tasks are replaced when an update is rolled back.
    pub rollback: UpdateConfig,
}

/// Time from the stop signal to SIGKILL when the spec sets none.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

impl ServiceSpec {
    /// Longest time that the connections of a leaving task get: the label [`DRAIN`](crate::label::DRAIN), else
    /// its stop grace period.
    pub fn drain(&self, task: &TaskSpec) -> Duration {
        let told = crate::label::drain(&self.labels).ok().flatten();
        told.unwrap_or_else(|| task.container.stop_grace())
    }
}

/// How many tasks a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    /// This many tasks, anywhere.
    Replicated {
        /// Number of tasks wanted.
        replicas: u32,
    },
    /// One task on each node that matches.
    Global,
    /// So many runs that end with success, then it is done.
    ReplicatedJob {
        /// Tasks at once at most.
        max_concurrent: u32,
        /// Tasks that have to complete.
        total_completions: u32,
    },
    /// One run that ends with success on each node that matches.
    GlobalJob,
}

impl ServiceMode {
    /// Whether it has one task on each node that matches.
    pub fn is_global(self) -> bool {
        matches!(self, Self::Global | Self::GlobalJob)
    }

    /// Whether its tasks are to come to an end.
    pub fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob { .. } | Self::GlobalJob)
    }
}

/// What a task of the service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The process.
    pub container: ContainerSpec,
    /// What it may use and what must be free for it.
    pub resources: Resources,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Which nodes may run it.
    pub placement: Placement,
    /// Networks that it joins, in the order given. The ingress network is not listed here.
    pub networks: Vec<NetworkAttachment>,
    /// Counted up by `service update --force`.
    pub force_update: u64,
}

/// The process of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Image reference as the user wrote it, a missing tag filled in (`mesh/whoami:1`).
    pub image: String,
    /// Replaces the image's entry point when not empty.
    pub command: Vec<String>,
    /// Arguments of the command.
    pub args: Vec<String>,
    /// Environment, `KEY=value` each.
    pub env: Vec<String>,
    /// Labels of the container.
    pub labels: Labels,
    /// Host name inside; the task's short id when unset.
    pub hostname: Option<String>,
    /// Working directory.
    pub dir: Option<String>,
    /// User, `uid[:gid]` or a name of the image's passwd file.
    pub user: Option<String>,
    /// Signal that asks the process to stop, by name; SIGTERM when unset.
    pub stop_signal: Option<String>,
    /// Time from the stop signal to SIGKILL.
    pub stop_grace_period: Option<Duration>,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// How the task's health is probed.
    pub health: HealthConfig,
    /// Secrets that the task gets as files, in the order given.
    pub secrets: Vec<SecretReference>,
    /// Configs that the task gets as files, in the order given.
    pub configs: Vec<ConfigReference>,
}

impl ContainerSpec {
    /// Time from the stop signal to SIGKILL.
    pub fn stop_grace(&self) -> Duration {
        self.stop_grace_period.unwrap_or(STOP_GRACE)
    }
}

/// How a task is probed. What is unset is the image's; what the image leaves unset too is Docker's default
/// (interval 30 s, timeout 30 s, start period 0 s, start interval 5 s, 3 retries).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthConfig {
    /// What is asked.
    pub test: HealthTest,
    /// Time from one probe to the next.
    pub interval: Option<Duration>,
    /// Time after which a probe has failed.
    pub timeout: Option<Duration>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Duration>,
    /// Time from one probe to the next until the first success, within the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make the task unhealthy.
    pub retries: Option<u32>,
}

/// What a probe asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthTest {
    /// The image's probe, if it has one.
    #[default]
    Inherit,
    /// Nothing, whatever the image says.
    Disabled,
    /// A program and its arguments, run in the task; healthy when it exits with 0.
    Exec(Vec<String>),
    /// A line for the task's `/bin/sh -c`.
    Shell(String),
    /// A GET request inside the task's network; healthy when answered with 200 to 399.
    Http {
        /// Port of the task.
        port: Port,
        /// Path, from `/`.
        path: String,
    },
}

impl HealthConfig {
    /// Whether anything is said; else the image's probe stands as it is.
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// A secret that a task gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// The secret.
    pub secret: SecretId,
    /// Its name when the reference was made.
    pub name: String,
    /// The file below `/run/secrets`.
    pub file: FileTarget,
}

/// A config that a task gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReference {
    /// The config.
    pub config: ConfigId,
    /// Its name when the reference was made.
    pub name: String,
    /// The file, from `/`.
    pub file: FileTarget,
}

/// A file in a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTarget {
    /// Path.
    pub path: String,
    /// Owner, a number or a name of the image's passwd file.
    pub uid: String,
    /// Group, a number or a name of the image's group file.
    pub gid: String,
    /// Permission bits.
    pub mode: u32,
}

/// CPU and memory. Units: CPU in 10⁻⁹ cores, memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceAmount {
    /// CPU in 10⁻⁹ cores.
    pub nano_cpus: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// Limits and reservations; zero means none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Upper bound while running.
    pub limits: ResourceAmount,
    /// Most processes at once.
    pub pids_limit: u64,
    /// What a node must have free.
    pub reservations: ResourceAmount,
    /// How many of each generic resource a node must have free, by kind (`gpu`).
    pub generic: BTreeMap<String, u64>,
}

/// So much of a generic resource, on a node or given to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GenericAmount {
    /// A number of pieces that are all alike.
    Discrete(u64),
    /// Single pieces by name.
    Named(BTreeSet<String>),
}

/// When a task that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which endings.
    pub condition: RestartCondition,
    /// Wait before the replacement starts.
    pub delay: Duration,
    /// Most restarts within `window`; 0 is no bound.
    pub max_attempts: u64,
    /// Time in which `max_attempts` is counted; zero is for ever.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            condition: RestartCondition::Any,
            delay: Duration::from_secs(5),
            max_attempts: 0,
            window: Duration::ZERO,
        }
    }
}

/// After which endings a task is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartCondition {
    /// Never.
    None,
    /// When it failed.
    OnFailure,
    /// However it ended.
    #[default]
    Any,
}

/// Which nodes may run a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Conditions that all must hold.
    pub constraints: Vec<Constraint>,
    /// Labels whose values are spread over evenly, in order.
    pub preferences: Vec<SpreadPreference>,
    /// Most tasks of the service on one node; 0 is no bound.
    pub max_replicas_per_node: u64,
    /// Platforms that the image runs on; empty is any.
    pub platforms: Vec<Platform>,
}

/// An operating system and processor, as images name them (`linux`, `amd64`); empty is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
}

/// One placement constraint, `KEY == VALUE` or `KEY != VALUE`. Two that mean the same are equal, however they are
/// written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Constraint {
    /// What of the node is compared.
    pub key: ConstraintKey,
    /// True for `==`, false for `!=`.
    pub equal: bool,
    /// Value to compare with, without regard to case; an address or CIDR for `node.ip`.
    pub value: String,
    /// As the user wrote it: `docker service update --constraint-rm` looks for these very words.
    pub written: String,
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, self.equal, &self.value) == (&other.key, other.equal, &other.value)
    }
}

impl Eq for Constraint {}

/// What a constraint looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstraintKey {
    /// `node.id`
    NodeId,
    /// `node.hostname`
    NodeHostname,
    /// `node.ip`
    NodeIp,
    /// `node.role`
    NodeRole,
    /// `node.platform.os`
    PlatformOs,
    /// `node.platform.arch`
    PlatformArch,
    /// `node.labels.KEY`
    NodeLabel(String),
    /// `engine.labels.KEY`
    EngineLabel(String),
}

/// `--placement-pref spread=LABEL`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadPreference {
    /// `node.labels.KEY` or `engine.labels.KEY`.
    pub descriptor: ConstraintKey,
}

/// A network that tasks join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// The network. Names are resolved to ids at the API.
    pub network: NetworkId,
    /// Further DNS names of the service in this network.
    pub aliases: Vec<String>,
}

/// How a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// A virtual address, or the tasks' own by DNS.
    pub mode: EndpointMode,
    /// Published ports.
    pub ports: Vec<PublishedPort>,
}

/// What a service's DNS name gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointMode {
    /// One virtual IP in each network, balanced by the dataplane.
    #[default]
    Vip,
    /// The addresses of all healthy tasks.
    Dnsrr,
}

/// How tasks are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Slots in change at once; 0 is all.
    pub parallelism: u64,
    /// Wait between batches.
    pub delay: Duration,
    /// What a failure does.
    pub failure_action: FailureAction,
    /// How long a new task is watched for failure.
    pub monitor: Duration,
    /// Share of failures that is tolerated, 0.0 to 1.0.
    pub max_failure_ratio: f32,
    /// Old first or new first.
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::Pause,
            monitor: Duration::from_secs(5),
            max_failure_ratio: 0.0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// What a failing update does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    /// Stop where it is.
    Pause,
    /// Go on.
    Continue,
    /// Go back to the previous spec.
    Rollback,
}

/// Which of the old and the new task goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// Stop the old task, then start the new one.
    StopFirst,
    /// Start the new task, then stop the old one.
    StartFirst,
}

/// A network as a user wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Unique name.
    pub name: Name,
    /// Labels.
    pub labels: Labels,
    /// Address range; `None` takes the next free one of the cluster's pool.
    pub subnet: Option<IpNet>,
    /// Address of the gateway; `None` takes the first of the subnet.
    pub gateway: Option<std::net::IpAddr>,
    /// No way out of the network.
    pub internal: bool,
    /// Containers outside services may join.
    pub attachable: bool,
    /// This is the routing mesh's own network.
    pub ingress: bool,
    /// Largest packet inside, in bytes; `None` is the path's less 50.
    pub mtu: Option<u16>,
}

/// A node as its operator wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Operator's name for it, rarely set.
    pub name: Option<String>,
    /// `node.labels.*`
    pub labels: Labels,
    /// Whether it takes tasks.
    pub availability: Availability,
    /// Role that it should have.
    pub role: Role,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Availability {
    /// Takes tasks.
    #[default]
    Active,
    /// Keeps its tasks, takes no new ones.
    Pause,
    /// Gives its tasks away.
    Drain,
}

/// A node's part in the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Runs tasks.
    #[default]
    Worker,
    /// Takes part in Raft, serves the API, runs tasks.
    Manager,
}

/// Settings of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Labels of the cluster.
    pub labels: Labels,
    /// Tasks kept for each slot, the running one counted.
    pub task_history_limit: u64,
    /// How often an agent reports in; silence for three of these makes a node Down.
    pub heartbeat: Duration,
    /// How long a node's certificate is valid.
    pub certificate_life: Duration,
    /// Managers that start need the unlock key.
    pub autolock: bool,
    /// Log entries from one snapshot to the next.
    pub snapshot_interval: u64,
    /// Log entries kept behind a snapshot for followers that are slow.
    pub entries_kept: u64,
    /// Ranges that networks without a subnet of their own are cut from.
    pub default_address_pool: Vec<IpNet>,
    /// Prefix length of the networks cut from the pool.
    pub subnet_prefix_len: u8,
    /// UDP port of the overlay.
    pub data_path_port: u16,
    /// How replies of published ports travel.
    pub ingress_reply: IngressReply,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            labels: Labels::new(),
            task_history_limit: 5,
            heartbeat: Duration::from_secs(1),
            certificate_life: Duration::from_hours(90 * 24),
            autolock: false,
            snapshot_interval: 10_000,
            entries_kept: 500,
            default_address_pool: vec![IpNet::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0).into(), 8)],
            subnet_prefix_len: 24,
            data_path_port: 4789,
            ingress_reply: IngressReply::Through,
        }
    }
}

/// How a reply of a published port gets back to the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IngressReply {
    /// Through the node that received the request.
    #[default]
    Through,
    /// Straight from the task's node, with the receiving node's address as source.
    Direct,
}
