//! `meshctl service ls`

use clap::Args;
use mesh_api::engine::service::{PortConfig, Service};

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::words::short_id;

/// `meshctl service ls`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl service ls\n  meshctl service ls --filter name=web -q\n  meshctl service ls --format 'table {{.Name}}\\t{{.Replicas}}'"
)]
pub struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
}

const FIELDS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Mode", "MODE"),
    ("Replicas", "REPLICAS"),
    ("Image", "IMAGE"),
    ("Ports", "PORTS"),
];

/// Lists services by name.
pub async fn run(args: &LsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let services = client.services(&args.list.filters()).await?;
    listing(services, args.list.no_trunc).show(&args.list, shell)
}

fn listing(services: Vec<Service>, whole: bool) -> Listing {
    // Rows are sorted rather than services, which are large to move.
    let mut rows: Vec<(String, Row)> =
        services.into_iter().map(|service| (service.spec.name.clone(), row(&service, whole))).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Listing { fields: FIELDS, columns: &["ID", "Name", "Mode", "Replicas", "Image", "Ports"], rows }
}

fn row(service: &Service, whole: bool) -> Row {
    let spec = &service.spec;
    let global = spec.mode.as_ref().is_some_and(|mode| mode.global.is_some());
    let status = service.service_status.unwrap_or_default();
    let most = spec.task_template.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let counts = format!("{}/{}", status.running_tasks, status.desired_tasks);
    let image = spec.task_template.container_spec.as_ref().map(|process| process.image.clone());
    Row::new(
        FIELDS,
        [
            if whole { service.id.clone() } else { short_id(&service.id) },
            spec.name.clone(),
            if global { "global" } else { "replicated" }.to_owned(),
            if most > 0 { format!("{counts} (max {most} per node)") } else { counts },
            image.unwrap_or_default(),
            ports(&service.endpoint.ports),
        ],
    )
}

/// Ports through the routing mesh, as docker writes them.
fn ports(ports: &[PortConfig]) -> String {
    let word =
        |port: &PortConfig| format!("*:{}->{}/{}", port.published_port, port.target_port, port.protocol);
    let ingress = ports.iter().filter(|port| port.publish_mode != "host");
    ingress.map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;
    use crate::tests::captured;

    #[test]
    fn services_in_dockers_columns() {
        let services = r#"[{"ID":"4swmnvougyqeh9i2mugcmzpqf","Spec":{"Name":"web","TaskTemplate":{"ContainerSpec":
            {"Image":"mesh/whoami:1"},"Placement":{"MaxReplicas":2}},"Mode":{"Replicated":{"Replicas":3}}},
            "Endpoint":{"Ports":[{"PublishedPort":8080,"TargetPort":80,"Protocol":"tcp","PublishMode":"ingress"},
            {"PublishedPort":9,"TargetPort":9,"Protocol":"tcp","PublishMode":"host"}]},
            "ServiceStatus":{"RunningTasks":2,"DesiredTasks":3}},
            {"ID":"baaaaaaaaaaaaaaaaaaaaaaaa","Spec":{"Name":"agent","TaskTemplate":{"ContainerSpec":{"Image":"x:latest"}},
            "Mode":{"Global":{}}},"ServiceStatus":{"RunningTasks":3,"DesiredTasks":3}}]"#;
        let services: Vec<Service> = decode(services.as_bytes()).unwrap();
        let text = captured(|shell| listing(services, false).show(&ListArgs::default(), shell));
        assert_eq!(
            text,
            "ID             NAME      MODE         REPLICAS               IMAGE           PORTS\n\
             baaaaaaaaaaa   agent     global       3/3                    x:latest        \n\
             4swmnvougyqe   web       replicated   2/3 (max 2 per node)   mesh/whoami:1   *:8080->80/tcp\n"
        );
    }
}
