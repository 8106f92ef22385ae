//! The cluster and its settings.

use std::time::Duration;

use ipnet::IpNet;
use mesh_api::engine::swarm::{
    CaConfig, Dispatcher, EncryptionConfig, InitRequest, JoinTokens, Orchestration, Raft, Swarm, SwarmSpec,
};
use mesh_api::engine::{Version, says_nothing};
use mesh_api::mesh::INGRESS_REPLY_LABEL;
use mesh_core::object::Cluster;
use mesh_core::spec::{ClusterSpec, IngressReply};
use serde_json::Value;

use super::super::error::ApiError;
use super::tls::Roots;
use super::{labels, nanos, network, span, time_text};

/// Bounds of the heartbeat: below, agents do nothing else; above, a dead node is noticed too late.
const HEARTBEAT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);

/// Ticks without a leader until an election, and between heartbeats of a leader: shown and not settable.
const TICKS: (i64, i64) = (10, 1);

/// Settings of a new cluster.
pub fn init_spec(request: &InitRequest) -> Result<ClusterSpec, ApiError> {
    let mut spec = ClusterSpec::default();
    change(&mut spec, &request.spec)?;
    spec.autolock |= request.auto_lock_managers;
    if !request.default_addr_pool.is_empty() {
        spec.default_address_pool = pool(&request.default_addr_pool)?;
    }
    if request.subnet_size != 0 {
        spec.subnet_prefix_len = prefix_len(request.subnet_size, &spec.default_address_pool)?;
    }
    if request.data_path_port != 0 {
        spec.data_path_port = data_path_port(request.data_path_port)?;
    }
    Ok(spec)
}

fn pool(ranges: &[String]) -> Result<Vec<IpNet>, ApiError> {
    let mut pool: Vec<IpNet> = Vec::new();
    for (at, text) in ranges.iter().enumerate() {
        let field = format!("DefaultAddrPool[{at}]");
        let net = network::subnet(&field, text)?
            .ok_or_else(|| ApiError::field(&field, "a CIDR such as 10.0.0.0/8 is expected"))?;
        if let Some(other) = pool.iter().find(|other| other.contains(&net) || net.contains(*other)) {
            return Err(ApiError::field(field, format!("{net} overlaps {other}")));
        }
        pool.push(net);
    }
    Ok(pool)
}

fn prefix_len(size: u32, pool: &[IpNet]) -> Result<u8, ApiError> {
    let refused = |reason: String| ApiError::field("SubnetSize", reason);
    let len = u8::try_from(size).ok().filter(|len| (1..=29).contains(len));
    let len = len.ok_or_else(|| refused(format!("{size} is not between 1 and 29")))?;
    match pool.iter().find(|net| net.prefix_len() > len) {
        Some(net) => Err(refused(format!("no /{len} fits into {net}"))),
        None => Ok(len),
    }
}

fn data_path_port(port: u32) -> Result<u16, ApiError> {
    // As Swarm: below are system ports, above the kernel's own (and no room for probing).
    u16::try_from(port)
        .ok()
        .filter(|port| (1024..=49_151).contains(port))
        .ok_or_else(|| ApiError::field("DataPathPort", format!("{port} is not between 1024 and 49151")))
}

/// Applies the settings that a client sent to those in force; what it left out stays.
pub fn change(spec: &mut ClusterSpec, wire: &SwarmSpec) -> Result<(), ApiError> {
    refuse_unsupported(wire)?;
    let mut plain = wire.labels.clone();
    spec.ingress_reply = ingress_reply(plain.remove(INGRESS_REPLY_LABEL).as_deref())?;
    spec.labels = labels("Labels", &plain)?;
    if let Some(limit) = wire.orchestration.task_history_retention_limit {
        spec.task_history_limit = u64::try_from(limit).map_err(|_| {
            ApiError::field("Orchestration.TaskHistoryRetentionLimit", format!("{limit} is negative"))
        })?;
    }
    if wire.dispatcher.heartbeat_period != 0 {
        spec.heartbeat = heartbeat(wire.dispatcher.heartbeat_period)?;
    }
    if wire.ca_config.node_cert_expiry != 0 {
        spec.certificate_life = span("CAConfig.NodeCertExpiry", wire.ca_config.node_cert_expiry)?;
    }
    if wire.raft.snapshot_interval != 0 {
        spec.snapshot_interval = wire.raft.snapshot_interval;
    }
    if wire.raft.log_entries_for_slow_followers != 0 {
        spec.entries_kept = wire.raft.log_entries_for_slow_followers;
    }
    if let Some(autolock) = wire.encryption_config.auto_lock_managers {
        spec.autolock = autolock;
    }
    Ok(())
}

fn ingress_reply(word: Option<&str>) -> Result<IngressReply, ApiError> {
    match word {
        None | Some("through") => Ok(IngressReply::Through),
        Some("direct") => Ok(IngressReply::Direct),
        Some(other) => Err(ApiError::field(
            format!("Labels[{INGRESS_REPLY_LABEL}]"),
            format!("{other:?}: through or direct is expected"),
        )),
    }
}

fn heartbeat(nanos: i64) -> Result<Duration, ApiError> {
    const FIELD: &str = "Dispatcher.HeartbeatPeriod";
    let period = span(FIELD, nanos)?;
    if HEARTBEAT.contains(&period) {
        return Ok(period);
    }
    let reason = format!("{period:?} is not between {:?} and {:?}", HEARTBEAT.start(), HEARTBEAT.end());
    Err(ApiError::field(FIELD, reason))
}

fn refuse_unsupported(wire: &SwarmSpec) -> Result<(), ApiError> {
    let (told, ca) = (&wire.raft, &wire.ca_config);
    let differs = |told: i64, fixed: i64| told != 0 && told != fixed;
    let asks = |value: &Option<Value>| value.as_ref().is_some_and(|value| !says_nothing(value));
    for (field, wrong, reason) in [
        ("Name", !matches!(wire.name.as_str(), "" | "default"), "the cluster's name is default"),
        (
            "Raft.KeepOldSnapshots",
            told.keep_old_snapshots.is_some_and(|keep| keep != 0),
            "a snapshot takes the place of the one before it, so 0 are kept",
        ),
        ("Raft.ElectionTick", differs(told.election_tick, TICKS.0), "the mesh sets it itself; leave it out"),
        (
            "Raft.HeartbeatTick",
            differs(told.heartbeat_tick, TICKS.1),
            "the mesh sets it itself; leave it out",
        ),
        (
            "CAConfig.ExternalCAs",
            asks(&ca.external_cas),
            "the managers sign the nodes' certificates themselves; leave it out",
        ),
        (
            "CAConfig.SigningCACert",
            !ca.signing_ca_cert.is_empty() || !ca.signing_ca_key.is_empty(),
            "the managers make the root certificate themselves; leave it out, and a rotation makes a new one",
        ),
        ("TaskDefaults.LogDriver", asks(&wire.task_defaults.log_driver), "leave it out"),
    ] {
        if wrong {
            return Err(ApiError::unsupported(field, reason));
        }
    }
    Ok(())
}

/// The cluster, as the API shows it.
pub fn show(cluster: &Cluster, tokens: Option<JoinTokens>) -> Swarm {
    let spec = &cluster.spec;
    let roots = Roots::of(cluster);
    Swarm {
        id: cluster.id.to_string(),
        version: Version { index: cluster.meta.version },
        created_at: time_text(cluster.meta.created_at),
        updated_at: time_text(cluster.meta.updated_at),
        spec: show_spec(spec),
        tls_info: roots.of_cluster(),
        root_rotation_in_progress: roots.are_changing(),
        default_addr_pool: spec.default_address_pool.iter().map(ToString::to_string).collect(),
        subnet_size: u32::from(spec.subnet_prefix_len),
        data_path_port: u32::from(spec.data_path_port),
        join_tokens: tokens,
    }
}

fn show_spec(spec: &ClusterSpec) -> SwarmSpec {
    let mut labels = spec.labels.clone();
    if spec.ingress_reply == IngressReply::Direct {
        labels.insert(INGRESS_REPLY_LABEL.to_owned(), "direct".to_owned());
    }
    SwarmSpec {
        name: "default".to_owned(),
        labels,
        orchestration: Orchestration {
            task_history_retention_limit: Some(i64::try_from(spec.task_history_limit).unwrap_or(i64::MAX)),
        },
        raft: Raft {
            snapshot_interval: spec.snapshot_interval,
            keep_old_snapshots: Some(0),
            log_entries_for_slow_followers: spec.entries_kept,
            election_tick: TICKS.0,
            heartbeat_tick: TICKS.1,
        },
        dispatcher: Dispatcher { heartbeat_period: nanos(spec.heartbeat) },
        ca_config: CaConfig { node_cert_expiry: nanos(spec.certificate_life), ..CaConfig::default() },
        encryption_config: EncryptionConfig { auto_lock_managers: Some(spec.autolock) },
        ..SwarmSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn init(text: &str) -> Result<ClusterSpec, ApiError> {
        init_spec(&decode(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_docker_clis_init_is_the_default() {
        let text = r#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"192.0.2.11","DataPathAddr":"","DataPathPort":0,
            "ForceNewCluster":false,"Spec":{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,
            "HeartbeatTick":0},"Dispatcher":{},"CAConfig":{},"TaskDefaults":{},"EncryptionConfig":
            {"AutoLockManagers":false}},"AutoLockManagers":false,"Availability":"","DefaultAddrPool":[],
            "SubnetSize":24}"#;
        assert_eq!(init(text).unwrap(), ClusterSpec::default());
    }

    #[test]
    fn every_setting_is_taken() {
        let text = r#"{"AutoLockManagers":true,"Spec":{"Orchestration":{"TaskHistoryRetentionLimit":2},"Raft":
            {"SnapshotInterval":200,"KeepOldSnapshots":0,"LogEntriesForSlowFollowers":20},"Dispatcher":
            {"HeartbeatPeriod":5000000000},"CAConfig":{"NodeCertExpiry":3600000000000}}}"#;
        let wanted = ClusterSpec {
            autolock: true,
            task_history_limit: 2,
            snapshot_interval: 200,
            entries_kept: 20,
            heartbeat: Duration::from_secs(5),
            certificate_life: Duration::from_hours(1),
            ..ClusterSpec::default()
        };
        assert_eq!(init(text).unwrap(), wanted);
        let said_in_the_spec = r#"{"Spec":{"EncryptionConfig":{"AutoLockManagers":true}}}"#;
        assert!(init(said_in_the_spec).unwrap().autolock);
    }

    #[test]
    fn what_is_not_said_of_locking_changes_nothing() {
        let mut spec = ClusterSpec { autolock: true, ..ClusterSpec::default() };
        change(&mut spec, &SwarmSpec::default()).unwrap();
        assert!(spec.autolock);
    }

    #[test]
    fn shown_settings_sent_back_are_no_change() {
        let mut spec = ClusterSpec {
            task_history_limit: 3,
            autolock: true,
            certificate_life: Duration::from_hours(3),
            snapshot_interval: 77,
            entries_kept: 7,
            ingress_reply: IngressReply::Direct,
            ..ClusterSpec::default()
        };
        let before = spec.clone();
        let shown = show_spec(&spec);
        change(&mut spec, &shown).unwrap();
        assert_eq!(spec, before);
    }

    #[test]
    fn refusals_name_the_field() {
        for (text, field) in [
            (r#"{"Spec":{"Raft":{"KeepOldSnapshots":1}}}"#, "Raft.KeepOldSnapshots"),
            (r#"{"Spec":{"Raft":{"ElectionTick":3}}}"#, "Raft.ElectionTick"),
            (r#"{"Spec":{"CAConfig":{"NodeCertExpiry":-1}}}"#, "CAConfig.NodeCertExpiry"),
            (r#"{"Spec":{"CAConfig":{"SigningCACert":"x"}}}"#, "CAConfig.SigningCACert"),
            (r#"{"Spec":{"CAConfig":{"SigningCAKey":"x"}}}"#, "CAConfig.SigningCACert"),
            (
                r#"{"Spec":{"CAConfig":{"ExternalCAs":[{"Protocol":"cfssl","URL":"https://x"}]}}}"#,
                "CAConfig.ExternalCAs",
            ),
            (r#"{"Spec":{"Name":"prod"}}"#, "Name"),
            (r#"{"DefaultAddrPool":["10.0.0.0/8","10.1.0.0/16"]}"#, "DefaultAddrPool[1]"),
            (r#"{"DefaultAddrPool":["10.0.0.0/40"]}"#, "DefaultAddrPool[0]"),
            (r#"{"SubnetSize":30}"#, "SubnetSize"),
            (r#"{"DefaultAddrPool":["10.0.0.0/20"],"SubnetSize":16}"#, "SubnetSize"),
            (r#"{"DataPathPort":80}"#, "DataPathPort"),
            (r#"{"Spec":{"Dispatcher":{"HeartbeatPeriod":1}}}"#, "Dispatcher.HeartbeatPeriod"),
            (
                r#"{"Spec":{"Orchestration":{"TaskHistoryRetentionLimit":-1}}}"#,
                "Orchestration.TaskHistoryRetentionLimit",
            ),
        ] {
            let message = init(text).expect_err(text).to_string();
            let named = message.strip_prefix("invalid value for ").unwrap_or(&message);
            assert!(named.starts_with(field), "{message}");
        }
    }
}
