//! The command line, and who does what it says.

use clap::{CommandFactory, Parser, Subcommand};
use mesh_lab::cli::LabArgs;

use crate::client::Client;
use crate::commands::content::Kind;
use crate::commands::{completion, content, events, flow, info, network, node, service, swarm, version, vip};
use crate::error::CliError;
use crate::output::Shell;

/// Socket of a node that was started without `--host`.
const DEFAULT_HOST: &str = "unix:///run/meshd.sock";

/// The command line of the mesh. Verbs and flags are those of docker.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Examples:\n  meshctl swarm init\n  meshctl service create --name web --replicas 3 -p 8080:80 mesh/whoami:1\n  meshctl service ps web\n  meshctl lab up\n  meshctl --node n2 node ls"
)]
pub struct Cli {
    /// Socket of the meshd to ask [default: `unix:///run/meshd.sock`]
    #[arg(short = 'H', long, value_name = "unix:///PATH", env = "MESH_HOST")]
    host: Option<String>,
    /// Ask this node of a lab on this machine, such as n2
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// The lab of --node
    #[arg(long = "name", value_name = "LAB", env = "MESH_LAB", default_value = "lab", id = "lab_name")]
    lab: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, join and leave clusters
    #[command(subcommand, alias = "cluster")]
    Swarm(swarm::Verb),
    /// Nodes of the cluster
    #[command(subcommand)]
    Node(node::Verb),
    /// Services
    #[command(subcommand)]
    Service(Box<service::Verb>),
    /// Networks
    #[command(subcommand)]
    Network(network::Verb),
    /// Secrets: files that tasks get and nobody is shown again
    #[command(subcommand)]
    Secret(content::Verb),
    /// Configs: files that tasks get
    #[command(subcommand)]
    Config(content::Verb),
    /// Virtual addresses and published ports of the asked node's dataplane
    #[command(subcommand)]
    Vip(vip::Verb),
    /// Flows of the asked node's dataplane
    #[command(subcommand)]
    Flow(flow::Verb),
    /// What happens in the cluster, as it happens
    Events(events::EventsArgs),
    /// The asked node
    Info(info::InfoArgs),
    /// Versions of meshctl and meshd
    Version(version::VersionArgs),
    /// A whole cluster on this machine, to try things and to break them
    Lab(LabArgs),
    /// Print the completion script of a shell
    Completion(completion::CompletionArgs),
}

/// Does what the command line says; the answer is the exit status.
pub fn run(cli: Cli, shell: &mut Shell) -> Result<u8, CliError> {
    let host = cli.socket()?;
    match cli.command {
        Command::Lab(args) => return Ok(mesh_lab::cli::run(args, shell)?),
        Command::Completion(args) => return completion::run(&args, &mut Cli::command(), shell).map(|()| 0),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(cli.command, &host, shell)).map(|()| 0)
}

/// Asks the daemon that the command line names.
#[cfg(test)]
pub async fn ask_socket(cli: Cli, shell: &mut Shell) -> Result<(), CliError> {
    let host = cli.socket()?;
    ask(cli.command, &host, shell).await
}

async fn ask(command: Command, host: &str, shell: &mut Shell) -> Result<(), CliError> {
    if let Command::Version(args) = command {
        return version::run(&args, host, shell).await;
    }
    let client = Client::new(host)?;
    match command {
        Command::Swarm(verb) => swarm::run(verb, &client, shell).await,
        Command::Node(verb) => node::run(verb, &client, shell).await,
        Command::Service(verb) => service::run(*verb, &client, shell).await,
        Command::Network(verb) => network::run(verb, &client, shell).await,
        Command::Secret(verb) => content::run(Kind::Secret, verb, &client, shell).await,
        Command::Config(verb) => content::run(Kind::Config, verb, &client, shell).await,
        Command::Vip(verb) => vip::run(verb, &client, shell).await,
        Command::Flow(verb) => flow::run(verb, &client, shell).await,
        Command::Events(args) => events::run(&args, &client, shell).await,
        Command::Info(args) => info::run(&args, &client, shell).await,
        Command::Version(_) | Command::Lab(_) | Command::Completion(_) => Ok(()),
    }
}

impl Cli {
    /// The socket to ask.
    fn socket(&self) -> Result<String, CliError> {
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match &self.node {
            None => Ok(self.host.clone().unwrap_or_else(|| DEFAULT_HOST.to_owned())),
            Some(node) if plain(node) && plain(&self.lab) => {
                Ok(format!("unix:///run/mesh/lab/{}/{node}.sock", self.lab))
            }
            Some(node) => Err(CliError::Usage(format!("invalid --node {node:?}: n1, n2, … is expected"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(words: &[&str]) -> String {
        let words = ["meshctl"].iter().chain(words).chain(&["info"]);
        Cli::try_parse_from(words).unwrap().socket().unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_node_of_a_lab_stands_for_its_socket() {
        assert_eq!(socket(&["-H", "unix:///tmp/x.sock"]), "unix:///tmp/x.sock");
        assert_eq!(socket(&["--node", "n2"]), "unix:///run/mesh/lab/lab/n2.sock");
        assert_eq!(socket(&["--node", "n2", "--name", "big"]), "unix:///run/mesh/lab/big/n2.sock");
        let cli = Cli::try_parse_from(["meshctl", "--node", "../x", "info"]).unwrap();
        assert_eq!(cli.socket().unwrap_err().exit(), 64);
    }
}
