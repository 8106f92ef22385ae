//! Lists and maps of a service's spec: what is added to them and what is removed.

use std::collections::BTreeMap;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use mesh_api::engine::generic::GenericResource;
use mesh_api::engine::service::{
    ContainerSpec, NetworkAttachment, Placement, PlacementPreference, PortConfig, ServiceSpec, Spread,
};

use super::generic;
use crate::error::CliError;
use crate::parse::{env, label, network, publish};

/// Networks' ids by name.
pub type Networks = BTreeMap<String, String>;

/// What is added: `--label` of a new service, [`Added`] to one that exists.
#[derive(Debug, Default, Args)]
pub struct Additions {
    /// Label of the service
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Label of the tasks' containers
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    container_label: Vec<(String, String)>,
    /// Environment variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// File of environment variables, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Where tasks may run, as in node.role==worker or node.labels.zone!=a
    #[arg(long, value_name = "CONSTRAINT")]
    constraint: Vec<String>,
    /// Label to spread tasks over, as in spread=node.labels.zone
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref: Vec<PlacementPreference>,
    /// Network to join, as NAME or name=NAME,alias=ALIAS
    #[arg(long, value_name = "NETWORK", value_parser = network::network)]
    network: Vec<NetworkAttachment>,
    /// Port that answers on every node, as in 8080:80, 53:53/udp or target=80,published=8080,mode=host
    #[arg(short, long, value_name = "PORT", value_parser = publish::publish)]
    publish: Vec<Vec<PortConfig>>,
    /// Generic resource that a node must have free, as in gpu=2
    #[arg(long, value_name = "KIND=COUNT", value_parser = generic::reservation)]
    generic_resource: Vec<GenericResource>,
}

/// [`Additions`] to a service that exists: `--label-add` for `--label`, without letters.
#[derive(Debug, Default)]
pub struct Added(Additions);

/// What is removed from a service that exists.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_field_names, reason = "the flags have their names")]
pub struct Removals {
    /// Remove a label of the service
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Remove a label of the tasks' containers
    #[arg(long, value_name = "KEY")]
    container_label_rm: Vec<String>,
    /// Remove an environment variable
    #[arg(long, value_name = "KEY")]
    env_rm: Vec<String>,
    /// Remove a constraint
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_rm: Vec<String>,
    /// Remove a placement preference
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref_rm: Vec<PlacementPreference>,
    /// Leave a network
    #[arg(long, value_name = "NETWORK")]
    network_rm: Vec<String>,
    /// Publish a target port no more, as in 80, 53/udp or target=80,mode=host
    #[arg(long, value_name = "TARGET", value_parser = publish::publish)]
    publish_rm: Vec<Vec<PortConfig>>,
    /// Reserve a generic resource no more
    #[arg(long, value_name = "KIND")]
    generic_resource_rm: Vec<String>,
}

impl Additions {
    /// Adds what was given to the spec. `networks` has the names by which networks in the spec may be meant.
    pub fn change(&self, spec: &mut ServiceSpec, networks: &Networks) -> Result<(), CliError> {
        spec.labels.extend(self.label.iter().cloned());
        self.change_process(process(spec))?;
        if !self.constraint.is_empty() || !self.placement_pref.is_empty() {
            self.change_placement(spec.task_template.placement.get_or_insert_default());
        }
        if !self.network.is_empty() {
            self.join(spec.task_template.networks.get_or_insert_default(), networks)?;
        }
        if !self.publish.is_empty() {
            let ports = &mut spec.endpoint_spec.get_or_insert_default().ports;
            add_new(ports, &self.publish.concat());
        }
        generic::add(spec, &self.generic_resource);
        Ok(())
    }

    fn change_process(&self, process: &mut ContainerSpec) -> Result<(), CliError> {
        process.labels.extend(self.container_label.iter().cloned());
        if !self.env.is_empty() || !self.env_file.is_empty() {
            let added = env::environment(&self.env, &self.env_file)?;
            process.env.retain(|known| !added.iter().any(|new| env::key(new) == env::key(known)));
            process.env.extend(added);
        }
        Ok(())
    }

    fn change_placement(&self, placement: &mut Placement) {
        let known: Vec<String> = placement.constraints.iter().map(|known| bare(known)).collect();
        let is_new = |given: &&String| !known.contains(&bare(given));
        placement.constraints.extend(self.constraint.iter().filter(is_new).cloned());
        placement.preferences.extend(self.placement_pref.iter().cloned());
    }

    fn join(&self, joined: &mut Vec<NetworkAttachment>, networks: &Networks) -> Result<(), CliError> {
        let before: Vec<String> = joined.iter().map(|known| known.target.clone()).collect();
        for wanted in &self.network {
            if before.contains(id_of(&wanted.target, networks)) {
                return Err(CliError::Refused(format!(
                    "service is already attached to network {}",
                    wanted.target
                )));
            }
            joined.push(wanted.clone());
        }
        Ok(())
    }
}

impl Added {
    /// Adds what was given to the spec.
    pub fn change(&self, spec: &mut ServiceSpec, networks: &Networks) -> Result<(), CliError> {
        self.0.change(spec, networks)
    }

    /// Whether names of networks have to be known.
    pub fn names_networks(&self) -> bool {
        !self.0.network.is_empty()
    }
}

impl Removals {
    /// Removes what was given from the spec.
    pub fn change(&self, spec: &mut ServiceSpec, networks: &Networks) {
        for key in &self.label_rm {
            spec.labels.remove(key);
        }
        let process = process(spec);
        for key in &self.container_label_rm {
            process.labels.remove(key);
        }
        process.env.retain(|known| !self.env_rm.iter().any(|gone| gone == env::key(known)));
        if let Some(placement) = &mut spec.task_template.placement {
            let gone: Vec<String> = self.constraint_rm.iter().map(|gone| bare(gone)).collect();
            placement.constraints.retain(|known| !gone.contains(&bare(known)));
            placement.preferences.retain(|known| !self.placement_pref_rm.contains(known));
        }
        if let Some(joined) = &mut spec.task_template.networks {
            let gone: Vec<&str> = self.network_rm.iter().map(|gone| id_of(gone, networks).as_str()).collect();
            joined.retain(|known| !gone.contains(&known.target.as_str()));
        }
        if let Some(endpoint) = &mut spec.endpoint_spec {
            let gone = self.publish_rm.concat();
            endpoint.ports.retain(|known| !gone.iter().any(|gone| is_same_target(known, gone)));
        }
        generic::remove(spec, &self.generic_resource_rm);
    }

    /// Whether names of networks have to be known.
    pub fn names_networks(&self) -> bool {
        !self.network_rm.is_empty()
    }
}

impl Args for Added {
    fn augment_args(command: Command) -> Command {
        as_added(Additions::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        as_added(Additions::augment_args_for_update(command))
    }
}

impl FromArgMatches for Added {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Additions::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Gives the flags of [`Additions`] the names that they have for a service that exists. A file of variables keeps
/// its own.
fn as_added(command: Command) -> Command {
    const NAMES: [(&str, &str); 8] = [
        ("label", "label-add"),
        ("container_label", "container-label-add"),
        ("env", "env-add"),
        ("constraint", "constraint-add"),
        ("placement_pref", "placement-pref-add"),
        ("network", "network-add"),
        ("publish", "publish-add"),
        ("generic_resource", "generic-resource-add"),
    ];
    NAMES
        .into_iter()
        .fold(command, |command, (id, name)| command.mut_arg(id, |flag| flag.short(None).long(name)))
}

fn process(spec: &mut ServiceSpec) -> &mut ContainerSpec {
    spec.task_template.container_spec.get_or_insert_default()
}

fn add_new<T: PartialEq + Clone>(list: &mut Vec<T>, added: &[T]) {
    for new in added {
        if !list.contains(new) {
            list.push(new.clone());
        }
    }
}

/// A constraint without spaces, which mean nothing in it.
fn bare(constraint: &str) -> String {
    constraint.replace(' ', "")
}

/// The id of a network that is named; what is no name is one itself.
fn id_of<'a>(name: &'a String, networks: &'a Networks) -> &'a String {
    networks.get(name).unwrap_or(name)
}

fn is_same_target(known: &PortConfig, gone: &PortConfig) -> bool {
    let or = |word: &str, default: &str| if word.is_empty() { default.to_owned() } else { word.to_owned() };
    let words = |port: &PortConfig| (or(&port.protocol, "tcp"), or(&port.publish_mode, "ingress"));
    known.target_port == gone.target_port && words(known) == words(gone)
}

/// Reads `spread=LABEL`.
fn preference(text: &str) -> Result<PlacementPreference, String> {
    match text.split_once('=') {
        Some((strategy, label)) if strategy.eq_ignore_ascii_case("spread") && !label.is_empty() => {
            Ok(PlacementPreference { spread: Some(Spread { spread_descriptor: label.to_owned() }) })
        }
        _ => Err(format!("invalid placement preference {text:?}: spread=node.labels.KEY is expected")),
    }
}
