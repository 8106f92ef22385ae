//! Tasks in columns, for `service ps` and `node ps`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::task::Task;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::natural::natural;
use crate::output::words::{ago, ellipsis, short_id, title};

/// Longest error in a column.
const ERROR_WIDTH: usize = 30;

/// Flags of both.
#[derive(Debug, Args)]
pub struct TaskArgs {
    #[command(flatten)]
    pub list: ListArgs,
    /// Show IDs instead of names of services and nodes
    #[arg(long)]
    no_resolve: bool,
}

const FIELDS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Node", "NODE"),
    ("DesiredState", "DESIRED STATE"),
    ("CurrentState", "CURRENT STATE"),
    ("Error", "ERROR"),
    ("Ports", "PORTS"),
];

/// Lists the tasks that the filters let through.
pub async fn show(
    filters: &Filters,
    args: &TaskArgs,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let tasks = client.tasks(filters).await?;
    let mut names = Names::default();
    if !args.no_resolve && !args.list.quiet {
        names.read(client).await?;
    }
    let whole = args.list.no_trunc || args.list.quiet;
    let look = Look { whole, history: args.list.is_table() };
    listing(tasks, &names, look, Timestamp::now()).show(&args.list, shell)
}

/// How tasks are shown.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// IDs and errors are not cut.
    whole: bool,
    /// What ran in a slot before is marked as such.
    history: bool,
}

impl TaskArgs {
    /// The filters as the API takes them; the node `self` is the asked one.
    pub async fn filters(&self, client: &Client) -> Result<Filters, CliError> {
        let mut filters = Filters::default();
        for (name, value) in &self.list.filters {
            if name == "node" && value == "self" {
                filters.add(name, &client.info().await?.swarm.node_id);
            } else {
                filters.add(name, value);
            }
        }
        Ok(filters)
    }
}

/// Names of services and nodes by id; what is not there is shown by its id.
#[derive(Default)]
struct Names {
    services: BTreeMap<String, String>,
    nodes: BTreeMap<String, String>,
}

impl Names {
    async fn read(&mut self, client: &Client) -> Result<(), CliError> {
        let all = Filters::default();
        for service in client.services(&all).await? {
            self.services.insert(service.id, service.spec.name);
        }
        for node in client.nodes(&all).await? {
            self.nodes.insert(node.id, node.description.hostname);
        }
        Ok(())
    }

    fn service<'a>(&'a self, task: &'a Task) -> &'a str {
        self.services.get(&task.service_id).unwrap_or(&task.service_id)
    }

    fn node<'a>(&'a self, id: &'a String) -> &'a str {
        self.nodes.get(id).unwrap_or(id)
    }

    /// `SERVICE.SLOT`, for global services `SERVICE.NODEID`, as the task's own name has it.
    fn slot(&self, task: &Task) -> String {
        let service = self.service(task);
        match task.name.rsplit('.').nth(1) {
            Some(place) => format!("{service}.{place}"),
            None if task.slot == 0 => format!("{service}.{}", task.node_id),
            None => format!("{service}.{}", task.slot),
        }
    }
}

/// By service and slot, the newest task of a slot first and its history below it.
fn listing(mut tasks: Vec<Task>, names: &Names, look: Look, now: Timestamp) -> Listing {
    tasks.sort_by(|one, other| {
        let slots = natural(&names.slot(one), &names.slot(other));
        slots.then_with(|| created(other).cmp(&created(one)))
    });
    let mut rows = Vec::new();
    let mut last = None;
    for task in tasks {
        let slot = names.slot(&task);
        let is_old = look.history && last.as_ref() == Some(&slot);
        let name = if is_old { format!(" \\_ {slot}") } else { slot.clone() };
        last = Some(slot);
        rows.push(row(&task, name, names, look.whole, now));
    }
    Listing {
        fields: FIELDS,
        columns: &["ID", "Name", "Image", "Node", "DesiredState", "CurrentState", "Error", "Ports"],
        rows,
    }
}

fn created(task: &Task) -> Timestamp {
    task.created_at.parse().unwrap_or(Timestamp::MIN)
}

fn row(task: &Task, name: String, names: &Names, whole: bool, now: Timestamp) -> Row {
    let image =
        task.spec.container_spec.as_ref().map(|container| container.image.clone()).unwrap_or_default();
    let error = match task.status.err.as_str() {
        "" => String::new(),
        error if whole => format!("\"{error}\""),
        error => format!("\"{}\"", ellipsis(error, ERROR_WIDTH)),
    };
    let ports: Vec<_> = task
        .status
        .port_status
        .ports
        .iter()
        .map(|port| format!("*:{}->{}/{}", port.published_port, port.target_port, port.protocol))
        .collect();
    Row::new(
        FIELDS,
        [
            if whole { task.id.clone() } else { short_id(&task.id) },
            name,
            image,
            names.node(&task.node_id).to_owned(),
            title(&task.desired_state),
            format!("{} {}", title(&task.status.state), ago(&task.status.timestamp, now)),
            error,
            ports.join(","),
        ],
    )
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;
    use crate::tests::captured;

    fn task(id: &str, slot: u64, second: u64, state: &str, desired: &str, error: &str) -> Task {
        let text = format!(
            r#"{{"ID":"{id}aaaaaaaaaaaaaaaaaaaaaaaa","ServiceID":"s","Slot":{slot},"NodeID":"n","CreatedAt":
            "2026-01-01T00:00:0{second}Z","Spec":{{"ContainerSpec":{{"Image":"mesh/whoami:1"}}}},"DesiredState":
            "{desired}","Status":{{"State":"{state}","Timestamp":"2026-01-01T00:00:0{second}Z","Err":"{error}"}}}}"#
        );
        decode::<Task>(text.as_bytes()).unwrap()
    }

    fn shown(tasks: Vec<Task>, args: &ListArgs) -> String {
        let names = Names {
            services: [("s".to_owned(), "web".to_owned())].into(),
            nodes: [("n".to_owned(), "n1".to_owned())].into(),
        };
        let now = "2026-01-01T00:00:09Z".parse().unwrap();
        let look = Look { whole: args.no_trunc || args.quiet, history: args.is_table() };
        captured(|shell| listing(tasks, &names, look, now).show(args, shell))
    }

    #[test]
    fn old_tasks_stand_below_the_new_one_of_their_slot() {
        let tasks = vec![
            task("a", 1, 1, "failed", "shutdown", "task: non-zero exit (137) and much more"),
            task("b", 2, 1, "running", "running", ""),
            task("c", 1, 5, "running", "running", ""),
        ];
        let text = shown(tasks, &ListArgs::default());
        assert_eq!(
            text,
            "ID             NAME        IMAGE           NODE      DESIRED STATE   CURRENT STATE           ERROR                              PORTS\n\
             caaaaaaaaaaa   web.1       mesh/whoami:1   n1        Running         Running 4 seconds ago                                      \n\
             aaaaaaaaaaaa    \\_ web.1   mesh/whoami:1   n1        Shutdown        Failed 8 seconds ago    \"task: non-zero exit (137) and…\"   \n\
             baaaaaaaaaaa   web.2       mesh/whoami:1   n1        Running         Running 8 seconds ago                                      \n"
        );
    }

    #[test]
    fn what_is_not_for_people_is_whole_and_unmarked() {
        let tasks = || {
            vec![
                task("a", 1, 1, "failed", "shutdown", "task: non-zero exit (137) and much more"),
                task("c", 1, 5, "running", "running", ""),
            ]
        };
        let quiet = ListArgs { quiet: true, ..ListArgs::default() };
        assert_eq!(shown(tasks(), &quiet), "caaaaaaaaaaaaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaaaaaaaaaa\n");
        let lines = ListArgs {
            format: Some("{{.Name}} {{.Error}}".to_owned()),
            no_trunc: true,
            ..ListArgs::default()
        };
        assert_eq!(shown(tasks(), &lines), "web.1 \nweb.1 \"task: non-zero exit (137) and much more\"\n");
    }

    #[test]
    fn a_task_stands_in_the_place_of_its_name() {
        let of_job =
            Task { name: "job.1.aaaa".to_owned(), slot: 0, ..task("a", 0, 1, "complete", "running", "") };
        let text =
            shown(vec![of_job], &ListArgs { format: Some("{{.Name}}".to_owned()), ..ListArgs::default() });
        assert_eq!(text, "web.1\n");
    }
}
