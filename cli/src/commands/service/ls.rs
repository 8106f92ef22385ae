//! `meshctl service ls`

use clap::Args;
use mesh_api::engine::service::{PortConfig, Service, ServiceMode};

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::natural::natural;
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
    rows.sort_by(|(one, _), (other, _)| natural(one, other));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Listing { fields: FIELDS, columns: &["ID", "Name", "Mode", "Replicas", "Image", "Ports"], rows }
}

fn row(service: &Service, whole: bool) -> Row {
    let spec = &service.spec;
    let image = spec.task_template.container_spec.as_ref().map(|process| process.image.clone());
    Row::new(
        FIELDS,
        [
            if whole { service.id.clone() } else { short_id(&service.id) },
            spec.name.clone(),
            mode_word(spec.mode.as_ref()).to_owned(),
            replicas(service),
            image.unwrap_or_default(),
            ports(&service.endpoint.ports),
        ],
    )
}

fn mode_word(mode: Option<&ServiceMode>) -> &'static str {
    match mode {
        Some(ServiceMode { global: Some(_), .. }) => "global",
        Some(ServiceMode { replicated_job: Some(_), .. }) => "replicated job",
        Some(ServiceMode { global_job: Some(_), .. }) => "global job",
        _ => "replicated",
    }
}

/// Tasks that run of those that are wanted, and how far a job is.
fn replicas(service: &Service) -> String {
    let status = service.service_status.unwrap_or_default();
    let counts = format!("{}/{}", status.running_tasks, status.desired_tasks);
    let done = status.completed_tasks;
    let placement = service.spec.task_template.placement.as_ref();
    match &service.spec.mode {
        Some(ServiceMode { replicated_job: Some(job), .. }) => {
            format!("{counts} ({done}/{} completed)", job.total_completions.unwrap_or(1))
        }
        // What is wanted of a global job is what is not complete yet.
        Some(ServiceMode { global_job: Some(_), .. }) => {
            format!("{counts} ({done}/{} completed)", status.desired_tasks + done)
        }
        Some(ServiceMode { global: Some(_), .. }) => counts,
        _ => match placement.map_or(0, |placement| placement.max_replicas) {
            0 => counts,
            most => format!("{counts} (max {most} per node)"),
        },
    }
}

/// Ports through the routing mesh, as docker writes them: those that follow each other as one range.
fn ports(ports: &[PortConfig]) -> String {
    let mut ingress: Vec<_> = ports.iter().filter(|port| port.publish_mode != "host").collect();
    ingress.sort_by_key(|port| (port.protocol.as_str(), port.published_port));
    let mut ranges: Vec<Range> = Vec::new();
    for port in ingress {
        if !ranges.last_mut().is_some_and(|range| range.takes(port)) {
            ranges.push(Range::of(port));
        }
    }
    ranges.iter().map(Range::word).collect::<Vec<_>>().join(", ")
}

/// Published ports that follow each other, and the target ports, which do too or are one.
struct Range {
    published: (u32, u32),
    target: (u32, u32),
    protocol: String,
}

impl Range {
    fn of(port: &PortConfig) -> Self {
        Self {
            published: (port.published_port, port.published_port),
            target: (port.target_port, port.target_port),
            protocol: port.protocol.clone(),
        }
    }

    /// Takes the port in, when it follows.
    fn takes(&mut self, port: &PortConfig) -> bool {
        let first = self.published.0 == self.published.1;
        let next = port.target_port == self.target.1 + 1;
        let same = port.target_port == self.target.1;
        let in_step = if first {
            next || same
        } else if self.target.0 == self.target.1 {
            same
        } else {
            next
        };
        let follows =
            port.protocol == self.protocol && port.published_port == self.published.1 + 1 && in_step;
        if follows {
            (self.published.1, self.target.1) = (port.published_port, port.target_port);
        }
        follows
    }

    fn word(&self) -> String {
        let span = |(first, last): (u32, u32)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        format!("*:{}->{}/{}", span(self.published), span(self.target), self.protocol)
    }
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

    #[test]
    fn services_are_counted_as_people_do() {
        let service = |name: &str| format!(r#"{{"ID":"{name}id","Spec":{{"Name":"{name}"}}}}"#);
        let services = format!("[{}]", ["n10", "n2", "n1"].map(service).join(","));
        let services: Vec<Service> = decode(services.as_bytes()).unwrap();
        let args = ListArgs { quiet: true, ..ListArgs::default() };
        assert_eq!(captured(|shell| listing(services, false).show(&args, shell)), "n1id\nn2id\nn10id\n");
    }

    #[test]
    fn jobs_say_how_far_they_are() {
        let jobs = r#"[{"Spec":{"Name":"job","Mode":{"ReplicatedJob":{"MaxConcurrent":1,"TotalCompletions":10}},
            "TaskTemplate":{"Placement":{"MaxReplicas":2}}},"ServiceStatus":{"RunningTasks":1,"DesiredTasks":1,
            "CompletedTasks":3}},{"Spec":{"Name":"once","Mode":{"GlobalJob":{}}},"ServiceStatus":{"RunningTasks":1,
            "DesiredTasks":2,"CompletedTasks":1}}]"#;
        let jobs: Vec<Service> = decode(jobs.as_bytes()).unwrap();
        let words: Vec<_> =
            jobs.iter().map(|job| (mode_word(job.spec.mode.as_ref()), replicas(job))).collect();
        assert_eq!(
            words,
            [
                ("replicated job", "1/1 (3/10 completed)".to_owned()),
                ("global job", "1/2 (1/3 completed)".to_owned())
            ]
        );
    }

    #[test]
    fn ports_that_follow_each_other_are_a_range() {
        let text = |list: &[(u32, u32, &str)]| {
            let port = |&(published_port, target_port, protocol): &(u32, u32, &str)| PortConfig {
                published_port,
                target_port,
                protocol: protocol.to_owned(),
                ..PortConfig::default()
            };
            ports(&list.iter().map(port).collect::<Vec<_>>())
        };
        assert_eq!(
            text(&[(81, 81, "tcp"), (80, 80, "tcp"), (53, 53, "udp")]),
            "*:80-81->80-81/tcp, *:53->53/udp"
        );
        assert_eq!(text(&[(80, 80, "tcp"), (81, 80, "tcp")]), "*:80-81->80/tcp");
        assert_eq!(
            text(&[(80, 80, "tcp"), (81, 81, "tcp"), (82, 80, "tcp")]),
            "*:80-81->80-81/tcp, *:82->80/tcp"
        );
        assert_eq!(text(&[(80, 80, "tcp"), (82, 82, "tcp")]), "*:80->80/tcp, *:82->82/tcp");
    }
}
