//! The verbs of `meshctl lab`.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::error::LabError;
use crate::layout::{CLIENT_ADDRESS, LabName, Layout, Member, NodeName};
use crate::space::Space;
use crate::state::{LabState, NodeRecord};
use crate::{Terminal, down, exec, fault, up};

/// `meshctl lab …`
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Name of the lab; several live side by side
    #[arg(long, global = true, env = "MESH_LAB", default_value = "lab")]
    name: LabName,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the namespaces, start a meshd in each node and form the cluster
    #[command(
        after_help = "Examples:\n  meshctl lab up\n  meshctl lab up --nodes 5 --managers 3 --name big\n  meshctl --node n1 node ls"
    )]
    Up(UpArgs),
    /// Show the nodes of the lab
    Status {
        /// `table` or `json`
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Run a command inside a node or the client
    #[command(
        after_help = "Examples:\n  meshctl lab exec client -- curl -s http://192.0.2.12:8080/\n  meshctl lab exec n2 -- ip addr"
    )]
    Exec {
        /// n1, n2, … or client
        member: Member,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Start one more node and let it join the cluster
    #[command(after_help = "Examples:\n  meshctl lab add\n  meshctl lab add --manager")]
    Add {
        /// As a manager
        #[arg(long)]
        manager: bool,
    },
    /// End everything of the lab and remove it
    Down,
    /// Break something, or bring it back
    #[command(
        subcommand,
        after_help = "Examples:\n  meshctl lab fault kill n2\n  meshctl lab fault start n2\n  meshctl lab fault partition n1 n2,n3\n  meshctl lab fault heal"
    )]
    Fault(FaultVerb),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// Number of nodes
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// How many of them are managers
    #[arg(long, default_value_t = 1)]
    managers: u8,
    /// Runtime of the nodes
    #[arg(long, default_value = "native", value_parser = ["native"])]
    runtime: String,
    /// MTU of the fabric, in bytes
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// XDP on the uplinks
    #[arg(long, default_value = "off", value_parser = ["off"])]
    xdp: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum FaultVerb {
    /// SIGKILL its meshd; tasks and BPF programs live on
    Kill { node: NodeName },
    /// SIGSTOP its meshd
    Stop { node: NodeName },
    /// SIGTERM its meshd: it announces a restart
    Term { node: NodeName },
    /// Power cut: uplink, daemon, tasks, links and pins gone at once; the disk stays
    Crash { node: NodeName },
    /// Delete the disk of a crashed node: it starts again as a new machine
    Wipe { node: NodeName },
    /// Uplink down, everything on it stopped
    Freeze { node: NodeName },
    /// Bring a node back, whatever was done to it
    Start { node: NodeName },
    /// Cut a node off from everybody
    Isolate { node: NodeName },
    /// Cut a node off from others; whoever is not named sees both sides
    Partition {
        node: NodeName,
        /// The other side, separated by commas
        #[arg(value_delimiter = ',', required = true)]
        others: Vec<NodeName>,
    },
    /// Lose a share of a node's packets
    Loss {
        node: NodeName,
        /// As in 5% or 0.5%
        #[arg(value_parser = parse_permille)]
        share: u32,
    },
    /// Undo every isolation, partition and loss
    Heal,
}

/// Reads `5%` as 50 per mille.
fn parse_permille(text: &str) -> Result<u32, String> {
    let refused = || format!("{text:?} is no share: write 5% or 0.5%, up to 100%");
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| refused())?;
    if !(0.1..=100.0).contains(&percent) {
        return Err(refused());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 to 1000 by the check above"
    )]
    Ok((percent * 10.0).round() as u32)
}

/// What `lab status --format json` prints.
#[derive(Debug, Serialize)]
struct Status {
    name: LabName,
    runtime: String,
    nodes: Vec<NodeStatus>,
    client: ClientStatus,
}

#[derive(Debug, Serialize)]
struct NodeStatus {
    name: NodeName,
    address: std::net::Ipv4Addr,
    role: &'static str,
    socket: std::path::PathBuf,
    pid: i32,
    netns: std::path::PathBuf,
    state: crate::state::NodeState,
}

#[derive(Debug, Serialize)]
struct ClientStatus {
    address: std::net::Ipv4Addr,
    netns: std::path::PathBuf,
}

/// Does what the command line says. The answer is the exit status: that of the command for `exec`.
pub fn run(args: LabArgs, terminal: &mut dyn Terminal) -> Result<u8, LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LabError::file("start the runtime", "/proc/self"))?;
    let layout = Layout { name: args.name };
    match args.verb {
        Verb::Exec { member, command } => {
            LabState::load(&layout)?;
            return exec::run(&layout, member, &command);
        }
        Verb::Up(up) => runtime.block_on(bring_up(&layout, up, terminal))?,
        Verb::Add { manager } => {
            let name = runtime.block_on(up::add(&layout, manager, terminal))?;
            terminal.print(&name.to_string());
        }
        Verb::Status { format } => status(&layout, format, terminal)?,
        Verb::Down => {
            terminal.progress(&format!("removing lab {}", layout.name));
            down::run(&layout)?;
        }
        Verb::Fault(verb) => runtime.block_on(apply_fault(&layout, verb))?,
    }
    Ok(0)
}

async fn bring_up(layout: &Layout, args: UpArgs, terminal: &mut dyn Terminal) -> Result<(), LabError> {
    let options =
        up::Options { nodes: args.nodes, managers: args.managers, mtu: args.mtu, runtime: args.runtime };
    up::run(layout, &options, terminal).await?;
    terminal.progress(&format!(
        "lab {} is up: `meshctl --node n1 node ls`, `meshctl lab exec client -- …`, `meshctl lab down`",
        layout.name
    ));
    Ok(())
}

async fn apply_fault(layout: &Layout, verb: FaultVerb) -> Result<(), LabError> {
    match verb {
        FaultVerb::Kill { node } => fault::kill(layout, node),
        FaultVerb::Stop { node } => fault::stop(layout, node),
        FaultVerb::Term { node } => fault::term(layout, node),
        FaultVerb::Crash { node } => fault::crash(layout, node).await,
        FaultVerb::Wipe { node } => fault::wipe(layout, node),
        FaultVerb::Freeze { node } => fault::freeze(layout, node).await,
        FaultVerb::Start { node } => fault::start(layout, node).await,
        FaultVerb::Isolate { node } => fault::partition(layout, node, None).await,
        FaultVerb::Partition { node, others } => fault::partition(layout, node, Some(&others)).await,
        FaultVerb::Loss { node, share } => fault::loss(layout, node, share).await,
        FaultVerb::Heal => fault::heal(layout).await,
    }
}

fn status(layout: &Layout, format: Format, terminal: &mut dyn Terminal) -> Result<(), LabError> {
    let state = LabState::load(layout)?;
    let nodes: Vec<NodeStatus> = state.nodes.iter().map(|record| node_status(layout, record)).collect();
    if format == Format::Json {
        let client =
            ClientStatus { address: CLIENT_ADDRESS, netns: Space::at(layout.space(Member::Client)).netns() };
        let status = Status { name: layout.name.clone(), runtime: state.setting.runtime, nodes, client };
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| LabError::CorruptState { path: layout.state(), reason: error.to_string() })?;
        terminal.print(&text);
        return Ok(());
    }
    let rows = nodes
        .iter()
        .map(|node| {
            let socket = node.socket.display().to_string();
            vec![
                node.name.to_string(),
                node.address.to_string(),
                node.role.to_owned(),
                node.state.to_string(),
                node.pid.to_string(),
                socket,
            ]
        })
        .collect();
    terminal.table(&["NODE", "ADDRESS", "ROLE", "STATE", "PID", "SOCKET"], rows);
    Ok(())
}

fn node_status(layout: &Layout, record: &NodeRecord) -> NodeStatus {
    NodeStatus {
        name: record.name,
        address: record.name.address(),
        role: if record.manager { "manager" } else { "worker" },
        socket: layout.socket(record.name),
        pid: record.pid,
        netns: Space::at(layout.space(Member::Node(record.name))).netns(),
        state: record.state(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_per_mille() {
        assert_eq!(parse_permille("5%"), Ok(50));
        assert_eq!(parse_permille("0.5%"), Ok(5));
        assert_eq!(parse_permille("100"), Ok(1000));
        for bad in ["", "%", "-1%", "101%", "nan%", "0%", "x"] {
            assert!(parse_permille(bad).is_err(), "{bad}");
        }
    }
}
