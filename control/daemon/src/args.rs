//! The command line as it was typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// meshd, the node daemon: manager, worker or both.
#[derive(Debug, Parser)]
#[command(name = "meshd", version, about, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of the daemon.
    #[command(flatten)]
    pub settings: Settings,
}

/// What meshd does besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Works on this node's dataplane without a cluster.
    Dataplane {
        /// Run directory of the node.
        #[arg(long, value_name = "DIR", global = true, default_value = "/run/mesh", env = "MESHD_RUN_DIR")]
        run_dir: PathBuf,
        /// What to do.
        #[command(subcommand)]
        action: DataplaneAction,
    },
}

/// What `meshd dataplane` does.
#[derive(Debug, Subcommand)]
pub enum DataplaneAction {
    /// Makes the node's network what FILE says (a desired state in JSON).
    Apply {
        /// The desired state.
        file: PathBuf,
    },
    /// Removes everything the dataplane owns on this node.
    Clear,
}

/// Settings of the daemon; each also comes from the environment (`MESHD_…`) or the configuration file.
#[derive(Debug, Default, Args)]
pub struct Settings {
    /// Configuration file (TOML); flags and environment go before it.
    #[arg(long, value_name = "FILE", env = "MESHD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Directory for what must outlive a reboot [default: /var/lib/mesh].
    #[arg(long, value_name = "DIR", env = "MESHD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory for sockets, namespaces and BPF pins [default: /run/mesh].
    #[arg(long, value_name = "DIR", env = "MESHD_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// Socket of the API [default: `unix:///run/meshd.sock`].
    #[arg(short = 'H', long, value_name = "unix:///PATH", env = "MESHD_HOST")]
    pub host: Option<String>,
    /// Where a manager listens for other nodes [default: 0.0.0.0:2377].
    #[arg(long, value_name = "ADDR[:PORT]", env = "MESHD_LISTEN_ADDR")]
    pub listen_addr: Option<String>,
    /// Address, or interface, that other nodes reach this one at.
    #[arg(long, value_name = "ADDR|IFACE", env = "MESHD_ADVERTISE_ADDR")]
    pub advertise_addr: Option<String>,
    /// Address, or interface, that tunnels end at [default: the advertised one].
    #[arg(long, value_name = "ADDR|IFACE", env = "MESHD_DATA_PATH_ADDR")]
    pub data_path_addr: Option<String>,
    /// UDP port of the overlay in a cluster that is made here [default: 4789].
    #[arg(long, value_name = "PORT", env = "MESHD_DATA_PATH_PORT")]
    pub data_path_port: Option<u16>,
    /// Interface that clients and peers are reached through; may be repeated [default: the one with the
    /// data path address].
    #[arg(long = "uplink", value_name = "IFACE", env = "MESHD_UPLINK", value_delimiter = ',')]
    pub uplinks: Vec<String>,
    /// Generic resource of this node, a piece by its name or a number of pieces; may be repeated.
    #[arg(
        long = "node-generic-resource",
        value_name = "KIND=NAME|NUMBER",
        env = "MESHD_NODE_GENERIC_RESOURCE",
        value_delimiter = ','
    )]
    pub node_generic_resources: Vec<String>,
    /// What runs tasks: native [default: native].
    #[arg(long, value_name = "native|docker", env = "MESHD_RUNTIME")]
    pub runtime: Option<String>,
    /// Engine of the docker runtime.
    #[arg(long, value_name = "URL", env = "MESHD_DOCKER_HOST")]
    pub docker_host: Option<String>,
    /// XDP on the uplinks: auto, off [default: auto].
    #[arg(long, value_name = "auto|native|generic|off", env = "MESHD_XDP")]
    pub xdp: Option<String>,
    /// Balancing at sockets: auto, off [default: auto].
    #[arg(long, value_name = "auto|off", env = "MESHD_SOCKET_LB")]
    pub socket_lb: Option<String>,
    /// Where metrics are served.
    #[arg(long, value_name = "ADDR", env = "MESHD_METRICS_ADDR")]
    pub metrics_addr: Option<String>,
    /// Cgroup below the hierarchies' roots that tasks run under [default: mesh].
    #[arg(long, value_name = "PATH", env = "MESHD_CGROUP_PARENT")]
    pub cgroup_parent: Option<String>,
    /// error, warn, info, debug, trace, or a filter of tracing-subscriber [default: info].
    #[arg(long, value_name = "LEVEL", env = "MESHD_LOG_LEVEL")]
    pub log_level: Option<String>,
}
