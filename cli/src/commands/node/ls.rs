//! `meshctl node ls`

use clap::Args;
use mesh_api::engine::node::Node;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::natural::natural;
use crate::output::words::title;

/// `meshctl node ls`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl node ls\n  meshctl node ls --filter role=worker --format '{{.Hostname}}'"
)]
pub struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
}

const FIELDS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Self", "SELF"),
    ("Hostname", "HOSTNAME"),
    ("Status", "STATUS"),
    ("Availability", "AVAILABILITY"),
    ("ManagerStatus", "MANAGER STATUS"),
    ("EngineVersion", "ENGINE VERSION"),
    ("Address", "ADDRESS"),
    ("Marked", "ID"),
];

/// Lists nodes by host name.
pub async fn run(args: &LsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let nodes = client.nodes(&args.list.filters()).await?;
    let own = client.info().await?.swarm.node_id;
    listing(nodes, &own).show(&args.list, shell)
}

fn listing(mut nodes: Vec<Node>, own: &str) -> Listing {
    nodes.sort_by(|one, other| {
        let names = natural(&one.description.hostname, &other.description.hostname);
        names.then_with(|| one.id.cmp(&other.id))
    });
    let rows = nodes.into_iter().map(|node| row(node, own)).collect();
    Listing {
        fields: FIELDS,
        columns: &["Marked", "Hostname", "Status", "Availability", "ManagerStatus", "EngineVersion"],
        rows,
    }
}

fn row(node: Node, own: &str) -> Row {
    let is_own = node.id == own;
    let manager = match node.manager_status {
        Some(status) if status.leader => "Leader".to_owned(),
        Some(status) => title(&status.reachability),
        None => String::new(),
    };
    let marked = if is_own { format!("{} *", node.id) } else { node.id.clone() };
    Row::new(
        FIELDS,
        [
            node.id,
            is_own.to_string(),
            node.description.hostname,
            title(&node.status.state),
            title(&node.spec.availability),
            manager,
            node.description.engine.engine_version,
            node.status.addr,
            marked,
        ],
    )
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;
    use crate::tests::captured;

    #[test]
    fn nodes_in_dockers_columns() {
        let nodes = r#"[{"ID":"bbbbbbbbbbbbbbbbbbbbbbbbb","Description":{"Hostname":"n2","Engine":{"EngineVersion":"0.1.0"}},
            "Spec":{"Availability":"drain"},"Status":{"State":"down"}},
            {"ID":"aaaaaaaaaaaaaaaaaaaaaaaaa","Description":{"Hostname":"n1","Engine":{"EngineVersion":"0.1.0"}},
            "Spec":{"Availability":"active"},"Status":{"State":"ready"},"ManagerStatus":{"Leader":true,
            "Reachability":"reachable"}}]"#;
        let nodes: Vec<Node> = decode(nodes.as_bytes()).unwrap();
        let text =
            captured(|shell| listing(nodes, "aaaaaaaaaaaaaaaaaaaaaaaaa").show(&ListArgs::default(), shell));
        assert_eq!(
            text,
            "ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION\n\
             aaaaaaaaaaaaaaaaaaaaaaaaa *   n1         Ready     Active         Leader           0.1.0\n\
             bbbbbbbbbbbbbbbbbbbbbbbbb     n2         Down      Drain                           0.1.0\n"
        );
    }

    #[test]
    fn nodes_are_counted_as_people_do() {
        let node = |name: &str| format!(r#"{{"ID":"{name}id","Description":{{"Hostname":"{name}"}}}}"#);
        let nodes = format!("[{}]", ["n10", "n2", "n1"].map(node).join(","));
        let nodes: Vec<Node> = decode(nodes.as_bytes()).unwrap();
        let args = ListArgs { quiet: true, ..ListArgs::default() };
        assert_eq!(captured(|shell| listing(nodes, "").show(&args, shell)), "n1id\nn2id\nn10id\n");
    }
}
