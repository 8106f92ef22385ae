//! Services.

use std::collections::BTreeMap;

use mesh_api::engine::service::{
    Endpoint, EndpointSpec as WireEndpoint, NetworkAttachment as WireAttachment, PortConfig,
    Service as WireService, ServiceSpec as WireSpec, TaskSpec as WireTask, UpdateConfig as WireUpdate,
    VirtualIp,
};
use mesh_api::engine::{Version, says_nothing};
use mesh_core::id::NetworkId;
use mesh_core::label;
use mesh_core::name::Name;
use mesh_core::object::{AllocatedPort, Service};
use mesh_core::port::{Port, Protocol, PublishMode, PublishedPort};
use mesh_core::spec::{
    EndpointMode, EndpointSpec, NetworkAttachment, RestartPolicy, STOP_GRACE, ServiceSpec, TaskSpec,
    UpdateConfig,
};
use mesh_core::store::Store;
use serde_json::{Map, Value};

use super::super::error::ApiError;
use super::{constraint, container, labels_with, mode, nanos, policy, standing, time_text};

/// The wanted service; names of networks are resolved in `store`.
pub fn spec(wire: &WireSpec, store: &Store) -> Result<ServiceSpec, ApiError> {
    let mode = mode::mode(wire.mode.as_ref())?;
    let replacement = |field: &str, config: Option<&WireUpdate>, may_roll_back| match config {
        None => Ok(UpdateConfig::default()),
        Some(_) if mode.is_job() => Err(ApiError::field(field, "Jobs may not have an update config")),
        Some(config) => policy::update(field, config, may_roll_back),
    };
    Ok(ServiceSpec {
        name: name("Name", &wire.name)?,
        labels: labels_with("Labels", &wire.labels, &[label::DRAIN])?,
        mode,
        task: task(wire, store)?,
        endpoint: endpoint(wire.endpoint_spec.as_ref())?,
        update: replacement("UpdateConfig", wire.update_config.as_ref(), true)?,
        rollback: replacement("RollbackConfig", wire.rollback_config.as_ref(), false)?,
    })
}

/// A name, by the field that it stands in.
pub fn name(field: &str, text: &str) -> Result<Name, ApiError> {
    text.parse().map_err(|error: mesh_core::name::NameError| {
        ApiError::field(field, format!("{:?}: {error}", error.text))
    })
}

fn task(service: &WireSpec, store: &Store) -> Result<TaskSpec, ApiError> {
    let wire = &service.task_template;
    refuse_unsupported(wire)?;
    let process = wire
        .container_spec
        .as_ref()
        .ok_or_else(|| ApiError::field("TaskTemplate.ContainerSpec", "a container is needed"))?;
    let attachments = wire.networks.as_ref().or(service.networks.as_ref());
    Ok(TaskSpec {
        container: container::container(process)?,
        resources: wire.resources.as_ref().map(container::resources).transpose()?.unwrap_or_default(),
        restart: wire.restart_policy.as_ref().map_or(Ok(RestartPolicy::default()), policy::restart)?,
        placement: wire.placement.as_ref().map(constraint::placement).transpose()?.unwrap_or_default(),
        networks: networks(attachments.map_or(&[], Vec::as_slice), store)?,
        force_update: wire.force_update,
    })
}

fn refuse_unsupported(wire: &WireTask) -> Result<(), ApiError> {
    let raw = [
        ("PluginSpec", &wire.plugin_spec),
        ("NetworkAttachmentSpec", &wire.network_attachment_spec),
        ("LogDriver", &wire.log_driver),
    ];
    for (field, value) in raw {
        if value.as_ref().is_some_and(|value| !says_nothing(value)) {
            return Err(ApiError::unsupported(format!("TaskTemplate.{field}"), "leave it out"));
        }
    }
    if !matches!(wire.runtime.as_str(), "" | "container") {
        return Err(ApiError::unsupported("TaskTemplate.Runtime", "container is what tasks are"));
    }
    Ok(())
}

/// Networks in the order given; one that is named twice is joined once, with all aliases.
fn networks(wire: &[WireAttachment], store: &Store) -> Result<Vec<NetworkAttachment>, ApiError> {
    let mut joined: Vec<NetworkAttachment> = Vec::new();
    for (at, wanted) in wire.iter().enumerate() {
        let field = format!("TaskTemplate.Networks[{at}]");
        if !wanted.driver_opts.is_empty() {
            return Err(ApiError::unsupported(format!("{field}.DriverOpts"), "leave it out"));
        }
        let network = store
            .find_network(&wanted.target)
            .map_err(mesh_core::command::Refusal::Lookup)
            .map_err(ApiError::from)?;
        if network.spec.ingress {
            let reason = format!(
                "Service cannot be explicitly attached to the ingress network \"{}\"",
                network.spec.name
            );
            return Err(ApiError::field(format!("{field}.Target"), reason));
        }
        for alias in &wanted.aliases {
            name(&format!("{field}.Aliases"), alias)?;
        }
        match joined.iter_mut().find(|known| known.network == network.id) {
            Some(known) => known.aliases.extend(wanted.aliases.iter().cloned()),
            None => {
                joined.push(NetworkAttachment { network: network.id, aliases: wanted.aliases.clone() });
            }
        }
    }
    Ok(joined)
}

fn endpoint(wire: Option<&WireEndpoint>) -> Result<EndpointSpec, ApiError> {
    let Some(wire) = wire else { return Ok(EndpointSpec::default()) };
    let mode = match wire.mode.as_str() {
        "" | "vip" => EndpointMode::Vip,
        "dnsrr" => EndpointMode::Dnsrr,
        other => {
            return Err(ApiError::field("EndpointSpec.Mode", format!("{other:?}: vip or dnsrr is expected")));
        }
    };
    let ports: Vec<PublishedPort> =
        wire.ports.iter().enumerate().map(|(at, wire)| port(at, wire)).collect::<Result<_, _>>()?;
    let ingress = ports.iter().any(|port| port.mode == PublishMode::Ingress);
    if mode == EndpointMode::Dnsrr && ingress {
        return Err(ApiError::field(
            "EndpointSpec.Ports",
            "port published with ingress mode can't be used with dnsrr mode",
        ));
    }
    Ok(EndpointSpec { mode, ports })
}

fn port(at: usize, wire: &PortConfig) -> Result<PublishedPort, ApiError> {
    let field = |name: &str| format!("EndpointSpec.Ports[{at}].{name}");
    let number = |name: &str, value: u32| {
        u16::try_from(value)
            .ok()
            .and_then(Port::new)
            .ok_or_else(|| ApiError::field(field(name), format!("{value} is not between 1 and 65535")))
    };
    let protocol = match wire.protocol.as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => {
            return Err(ApiError::unsupported(field("Protocol"), "sctp is not balanced; use tcp or udp"));
        }
        other => {
            return Err(ApiError::field(field("Protocol"), format!("{other:?}: tcp or udp is expected")));
        }
    };
    let mode = match wire.publish_mode.as_str() {
        "" | "ingress" => PublishMode::Ingress,
        "host" => PublishMode::Host,
        other => {
            return Err(ApiError::field(
                field("PublishMode"),
                format!("{other:?}: ingress or host is expected"),
            ));
        }
    };
    let published = match wire.published_port {
        0 => None,
        value => Some(number("PublishedPort", value)?),
    };
    Ok(PublishedPort { published, target: number("TargetPort", wire.target_port)?, protocol, mode })
}

/// The service, as the API shows it.
pub fn show(service: &Service, store: &Store) -> WireService {
    WireService {
        id: service.id.to_string(),
        version: Version { index: service.meta.version },
        created_at: time_text(service.meta.created_at),
        updated_at: time_text(service.meta.updated_at),
        spec: show_spec(&service.spec),
        previous_spec: service.previous_spec.as_deref().map(show_spec),
        endpoint: show_endpoint(service, store),
        update_status: service.update.as_ref().map(standing::show_update),
        service_status: None,
        job_status: service.job.map(standing::show_job),
        rebalance: service.rebalance.as_ref().map(standing::show_rebalance),
    }
}

fn show_endpoint(service: &Service, store: &Store) -> Endpoint {
    let prefix =
        |network: NetworkId| store.network(network).map_or(32, |network| network.subnet.prefix_len());
    let vip = |(network, address): (&NetworkId, &std::net::IpAddr)| VirtualIp {
        network_id: network.to_string(),
        addr: format!("{address}/{}", prefix(*network)),
    };
    Endpoint {
        spec: show_endpoint_spec(&service.spec.endpoint),
        ports: service.endpoint.ports.iter().copied().map(show_port).collect(),
        virtual_ips: service.endpoint.vips.iter().map(vip).collect(),
    }
}

/// What the user wants, as the API shows it.
pub fn show_spec(spec: &ServiceSpec) -> WireSpec {
    // A job has none: the API refuses it one.
    let replacement = |config| (!spec.mode.is_job()).then(|| policy::show_update(config));
    WireSpec {
        name: spec.name.to_string(),
        labels: spec.labels.clone(),
        task_template: show_task(&spec.task),
        mode: Some(mode::show(spec.mode)),
        update_config: replacement(&spec.update),
        rollback_config: replacement(&spec.rollback),
        networks: None,
        endpoint_spec: Some(show_endpoint_spec(&spec.endpoint)),
    }
}

/// Fills in what holds where the user said nothing; most is always shown.
pub fn insert_defaults(spec: &mut WireSpec) {
    if let Some(container) = &mut spec.task_template.container_spec {
        container.stop_grace_period.get_or_insert(nanos(STOP_GRACE));
        container.dns_config.get_or_insert_with(|| Value::Object(Map::new()));
    }
}

/// What a task runs, as the API shows it.
pub fn show_task(task: &TaskSpec) -> WireTask {
    let attachment = |joined: &NetworkAttachment| WireAttachment {
        target: joined.network.to_string(),
        aliases: joined.aliases.clone(),
        driver_opts: BTreeMap::new(),
    };
    let networks: Vec<_> = task.networks.iter().map(attachment).collect();
    WireTask {
        container_spec: Some(container::show(&task.container)),
        resources: Some(container::show_resources(&task.resources)),
        restart_policy: Some(policy::show_restart(&task.restart)),
        placement: Some(constraint::show(&task.placement)),
        networks: (!networks.is_empty()).then_some(networks),
        force_update: task.force_update,
        runtime: "container".to_owned(),
        ..WireTask::default()
    }
}

fn show_endpoint_spec(spec: &EndpointSpec) -> WireEndpoint {
    let port = |port: &PublishedPort| PortConfig {
        published_port: port.published.map_or(0, |port| u32::from(port.get())),
        ..port_words(port.target, port.protocol, port.mode)
    };
    let mode = match spec.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::Dnsrr => "dnsrr",
    };
    WireEndpoint { mode: mode.to_owned(), ports: spec.ports.iter().map(port).collect() }
}

/// A settled port, as the API shows it.
pub fn show_port(port: AllocatedPort) -> PortConfig {
    PortConfig {
        published_port: u32::from(port.published.get()),
        ..port_words(port.target, port.protocol, port.mode)
    }
}

fn port_words(target: Port, protocol: Protocol, mode: PublishMode) -> PortConfig {
    PortConfig {
        name: String::new(),
        protocol: protocol.to_string(),
        target_port: u32::from(target.get()),
        published_port: 0,
        publish_mode: match mode {
            PublishMode::Ingress => "ingress",
            PublishMode::Host => "host",
        }
        .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;
    use mesh_core::spec::ServiceMode;

    use super::*;

    fn wire(text: &str) -> WireSpec {
        decode(text.as_bytes()).unwrap()
    }

    fn refusal(text: &str) -> String {
        spec(&wire(text), &Store::default()).expect_err(text).to_string()
    }

    const FULL: &str = r#"{"Name":"full","Labels":{"a":"b"},"TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1",
        "Labels":{"c":"d"},"Command":["/bin/x"],"Args":["a","b"],"Hostname":"h","Env":["X=1","Y=2"],"Dir":"/w",
        "User":"1:1","Init":false,"StopSignal":"SIGINT","ReadOnly":true,"StopGracePeriod":7000000000,
        "DNSConfig":{}},"Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864,"Pids":100},
        "Reservations":{"NanoCPUs":250000000,"MemoryBytes":33554432}},"RestartPolicy":{"Condition":"on-failure",
        "Delay":2000000000,"MaxAttempts":3,"Window":60000000000},"Placement":{"Constraints":["node.role==worker"],
        "Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.zone"}}]},"ForceUpdate":0},
        "Mode":{"Global":{}},"UpdateConfig":{"Parallelism":2,"Order":"start-first"},
        "EndpointSpec":{"Mode":"dnsrr","Ports":[{"Protocol":"udp","TargetPort":80,"PublishedPort":8081,
        "PublishMode":"host"}]}}"#;

    /// What `service scale` and `service update` rely on: a spec sent back unchanged is no change.
    #[test]
    fn a_shown_spec_means_the_same() {
        let store = Store::default();
        for text in [
            FULL,
            r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"a"}}}"#,
            r#"{"Name":"job","TaskTemplate":{"ContainerSpec":{"Image":"a"}},"Mode":{"ReplicatedJob":{"MaxConcurrent":2,
            "TotalCompletions":9}}}"#,
        ] {
            let meant = spec(&wire(text), &store).unwrap();
            let text = serde_json::to_string(&show_spec(&meant)).unwrap();
            assert_eq!(spec(&wire(&text), &store).unwrap(), meant);
        }
    }

    #[test]
    fn defaults_are_dockers() {
        let meant = spec(
            &wire(r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"nginx"}},"EndpointSpec":{"Ports":[{"TargetPort":80}]}}"#),
            &Store::default(),
        )
        .unwrap();
        assert_eq!(meant.mode, ServiceMode::Replicated { replicas: 1 });
        assert_eq!(meant.task.container.image, "nginx:latest");
        assert_eq!(meant.task.restart, RestartPolicy::default());
        assert_eq!(meant.endpoint.mode, EndpointMode::Vip);
        assert_eq!(meant.endpoint.ports[0].published, None);
        assert_eq!(meant.endpoint.ports[0].protocol, Protocol::Tcp);
    }

    #[test]
    fn refusals_name_the_field() {
        let with = |rest: &str| {
            format!(r#"{{"Name":"web","TaskTemplate":{{"ContainerSpec":{{"Image":"a"}}}},{rest}}}"#)
        };
        for (text, message) in [
            (
                r#"{"Name":"b@d"}"#.to_owned(),
                r#"invalid value for Name: "b@d": name must be valid as a DNS name component"#,
            ),
            (
                r#"{"Name":"web"}"#.to_owned(),
                "invalid value for TaskTemplate.ContainerSpec: a container is needed",
            ),
            (
                with(r#""Mode":{"GlobalJob":{}},"UpdateConfig":{}"#),
                "invalid value for UpdateConfig: Jobs may not have an update config",
            ),
            (
                with(r#""Mode":{"ReplicatedJob":{}},"RollbackConfig":{}"#),
                "invalid value for RollbackConfig: Jobs may not have an update config",
            ),
            (
                with(r#""EndpointSpec":{"Ports":[{"TargetPort":0}]}"#),
                "invalid value for EndpointSpec.Ports[0].TargetPort: 0 is not between 1 and 65535",
            ),
            (
                with(r#""EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":70000}]}"#),
                "invalid value for EndpointSpec.Ports[0].PublishedPort: 70000 is not between 1 and 65535",
            ),
            (
                with(r#""EndpointSpec":{"Ports":[{"TargetPort":80,"Protocol":"sctp"}]}"#),
                "EndpointSpec.Ports[0].Protocol is not supported: sctp is not balanced; use tcp or udp",
            ),
            (
                with(r#""EndpointSpec":{"Mode":"dnsrr","Ports":[{"TargetPort":80}]}"#),
                "invalid value for EndpointSpec.Ports: port published with ingress mode can't be used with dnsrr mode",
            ),
            (
                r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Networks":[{"Target":"nope"}]}}"#
                    .to_owned(),
                "network nope not found",
            ),
            (
                r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"a"},"LogDriver":{"Name":"x"}}}"#.to_owned(),
                "TaskTemplate.LogDriver is not supported: leave it out",
            ),
        ] {
            assert_eq!(refusal(&text), message, "{text}");
        }
    }
}
