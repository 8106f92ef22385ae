//! The settings as they are meant: flags over environment over file over defaults, checked.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mesh_core::spec::GenericAmount;
use serde::Deserialize;

use crate::args::Settings;
use crate::generic;
use crate::rpc::MANAGEMENT_PORT;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("{path}: {}", .source.to_string().trim().replace('\n', " "))]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A setting's value is wrong.
    #[error("--{setting} {value:?}: {reason}")]
    Value {
        /// Its flag without the dashes.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it, and what would do.
        reason: String,
    },
}

/// The settings of a daemon.
#[derive(Debug, Clone)]
pub struct Config {
    /// For what must outlive a reboot.
    pub data_dir: PathBuf,
    /// For sockets, namespaces and pins.
    pub run_dir: PathBuf,
    /// Socket of the API.
    pub socket: PathBuf,
    /// Where a manager listens for other nodes.
    pub listen_addr: SocketAddr,
    /// Address or interface that other nodes reach this one at.
    pub advertise_addr: Option<String>,
    /// Address or interface that tunnels end at.
    pub data_path_addr: Option<String>,
    /// UDP port of the overlay in a cluster that is made here.
    pub data_path_port: Option<u16>,
    /// Interfaces that clients and peers are reached through; empty: the one with the data path address.
    pub uplinks: Vec<String>,
    /// Generic resources that tasks may use here, by kind.
    pub generic: BTreeMap<String, GenericAmount>,
    /// Cgroup below the hierarchies' roots, without a leading slash.
    pub cgroup_parent: String,
    /// Filter of the log.
    pub log_level: String,
}

/// The configuration file: the flags' names as keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    host: Option<String>,
    listen_addr: Option<String>,
    advertise_addr: Option<String>,
    data_path_addr: Option<String>,
    data_path_port: Option<u16>,
    uplinks: Vec<String>,
    node_generic_resources: Vec<String>,
    runtime: Option<String>,
    docker_host: Option<String>,
    xdp: Option<String>,
    socket_lb: Option<String>,
    metrics_addr: Option<String>,
    cgroup_parent: Option<String>,
    log_level: Option<String>,
}

impl Config {
    /// Puts the settings together. `settings` holds flags and environment.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let file = settings.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        refuse_unavailable(&settings, &file)?;
        let uplinks = if settings.uplinks.is_empty() { file.uplinks } else { settings.uplinks };
        let named = settings.node_generic_resources;
        let named = if named.is_empty() { file.node_generic_resources } else { named };
        let generic =
            generic::parse(&named).map_err(|(text, reason)| wrong("node-generic-resource", &text, reason))?;
        let host = settings.host.or(file.host);
        let listen = settings.listen_addr.or(file.listen_addr);
        let cgroup = settings.cgroup_parent.or(file.cgroup_parent);
        Ok(Self {
            data_dir: absolute("data-dir", settings.data_dir.or(file.data_dir), "/var/lib/mesh")?,
            run_dir: absolute("run-dir", settings.run_dir.or(file.run_dir), "/run/mesh")?,
            socket: socket(host.as_deref().unwrap_or("unix:///run/meshd.sock"))?,
            listen_addr: listen_addr(listen.as_deref().unwrap_or("0.0.0.0"))?,
            advertise_addr: settings.advertise_addr.or(file.advertise_addr),
            data_path_addr: settings.data_path_addr.or(file.data_path_addr),
            data_path_port: settings.data_path_port.or(file.data_path_port),
            uplinks,
            generic,
            cgroup_parent: cgroup_parent(cgroup.as_deref().unwrap_or("mesh"))?,
            log_level: settings.log_level.or(file.log_level).unwrap_or_else(|| "info".to_owned()),
        })
    }
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }
}

fn wrong(setting: &'static str, value: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { setting, value: value.to_owned(), reason: reason.into() }
}

/// What this version cannot do is refused, not ignored.
fn refuse_unavailable(settings: &Settings, file: &ConfigFile) -> Result<(), ConfigError> {
    let choices = [
        ("runtime", settings.runtime.as_ref().or(file.runtime.as_ref()), &["native"][..]),
        ("docker-host", settings.docker_host.as_ref().or(file.docker_host.as_ref()), &[]),
        ("xdp", settings.xdp.as_ref().or(file.xdp.as_ref()), &["auto", "off"]),
        ("socket-lb", settings.socket_lb.as_ref().or(file.socket_lb.as_ref()), &["auto", "off"]),
        ("metrics-addr", settings.metrics_addr.as_ref().or(file.metrics_addr.as_ref()), &[]),
    ];
    for (setting, value, available) in choices {
        let Some(value) = value else { continue };
        if !available.contains(&value.as_str()) {
            let instead = match available {
                [] => "leave it out".to_owned(),
                some => format!("use {}", some.join(" or ")),
            };
            return Err(wrong(setting, value, format!("not available in this version: {instead}")));
        }
    }
    Ok(())
}

fn absolute(setting: &'static str, given: Option<PathBuf>, default: &str) -> Result<PathBuf, ConfigError> {
    let path = given.unwrap_or_else(|| default.into());
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(wrong(setting, &path.display().to_string(), "give an absolute path"))
    }
}

fn socket(host: &str) -> Result<PathBuf, ConfigError> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(wrong("host", host, "give unix:///PATH, with an absolute path")),
    }
}

/// Reads `ADDR`, `ADDR:PORT` or `:PORT`; the port defaults to 2377.
pub fn listen_addr(text: &str) -> Result<SocketAddr, ConfigError> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr);
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(addr, MANAGEMENT_PORT));
    }
    text.strip_prefix(':')
        .and_then(|port| port.parse().ok())
        .map(|port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        .ok_or_else(|| wrong("listen-addr", text, "give ADDR, ADDR:PORT or :PORT"))
}

fn cgroup_parent(text: &str) -> Result<String, ConfigError> {
    let path = text.trim_matches('/');
    if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("cgroup-parent", text, "give a path below the hierarchy's root, such as mesh"));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshd.toml");
        fs::write(
            &path,
            "data-dir = \"/srv/mesh\"\nuplinks = [\"eth1\"]\nlisten-addr = \":2400\"\n\
            node-generic-resources = [\"gpu=UUID1\", \"ssd=2\"]\n",
        )
        .unwrap();
        let settings = Settings { config: Some(path), data_dir: Some("/flag".into()), ..Settings::default() };
        let config = Config::new(settings).unwrap();
        assert_eq!(config.data_dir, Path::new("/flag"));
        assert_eq!(config.uplinks, ["eth1"]);
        assert_eq!(config.listen_addr.to_string(), "0.0.0.0:2400");
        assert_eq!(config.run_dir, Path::new("/run/mesh"));
        assert_eq!(config.generic["ssd"], GenericAmount::Discrete(2));
        assert_eq!(config.generic["gpu"], GenericAmount::Named(["UUID1".to_owned()].into()));
    }

    #[test]
    fn a_file_with_unknown_keys_or_bad_syntax_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["nope = 1", "data-dir = ", "data-path-port = 99999"] {
            let path = dir.path().join("meshd.toml");
            fs::write(&path, text).unwrap();
            let error = Config::new(Settings { config: Some(path), ..Settings::default() }).unwrap_err();
            let line = error.to_string();
            assert!(line.contains("meshd.toml") && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_their_flag() {
        type Set = fn(&mut Settings);
        let cases: [(&str, Set); 9] = [
            ("--node-generic-resource", |s| s.node_generic_resources = vec!["gpu".into()]),
            ("--runtime", |s| s.runtime = Some("docker".into())),
            ("--xdp", |s| s.xdp = Some("native".into())),
            ("--metrics-addr", |s| s.metrics_addr = Some("127.0.0.1:9000".into())),
            ("--host", |s| s.host = Some("tcp://0.0.0.0:2375".into())),
            ("--host", |s| s.host = Some("unix://relative".into())),
            ("--listen-addr", |s| s.listen_addr = Some("somewhere".into())),
            ("--data-dir", |s| s.data_dir = Some("relative".into())),
            ("--cgroup-parent", |s| s.cgroup_parent = Some("../x".into())),
        ];
        for (flag, set) in cases {
            let mut settings = Settings::default();
            set(&mut settings);
            let error = Config::new(settings).unwrap_err().to_string();
            assert!(error.starts_with(flag), "{error}");
        }
    }
}
