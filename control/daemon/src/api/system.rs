//! The daemon itself: ping, version, info.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use mesh_api::engine::swarm::Swarm;
use mesh_api::engine::system::{
    Component, PlatformName, Plugins, RemoteManager, SwarmInfo, SystemInfo, VersionResponse,
};
use mesh_api::{API_VERSION, MIN_API_VERSION};
use mesh_core::spec::Role;
use mesh_core::store::Store;

use super::Api;
use super::convert::{cluster, time_text};
use super::error::ApiError;
use crate::daemon::{LocalState, NodeInfo};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET` and `HEAD /_ping`
pub async fn ping(State(api): State<Api>) -> Response {
    let info = api.backend.info();
    let swarm = match (&info.state, info.role) {
        (LocalState::Active, Some(Role::Manager)) => "active/manager",
        (LocalState::Active, _) => "active/worker",
        (LocalState::Inactive, _) => "inactive",
        (LocalState::Pending { .. }, _) => "pending",
        (LocalState::Locked, _) => "locked",
        (LocalState::Error { .. }, _) => "error",
    };
    let headers = [
        (header::CACHE_CONTROL.as_str(), "no-cache, no-store, must-revalidate"),
        (header::PRAGMA.as_str(), "no-cache"),
        (header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"),
        ("swarm", swarm),
    ];
    (headers, "OK").into_response()
}

/// What Docker puts on every answer.
pub async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        ("api-version", API_VERSION),
        ("docker-experimental", "false"),
        ("ostype", "linux"),
        ("server", concat!("meshd/", env!("CARGO_PKG_VERSION"), " (linux)")),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `GET /version`
pub async fn version() -> Json<VersionResponse> {
    // The docker CLI shows these, not the fields beside the components.
    let details = [
        ("ApiVersion", API_VERSION.to_owned()),
        ("MinAPIVersion", MIN_API_VERSION.to_owned()),
        ("Os", "linux".to_owned()),
        ("Arch", docker_arch(std::env::consts::ARCH).to_owned()),
        ("KernelVersion", kernel()),
        ("Experimental", "false".to_owned()),
    ];
    let engine = Component {
        name: "Engine".to_owned(),
        version: VERSION.to_owned(),
        details: details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    Json(VersionResponse {
        platform: PlatformName { name: "meshd".to_owned() },
        components: vec![engine],
        version: VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        git_commit: String::new(),
        go_version: "rust".to_owned(),
        os: "linux".to_owned(),
        arch: docker_arch(std::env::consts::ARCH).to_owned(),
        kernel_version: kernel(),
        build_time: String::new(),
    })
}

/// `GET /distribution/NAME/json`: nothing is known of registries, so clients go on without a digest.
pub async fn distribution(Path(name): Path<String>) -> ApiError {
    let reference = name.trim_end_matches("/json").to_owned();
    ApiError::NotFound { kind: "image in a registry:", reference }
}

/// `GET /info`
pub async fn info(State(api): State<Api>) -> Json<SystemInfo> {
    let node = api.backend.info();
    let ledger = api.backend.manager().ok();
    let store = ledger.as_ref().map(|ledger| ledger.store());
    let alarm = ledger.and_then(|ledger| ledger.alarm());
    let warnings = warnings(alarm, store.as_ref());
    Json(SystemInfo { warnings, ..describe(&node, store.as_ref()) })
}

/// What the operator should know, each with the word before it that docker's CLI leaves to the daemon.
fn warnings(alarm: Option<String>, store: Option<&Store>) -> Vec<String> {
    let alarm = alarm.map(|alarm| format!("this manager takes no writes: {alarm}"));
    let two = store.is_some_and(|store| managers(store) == 2).then(|| {
        "Running Swarm in a two-manager configuration. This configuration provides no fault tolerance, and poses a \
         high risk to lose control over the cluster."
            .to_owned()
    });
    alarm.into_iter().chain(two).map(|words| format!("WARNING: {words}")).collect()
}

fn managers(store: &Store) -> u64 {
    store.nodes().filter(|node| node.manager.is_some()).count() as u64
}

fn describe(node: &NodeInfo, store: Option<&Store>) -> SystemInfo {
    let told = &node.description;
    let running = node.running_tasks as u64;
    SystemInfo {
        id: node.node.map(|id| id.to_string()).unwrap_or_default(),
        containers: running,
        containers_running: running,
        driver: "overlayfs".to_owned(),
        plugins: Plugins { network: vec!["overlay".to_owned()], ..Plugins::default() },
        memory_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        pids_limit: true,
        ipv4_forwarding: true,
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: cgroup_version().to_owned(),
        kernel_version: kernel(),
        operating_system: distribution_name(),
        os_type: "linux".to_owned(),
        architecture: told.arch.clone(),
        ncpu: told.resources.nano_cpus / 1_000_000_000,
        mem_total: told.resources.memory_bytes,
        name: told.hostname.clone(),
        labels: told.engine_labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        server_version: VERSION.to_owned(),
        runtimes: [("native".to_owned(), serde_json::json!({}))].into(),
        default_runtime: "native".to_owned(),
        swarm: describe_swarm(node, store),
        security_options: vec!["name=seccomp,profile=builtin".to_owned()],
        system_time: time_text(crate::clock::now()),
        ..SystemInfo::default()
    }
}

fn describe_swarm(node: &NodeInfo, store: Option<&Store>) -> SwarmInfo {
    let (state, error) = match &node.state {
        LocalState::Inactive => ("inactive", String::new()),
        LocalState::Pending { error } => ("pending", error.clone()),
        LocalState::Active => ("active", String::new()),
        LocalState::Locked => ("locked", String::new()),
        LocalState::Error { error } => ("error", error.clone()),
    };
    let remote = remote_managers(node, store);
    SwarmInfo {
        node_id: node.node.map(|id| id.to_string()).unwrap_or_default(),
        node_addr: node.addr.map(|addr| addr.to_string()).unwrap_or_default(),
        local_node_state: state.to_owned(),
        control_available: store.is_some(),
        error,
        remote_managers: (!remote.is_empty()).then_some(remote),
        nodes: store.map_or(0, |store| store.nodes().count() as u64),
        managers: store.map_or(0, managers),
        cluster: store.and_then(cluster_without_tokens),
    }
}

fn cluster_without_tokens(store: &Store) -> Option<Swarm> {
    store.cluster().map(|found| cluster::show(found, None))
}

fn remote_managers(node: &NodeInfo, store: Option<&Store>) -> Vec<RemoteManager> {
    let id_of = |addr: &std::net::SocketAddr| {
        let holds = |node: &&std::sync::Arc<mesh_core::object::Node>| {
            node.manager.as_ref().is_some_and(|manager| manager.addr == *addr)
        };
        store.and_then(|store| store.nodes().find(holds)).map(|node| node.id.to_string()).unwrap_or_default()
    };
    node.managers.iter().map(|addr| RemoteManager { node_id: id_of(addr), addr: addr.to_string() }).collect()
}

/// The architecture in Go's words.
fn docker_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

fn cgroup_version() -> &'static str {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }
}

fn distribution_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_default()
}
