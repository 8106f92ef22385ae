//! `meshctl vip`: virtual addresses and published ports, as the asked node's dataplane has them.

use clap::Subcommand;
use mesh_api::mesh::{Backend, Vip};

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::natural::natural;
use crate::output::words::ellipsis;

/// `meshctl vip …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List virtual addresses and published ports
    #[command(
        alias = "list",
        after_help = "Examples:\n  meshctl vip ls\n  meshctl --node n2 vip ls --filter service=web"
    )]
    Ls(ListArgs),
    /// Show the addresses of services with their backends
    #[command(after_help = "Examples:\n  meshctl vip inspect web\n  meshctl vip inspect 10.0.1.2")]
    Inspect {
        /// Services, addresses, or published ports
        #[arg(required = true)]
        names: Vec<String>,
    },
}

const FIELDS: &[(&str, &str)] = &[
    ("Address", "ADDRESS"),
    ("Service", "SERVICE"),
    ("Network", "NETWORK"),
    ("VNI", "VNI"),
    ("Count", "BACKENDS"),
    ("Backends", "BACKEND ADDRESSES"),
];

/// Does it.
pub async fn run(verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let vips: Vec<Vip> = client.http().get("/mesh/v1/vips").await?;
    match verb {
        Verb::Ls(args) => list(vips, &args, shell),
        Verb::Inspect { names } => inspect(&vips, &names, shell),
    }
}

fn list(mut vips: Vec<Vip>, args: &ListArgs, shell: &mut Shell) -> Result<(), CliError> {
    let filters = args.filters();
    filters.check(&["service", "network"]).map_err(|error| CliError::Usage(error.to_string()))?;
    vips.retain(|vip| {
        filters.any("service", |service| *service == vip.service)
            && filters.any("network", |network| *network == vip.network)
    });
    vips.sort_by(|one, other| {
        natural(&one.service, &other.service).then_with(|| natural(&address(one), &address(other)))
    });
    let rows = vips.iter().map(|vip| row(vip, args.no_trunc)).collect();
    Listing { fields: FIELDS, columns: &["Service", "Address", "Network", "Count", "Backends"], rows }
        .show(args, shell)
}

fn row(vip: &Vip, whole: bool) -> Row {
    let backends = vip.backends.iter().map(place).collect::<Vec<_>>().join(", ");
    let network = match (vip.network.is_empty(), vip.vni) {
        (false, _) => vip.network.clone(),
        (true, 0) => "ingress".to_owned(),
        (true, vni) => format!("vni {vni}"),
    };
    Row::new(
        FIELDS,
        [
            address(vip),
            vip.service.clone(),
            network,
            vip.vni.to_string(),
            vip.backends.len().to_string(),
            if whole { backends } else { ellipsis(&backends, 60) },
        ],
    )
}

/// The virtual address, or the published port as docker shows it.
fn address(vip: &Vip) -> String {
    match vip.published_port {
        0 => vip.address.clone(),
        port => format!("*:{port}/{}", vip.protocol),
    }
}

fn place(backend: &Backend) -> String {
    match backend.node.as_str() {
        "" => backend.address.clone(),
        node => format!("{}@{node}", backend.address),
    }
}

fn inspect(vips: &[Vip], names: &[String], shell: &mut Shell) -> Result<(), CliError> {
    let mut found = Vec::new();
    let mut failed = false;
    for name in names {
        let is_meant = |vip: &&Vip| {
            vip.service == *name
                || address(vip) == *name
                || (vip.published_port != 0 && vip.published_port.to_string() == *name)
        };
        let before = found.len();
        found.extend(vips.iter().filter(is_meant));
        if found.len() == before {
            shell.note(
                &CliError::NoSuch { kind: "service with an address on this node", name: name.clone() }
                    .to_string(),
            );
            failed = true;
        }
    }
    let value = serde_json::to_value(&found).map_err(|error| CliError::Output(error.into()))?;
    shell.json(&value)?;
    if failed { Err(CliError::Told) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::captured;

    fn vips() -> Vec<Vip> {
        let backend = |id, address: &str, node: &str| Backend {
            id,
            address: address.to_owned(),
            node: node.to_owned(),
            ..Backend::default()
        };
        vec![
            Vip {
                service: "web".to_owned(),
                published_port: 8080,
                protocol: "tcp".to_owned(),
                backends: vec![backend(1, "10.0.0.3", ""), backend(2, "10.0.0.4", "n2")],
                ..Vip::default()
            },
            Vip {
                service: "api".to_owned(),
                network: "back".to_owned(),
                vni: 4097,
                address: "10.0.1.2".to_owned(),
                ..Vip::default()
            },
        ]
    }

    #[test]
    fn addresses_in_columns() {
        let text = captured(|shell| list(vips(), &ListArgs::default(), shell));
        assert_eq!(
            text,
            "SERVICE   ADDRESS      NETWORK   BACKENDS   BACKEND ADDRESSES\n\
             api       10.0.1.2     back      0          \n\
             web       *:8080/tcp   ingress   2          10.0.0.3, 10.0.0.4@n2\n"
        );
    }

    #[test]
    fn what_has_no_address_is_told() {
        let text = captured(|shell| inspect(&vips(), &["8080".to_owned(), "nope".to_owned()], shell));
        assert!(text.contains("\"PublishedPort\": 8080"), "{text}");
        assert!(text.contains("no such service with an address on this node: nope"), "{text}");
    }
}
