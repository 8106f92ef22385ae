//! What a spec may hold, whatever the cluster's state: limits on every list and text, and values that make
//! sense. Each refusal names the field.

mod health;

use std::collections::BTreeSet;
use std::time::Duration;

use super::references;
use super::refusal::Refusal;
use crate::image;
use crate::label;
use crate::name;
use crate::port::PublishMode;
use crate::spec::{
    ClusterSpec, ContainerSpec, EndpointMode, EndpointSpec, Labels, NetworkAttachment, NodeSpec,
    ResourceAmount, Resources, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig,
};

/// Most labels on one object.
pub const LABELS_MAX: usize = 256;
/// Most bytes in all labels of one object, keys and values.
pub const LABELS_BYTES_MAX: usize = 64 << 10;
/// Most entries in a list of arguments or of environment variables.
pub const WORDS_MAX: usize = 4096;
/// Most bytes in all entries of such a list.
pub const WORDS_BYTES_MAX: usize = 256 << 10;
/// Most tasks of one service.
pub const REPLICAS_MAX: u32 = 100_000;
/// Most placement constraints, and most preferences.
pub const CONSTRAINTS_MAX: usize = 64;
/// Most kinds of generic resources that a service reserves, or a node has.
pub const GENERIC_MAX: usize = 64;
/// Most pieces of one kind that a node has by name.
pub const GENERIC_NAMES_MAX: usize = 1024;
/// Most networks that a service joins.
pub const NETWORKS_MAX: usize = 16;
/// Most aliases in one network.
pub const ALIASES_MAX: usize = 64;
/// Most published ports of one service.
pub const PORTS_MAX: usize = 256;
/// Longest text of a single field.
const TEXT_MAX: usize = 4096;
/// Longest time of any setting.
const DURATION_MAX: Duration = Duration::from_hours(8784);
/// Least memory that a process can be limited to.
const MEMORY_MIN: u64 = 4 << 20;
/// Least CPU that a process can be limited to, in 10⁻⁹ cores.
const CPU_MIN: u64 = 1_000_000;

type Checked = Result<(), Refusal>;

fn require(good: bool, field: &str, reason: impl Into<String>) -> Checked {
    if good { Ok(()) } else { Err(Refusal::invalid(field, reason)) }
}

fn at_most(found: usize, limit: usize, field: &str) -> Checked {
    require(found <= limit, field, format!("{found} entries are more than the {limit} allowed"))
}

pub(super) fn labels(labels: &Labels, field: &str) -> Checked {
    at_most(labels.len(), LABELS_MAX, field)?;
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    require(
        bytes <= LABELS_BYTES_MAX,
        field,
        format!("{bytes} bytes are more than the {LABELS_BYTES_MAX} allowed"),
    )?;
    require(!labels.contains_key(""), field, "a label's key is empty")
}

fn text(text: &str, field: &str) -> Checked {
    require(text.len() <= TEXT_MAX, field, format!("longer than {TEXT_MAX} bytes"))?;
    require(!text.contains('\0'), field, "a NUL character")
}

fn words(words: &[String], field: &str) -> Checked {
    at_most(words.len(), WORDS_MAX, field)?;
    let bytes: usize = words.iter().map(String::len).sum();
    require(
        bytes <= WORDS_BYTES_MAX,
        field,
        format!("{bytes} bytes are more than the {WORDS_BYTES_MAX} allowed"),
    )?;
    require(!words.iter().any(|word| word.contains('\0')), field, "a NUL character")
}

fn duration(duration: Duration, field: &str) -> Checked {
    require(duration <= DURATION_MAX, field, "longer than a year")
}

/// Checks a service and fills in the tag of its image.
pub(super) fn service(spec: &mut ServiceSpec) -> Checked {
    let image = &mut spec.task.container.image;
    require(!image.is_empty(), "image", "image reference must be provided")?;
    *image = image::normalise(image).map_err(|error| Refusal::invalid("image", error.to_string()))?;
    labels(&spec.labels, "labels")?;
    mesh_labels(&spec.labels)?;
    mode(spec.mode)?;
    if spec.mode.is_job() {
        let plain = [spec.update, spec.rollback].iter().all(|config| *config == UpdateConfig::default());
        require(plain, "update config", "Jobs may not have an update config")?;
    }
    task(&spec.task)?;
    endpoint(&spec.endpoint)?;
    update(&spec.update, "update")?;
    update(&spec.rollback, "rollback")
}

fn mode(mode: ServiceMode) -> Checked {
    let at_most = |number: u32, field: &str| {
        require(number <= REPLICAS_MAX, field, format!("{number} is more than the {REPLICAS_MAX} allowed"))
    };
    match mode {
        ServiceMode::Replicated { replicas } => at_most(replicas, "replicas"),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            let ends = max_concurrent >= 1 || total_completions == 0;
            require(ends, "max concurrent", "a job of which nothing may run does not come to its end")?;
            at_most(max_concurrent, "max concurrent")?;
            at_most(total_completions, "total completions")
        }
        ServiceMode::Global | ServiceMode::GlobalJob => Ok(()),
    }
}

/// Labels that are options of this project.
fn mesh_labels(labels: &Labels) -> Checked {
    let field = format!("label {}", label::DRAIN);
    let drain = label::drain(labels).map_err(|error| Refusal::invalid(&field, error.to_string()))?;
    duration(drain.unwrap_or_default(), &field)
}

fn task(spec: &TaskSpec) -> Checked {
    container(&spec.container)?;
    resources(&spec.resources)?;
    duration(spec.restart.delay, "restart delay")?;
    duration(spec.restart.window, "restart window")?;
    at_most(spec.placement.constraints.len(), CONSTRAINTS_MAX, "placement constraints")?;
    at_most(spec.placement.preferences.len(), CONSTRAINTS_MAX, "placement preferences")?;
    at_most(spec.placement.platforms.len(), CONSTRAINTS_MAX, "placement platforms")?;
    networks(&spec.networks)
}

fn container(spec: &ContainerSpec) -> Checked {
    words(&spec.command, "command")?;
    words(&spec.args, "args")?;
    words(&spec.env, "env")?;
    let named = |entry: &String| entry.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    if let Some(at) = spec.env.iter().position(|entry| !named(entry)) {
        return Err(Refusal::invalid(
            format!("env[{at}]"),
            format!("not KEY=value: {:?}", cut(&spec.env[at])),
        ));
    }
    labels(&spec.labels, "container labels")?;
    if let Some(hostname) = &spec.hostname {
        let good = name::is_container_hostname(hostname);
        require(good, "hostname", format!("{:?} is not a host name", cut(hostname)))?;
    }
    if let Some(dir) = &spec.dir {
        text(dir, "workdir")?;
        require(dir.starts_with('/'), "workdir", format!("{:?} is not an absolute path", cut(dir)))?;
    }
    if let Some(user) = &spec.user {
        text(user, "user")?;
        let plain = !user.is_empty() && !user.contains(char::is_whitespace);
        require(plain, "user", format!("{:?} is neither uid[:gid] nor a name", cut(user)))?;
    }
    if let Some(signal) = &spec.stop_signal {
        require(is_signal(signal), "stop signal", format!("{:?} is not a signal", cut(signal)))?;
    }
    references::check(spec)?;
    spec.stop_grace_period.map_or(Ok(()), |grace| duration(grace, "stop grace period"))?;
    health::check(&spec.health)
}

/// `SIGTERM`, `TERM` or `15`.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = text.strip_prefix("SIG").unwrap_or(text);
    NAMES.contains(&name) || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
}

fn resources(resources: &Resources) -> Checked {
    let Resources { limits, reservations, pids_limit, generic } = resources;
    at_most(generic.len(), GENERIC_MAX, "generic resources")?;
    for (kind, wanted) in generic {
        generic_kind(kind)?;
        require(*wanted > 0, "generic resources", format!("{kind}: must be at least 1"))?;
    }
    amount(limits, "limit")?;
    amount(reservations, "reservation")?;
    require(i64::try_from(*pids_limit).is_ok(), "pids limit", "too large")
}

/// Whether text names a kind of generic resources; it becomes part of a variable's name in tasks.
pub(super) fn generic_kind(kind: &str) -> Checked {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = (1..=64).contains(&kind.len()) && kind.bytes().all(inner);
    require(good, "generic resources", format!("{:?} is no kind of resource", cut(kind)))
}

/// Whether a node may tell of so many pieces, and of each by its name.
pub(super) fn generic_names(names: &BTreeSet<String>) -> Checked {
    at_most(names.len(), GENERIC_NAMES_MAX, "generic resources")?;
    let good = names.iter().all(|name| (1..=256).contains(&name.len()));
    require(good, "generic resources", "a piece's name has 1 to 256 bytes".to_owned())
}

fn amount(amount: &ResourceAmount, what: &str) -> Checked {
    let (cpu, memory) = (format!("cpu {what}"), format!("memory {what}"));
    let cpu_good = amount.nano_cpus == 0 || (CPU_MIN..=1 << 53).contains(&amount.nano_cpus);
    require(
        cpu_good,
        &cpu,
        format!("{} billionths of a core: must be at least {CPU_MIN}", amount.nano_cpus),
    )?;
    let memory_good = amount.memory_bytes == 0 || (MEMORY_MIN..=1 << 53).contains(&amount.memory_bytes);
    require(memory_good, &memory, format!("{} bytes: must be at least 4MiB", amount.memory_bytes))
}

fn networks(attachments: &[NetworkAttachment]) -> Checked {
    at_most(attachments.len(), NETWORKS_MAX, "networks")?;
    for (at, attachment) in attachments.iter().enumerate() {
        let twice = attachments[..at].iter().any(|other| other.network == attachment.network);
        require(!twice, "networks", format!("network {} is listed twice", attachment.network))?;
        at_most(attachment.aliases.len(), ALIASES_MAX, "network aliases")?;
        if let Some(bad) = attachment.aliases.iter().find(|alias| alias.parse::<crate::name::Name>().is_err())
        {
            return Err(Refusal::invalid("network aliases", format!("{:?} is not a DNS name", cut(bad))));
        }
    }
    Ok(())
}

fn endpoint(spec: &EndpointSpec) -> Checked {
    at_most(spec.ports.len(), PORTS_MAX, "ports")?;
    let ingress = spec.ports.iter().any(|port| port.mode == PublishMode::Ingress);
    let round_robin = spec.mode == EndpointMode::Dnsrr;
    let reason = "port published with ingress mode can't be used with dnsrr mode";
    require(!(ingress && round_robin), "ports", reason)?;
    for (at, port) in spec.ports.iter().enumerate() {
        let same = |other: &&crate::port::PublishedPort| {
            (other.published, other.protocol) == (port.published, port.protocol)
        };
        let twice = port.published.is_some() && spec.ports[..at].iter().any(|other| same(&other));
        require(!twice, "ports", "duplicate published ports provided")?;
    }
    Ok(())
}

fn update(config: &UpdateConfig, what: &str) -> Checked {
    duration(config.delay, &format!("{what} delay"))?;
    duration(config.monitor, &format!("{what} monitor"))?;
    let ratio = (0.0..=1.0).contains(&config.max_failure_ratio);
    require(ratio, &format!("{what} max failure ratio"), "cannot be less than 0 or bigger than 1")
}

pub(super) fn node(spec: &NodeSpec) -> Checked {
    labels(&spec.labels, "labels")?;
    let named = spec.name.as_ref().is_none_or(|text| text.is_empty() || name::is_node_name(text));
    require(named, "name", "must be valid as a DNS name component")
}

pub(super) fn cluster(spec: &ClusterSpec) -> Checked {
    labels(&spec.labels, "labels")?;
    let beats = Duration::from_millis(100)..=Duration::from_hours(1);
    require(beats.contains(&spec.heartbeat), "dispatcher heartbeat", "must be between 100ms and 1h")?;
    require(spec.task_history_limit <= 1000, "task history limit", "must be at most 1000")?;
    let lives = Duration::from_hours(1)..=Duration::from_hours(20 * 365 * 24);
    let reason = "must be between 1h0m0s, which is the minimum certificate expiry time, and 20 years";
    require(lives.contains(&spec.certificate_life), "certificate expiry", reason)?;
    let entries = 1..=1_000_000;
    require(entries.contains(&spec.snapshot_interval), "snapshot interval", "must be between 1 and 1000000")?;
    let kept = spec.entries_kept <= 1_000_000;
    require(kept, "log entries for slow followers", "must be at most 1000000")?;
    let ports = 1024..=49151;
    require(ports.contains(&spec.data_path_port), "data path port", "must be between 1024 and 49151")?;
    let own = [2377, 7946].contains(&spec.data_path_port);
    require(!own, "data path port", "2377 and 7946 have another use")?;
    let lengths = SUBNET_PREFIXES;
    require(
        lengths.contains(&spec.subnet_prefix_len),
        "default address pool mask length",
        "must be between 8 and 29",
    )?;
    require(!spec.default_address_pool.is_empty(), "default address pool", "is empty")?;
    at_most(spec.default_address_pool.len(), 64, "default address pool")?;
    for (at, pool) in spec.default_address_pool.iter().enumerate() {
        let field = "default address pool";
        require(pool.addr().is_ipv4(), field, format!("{pool}: IPv6 is not available"))?;
        require(pool.trunc() == *pool, field, format!("{pool} has bits set beyond its prefix"))?;
        let large = pool.prefix_len() <= spec.subnet_prefix_len;
        require(large, field, format!("{pool} is smaller than one network of /{}", spec.subnet_prefix_len))?;
        let clear =
            spec.default_address_pool[..at].iter().all(|other| !crate::allocate::overlap(other, pool));
        require(clear, field, format!("{pool} overlaps another one"))?;
    }
    Ok(())
}

/// Sizes of networks that addresses can be given in.
pub(super) const SUBNET_PREFIXES: std::ops::RangeInclusive<u8> = 8..=29;

/// A text of the user's, short enough to be said back.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
