//! Services. What later parts of the project bring (mounts, ulimits …) is kept as raw JSON, so
//! that it can be refused by name rather than dropped.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::content::{ConfigReference, SecretReference};
use super::generic::GenericResource;
use super::{Map, Version};
use crate::blank;
use crate::mesh::Rebalance;

/// A service as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version to send back with an update.
    pub version: Version,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// What the user wants.
    pub spec: ServiceSpec,
    /// What the user wanted before.
    #[serde(skip_serializing_if = "blank")]
    pub previous_spec: Option<ServiceSpec>,
    /// What the cluster gave.
    pub endpoint: Endpoint,
    /// How its last update goes.
    #[serde(skip_serializing_if = "blank")]
    pub update_status: Option<UpdateStatus>,
    /// Counts of tasks, on request.
    #[serde(skip_serializing_if = "blank")]
    pub service_status: Option<ServiceStatus>,
    /// How often it was run; of jobs alone.
    #[serde(skip_serializing_if = "blank")]
    pub job_status: Option<JobStatus>,
    /// The mesh's own: how far the rebalance is that goes on.
    #[serde(skip_serializing_if = "blank")]
    pub rebalance: Option<Rebalance>,
}

/// How often a job was run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobStatus {
    /// The run; tasks carry the one that they belong to.
    pub job_iteration: Version,
    /// When the last run began, RFC 3339.
    #[serde(skip_serializing_if = "blank")]
    pub last_execution: String,
}

/// Counts of a service's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceStatus {
    /// Tasks that run.
    pub running_tasks: u64,
    /// Tasks that are wanted.
    pub desired_tasks: u64,
    /// Tasks that ended well.
    pub completed_tasks: u64,
}

/// How an update goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateStatus {
    /// `updating`, `paused`, `completed`, `rollback_started`, `rollback_paused`, `rollback_completed`.
    pub state: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "blank")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "blank")]
    pub completed_at: Option<String>,
    /// In words.
    pub message: String,
}

/// What the user wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSpec {
    /// Name; a random one when empty.
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// What each task is.
    pub task_template: TaskSpec,
    /// How many tasks.
    #[serde(skip_serializing_if = "blank")]
    pub mode: Option<ServiceMode>,
    /// How tasks are replaced.
    #[serde(skip_serializing_if = "blank")]
    pub update_config: Option<UpdateConfig>,
    /// How a roll-back replaces them.
    #[serde(skip_serializing_if = "blank")]
    pub rollback_config: Option<UpdateConfig>,
    /// Networks, where clients before 1.25 put them.
    #[serde(skip_serializing_if = "blank")]
    pub networks: Option<Vec<NetworkAttachment>>,
    /// How it is reached.
    #[serde(skip_serializing_if = "blank")]
    pub endpoint_spec: Option<EndpointSpec>,
}

/// How many tasks: at most one of these is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceMode {
    /// A number of tasks.
    #[serde(skip_serializing_if = "blank")]
    pub replicated: Option<Replicated>,
    /// One on each node.
    #[serde(skip_serializing_if = "blank")]
    pub global: Option<Global>,
    /// Runs to completion.
    #[serde(skip_serializing_if = "blank")]
    pub replicated_job: Option<ReplicatedJob>,
    /// Runs to completion on each node.
    #[serde(skip_serializing_if = "blank")]
    pub global_job: Option<Global>,
}

/// Runs to completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplicatedJob {
    /// Tasks at once; 1 when not said.
    #[serde(skip_serializing_if = "blank")]
    pub max_concurrent: Option<u64>,
    /// Tasks that have to complete; as many as run at once when not said.
    #[serde(skip_serializing_if = "blank")]
    pub total_completions: Option<u64>,
}

/// A number of tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Replicated {
    /// 1 when not said.
    #[serde(skip_serializing_if = "blank")]
    pub replicas: Option<u64>,
}

/// One task on each node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Global {}

/// What a task is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskSpec {
    /// The process.
    #[serde(skip_serializing_if = "blank")]
    pub container_spec: Option<ContainerSpec>,
    /// A plugin instead of a process.
    #[serde(skip_serializing_if = "blank")]
    pub plugin_spec: Option<Value>,
    /// A container outside services.
    #[serde(skip_serializing_if = "blank")]
    pub network_attachment_spec: Option<Value>,
    /// Limits and reservations.
    #[serde(skip_serializing_if = "blank")]
    pub resources: Option<Resources>,
    /// When it is started again.
    #[serde(skip_serializing_if = "blank")]
    pub restart_policy: Option<RestartPolicy>,
    /// Where it may run.
    #[serde(skip_serializing_if = "blank")]
    pub placement: Option<Placement>,
    /// Networks that it joins.
    #[serde(skip_serializing_if = "blank")]
    pub networks: Option<Vec<NetworkAttachment>>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "blank")]
    pub log_driver: Option<Value>,
    /// Counted up to replace tasks whose spec is the same.
    pub force_update: u64,
    /// `container` or empty.
    #[serde(skip_serializing_if = "blank")]
    pub runtime: String,
}

/// The process of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSpec {
    /// Image reference.
    pub image: String,
    /// Labels of the container.
    #[serde(skip_serializing_if = "blank")]
    pub labels: Map,
    /// Replaces the image's entry point.
    #[serde(skip_serializing_if = "blank")]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(skip_serializing_if = "blank")]
    pub args: Vec<String>,
    /// Host name inside.
    #[serde(skip_serializing_if = "blank")]
    pub hostname: String,
    /// `KEY=value` each.
    #[serde(skip_serializing_if = "blank")]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "blank")]
    pub dir: String,
    /// User.
    #[serde(skip_serializing_if = "blank")]
    pub user: String,
    /// Signal that asks it to stop.
    #[serde(skip_serializing_if = "blank")]
    pub stop_signal: String,
    /// Nanoseconds from that signal to SIGKILL.
    #[serde(skip_serializing_if = "blank")]
    pub stop_grace_period: Option<i64>,
    /// Root file system read-only.
    #[serde(skip_serializing_if = "blank")]
    pub read_only: bool,
    /// An init process inside.
    #[serde(skip_serializing_if = "blank")]
    pub init: Option<bool>,
    /// Windows only; `default` or empty here.
    #[serde(skip_serializing_if = "blank")]
    pub isolation: String,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "blank")]
    pub groups: Option<Value>,
    /// Credentials and security profiles.
    #[serde(skip_serializing_if = "blank")]
    pub privileges: Option<Value>,
    /// A pseudo terminal.
    #[serde(rename = "TTY", skip_serializing_if = "blank")]
    pub tty: Option<Value>,
    /// Standard input kept open.
    #[serde(skip_serializing_if = "blank")]
    pub open_stdin: Option<Value>,
    /// Mounts.
    #[serde(skip_serializing_if = "blank")]
    pub mounts: Option<Value>,
    /// How its health is probed.
    #[serde(skip_serializing_if = "blank")]
    pub healthcheck: Option<Healthcheck>,
    /// Further lines of the hosts file.
    #[serde(skip_serializing_if = "blank")]
    pub hosts: Option<Value>,
    /// Name servers of its own.
    #[serde(rename = "DNSConfig", skip_serializing_if = "blank")]
    pub dns_config: Option<Value>,
    /// Secrets.
    #[serde(skip_serializing_if = "blank")]
    pub secrets: Option<Vec<SecretReference>>,
    /// Configs.
    #[serde(skip_serializing_if = "blank")]
    pub configs: Option<Vec<ConfigReference>>,
    /// Kernel settings.
    #[serde(skip_serializing_if = "blank")]
    pub sysctls: Option<Value>,
    /// Capabilities added.
    #[serde(skip_serializing_if = "blank")]
    pub capability_add: Option<Value>,
    /// Capabilities taken.
    #[serde(skip_serializing_if = "blank")]
    pub capability_drop: Option<Value>,
    /// Resource limits of the process.
    #[serde(skip_serializing_if = "blank")]
    pub ulimits: Option<Value>,
    /// Weight in the kernel's out-of-memory choice.
    #[serde(skip_serializing_if = "blank")]
    pub oom_score_adj: Option<Value>,
}

impl ContainerSpec {
    /// Fields that are kept raw, with their names.
    pub fn raw_fields(&self) -> [(&'static str, Option<&Value>); 12] {
        [
            ("Groups", self.groups.as_ref()),
            ("Privileges", self.privileges.as_ref()),
            ("TTY", self.tty.as_ref()),
            ("OpenStdin", self.open_stdin.as_ref()),
            ("Mounts", self.mounts.as_ref()),
            ("Hosts", self.hosts.as_ref()),
            ("DNSConfig", self.dns_config.as_ref()),
            ("Sysctls", self.sysctls.as_ref()),
            ("CapabilityAdd", self.capability_add.as_ref()),
            ("CapabilityDrop", self.capability_drop.as_ref()),
            ("Ulimits", self.ulimits.as_ref()),
            ("OomScoreAdj", self.oom_score_adj.as_ref()),
        ]
    }
}

/// How a task's health is probed. What is zero or empty is the image's, or Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", program, argument…]`, `["CMD-SHELL", line]`; empty is the image's.
    #[serde(skip_serializing_if = "blank")]
    pub test: Vec<String>,
    /// Nanoseconds from one probe to the next.
    #[serde(skip_serializing_if = "blank")]
    pub interval: i64,
    /// Nanoseconds after which a probe has failed.
    #[serde(skip_serializing_if = "blank")]
    pub timeout: i64,
    /// Nanoseconds after the start in which failures do not count.
    #[serde(skip_serializing_if = "blank")]
    pub start_period: i64,
    /// Nanoseconds from one probe to the next within the start period, until the first success.
    #[serde(skip_serializing_if = "blank")]
    pub start_interval: i64,
    /// Failures in a row that make the task unhealthy.
    #[serde(skip_serializing_if = "blank")]
    pub retries: i64,
}

/// Limits and reservations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resources {
    /// Upper bounds.
    #[serde(skip_serializing_if = "blank")]
    pub limits: Option<ResourceAmount>,
    /// What must be free.
    #[serde(skip_serializing_if = "blank")]
    pub reservations: Option<ResourceAmount>,
}

/// An amount of each resource; 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceAmount {
    /// CPU in 10⁻⁹ cores.
    #[serde(rename = "NanoCPUs", skip_serializing_if = "blank")]
    pub nano_cpus: i64,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "blank")]
    pub memory_bytes: i64,
    /// Processes; of limits only.
    #[serde(skip_serializing_if = "blank")]
    pub pids: i64,
    /// Resources of the user's own naming.
    #[serde(skip_serializing_if = "blank")]
    pub generic_resources: Vec<GenericResource>,
}

/// When a task is started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `none`, `on-failure`, `any`; any when empty.
    #[serde(skip_serializing_if = "blank")]
    pub condition: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "blank")]
    pub delay: Option<i64>,
    /// 0 is no bound.
    #[serde(skip_serializing_if = "blank")]
    pub max_attempts: Option<u64>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "blank")]
    pub window: Option<i64>,
}

/// Where a task may run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Placement {
    /// `KEY==VALUE` or `KEY!=VALUE` each.
    #[serde(skip_serializing_if = "blank")]
    pub constraints: Vec<String>,
    /// Labels to spread over.
    #[serde(skip_serializing_if = "blank")]
    pub preferences: Vec<PlacementPreference>,
    /// Most tasks on one node; 0 is no bound.
    #[serde(skip_serializing_if = "blank")]
    pub max_replicas: u64,
    /// What the image can run on, as a registry said.
    #[serde(skip_serializing_if = "blank")]
    pub platforms: Vec<Platform>,
}

/// A label to spread over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlacementPreference {
    /// The only strategy there is.
    #[serde(skip_serializing_if = "blank")]
    pub spread: Option<Spread>,
}

/// A label to spread over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Spread {
    /// `node.labels.KEY` or `engine.labels.KEY`.
    pub spread_descriptor: String,
}

/// A platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    /// `x86_64`
    #[serde(skip_serializing_if = "blank")]
    pub architecture: String,
    /// `linux`
    #[serde(rename = "OS", skip_serializing_if = "blank")]
    pub os: String,
}

/// A network that tasks join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAttachment {
    /// Name or id.
    pub target: String,
    /// Further names of the service in it.
    #[serde(skip_serializing_if = "blank")]
    pub aliases: Vec<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "blank")]
    pub driver_opts: Map,
}

/// How tasks are replaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateConfig {
    /// Slots at once; 0 is all.
    pub parallelism: u64,
    /// Nanoseconds between batches.
    #[serde(skip_serializing_if = "blank")]
    pub delay: i64,
    /// `pause`, `continue`, `rollback`; pause when empty.
    #[serde(skip_serializing_if = "blank")]
    pub failure_action: String,
    /// Nanoseconds that a new task is watched.
    #[serde(skip_serializing_if = "blank")]
    pub monitor: i64,
    /// 0.0 to 1.0.
    #[serde(serialize_with = "share")]
    pub max_failure_ratio: f32,
    /// `stop-first`, `start-first`; stop-first when empty.
    #[serde(skip_serializing_if = "blank")]
    pub order: String,
}

/// A share as Docker writes it: none is `0`, all is `1`.
// Serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn share<S: Serializer>(share: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    match *share {
        none if none <= 0.0 => serializer.serialize_u8(0),
        all if all >= 1.0 => serializer.serialize_u8(1),
        share => serializer.serialize_f32(share),
    }
}

/// How a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSpec {
    /// `vip`, `dnsrr`; vip when empty.
    #[serde(skip_serializing_if = "blank")]
    pub mode: String,
    /// Published ports.
    #[serde(skip_serializing_if = "blank")]
    pub ports: Vec<PortConfig>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortConfig {
    /// Label of the port; means nothing to the mesh.
    #[serde(skip_serializing_if = "blank")]
    pub name: String,
    /// `tcp`, `udp`; tcp when empty.
    #[serde(skip_serializing_if = "blank")]
    pub protocol: String,
    /// Port of the task.
    #[serde(skip_serializing_if = "blank")]
    pub target_port: u32,
    /// Port of the clients; 0 asks for a dynamic one.
    #[serde(skip_serializing_if = "blank")]
    pub published_port: u32,
    /// `ingress`, `host`; ingress when empty.
    #[serde(skip_serializing_if = "blank")]
    pub publish_mode: String,
}

/// What the cluster gave a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// As the user asked.
    pub spec: EndpointSpec,
    /// Ports, dynamic ones filled in.
    #[serde(skip_serializing_if = "blank")]
    pub ports: Vec<PortConfig>,
    /// Virtual addresses.
    #[serde(rename = "VirtualIPs", skip_serializing_if = "blank")]
    pub virtual_ips: Vec<VirtualIp>,
}

/// A virtual address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VirtualIp {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// `address/prefix`.
    pub addr: String,
}
