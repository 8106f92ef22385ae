//! Networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_api::engine::Map;
use mesh_api::engine::network::{
    Ipam, IpamConfig, MTU_OPTION, Network as WireNetwork, NetworkCreate, OVERLAY, VNI_OPTION,
};
use mesh_core::object::Network;
use mesh_core::spec::NetworkSpec;

use super::super::error::ApiError;
use super::{labels, service, time_text};

/// Least MTU that IPv4 allows (RFC 791), and the largest packet there is.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 68..=65_535;

/// The wanted network.
pub fn spec(wire: &NetworkCreate) -> Result<NetworkSpec, ApiError> {
    refuse_unsupported(wire)?;
    let (subnet, gateway) = range(wire.ipam.as_ref())?;
    Ok(NetworkSpec {
        name: service::name("Name", &wire.name)?,
        labels: labels("Labels", &wire.labels)?,
        subnet,
        gateway,
        internal: wire.internal,
        attachable: wire.attachable,
        ingress: wire.ingress,
        mtu: mtu(&wire.options)?,
    })
}

fn refuse_unsupported(wire: &NetworkCreate) -> Result<(), ApiError> {
    if wire.driver != OVERLAY {
        let reason = format!("{:?}: every network of the mesh is an overlay (-d overlay)", wire.driver);
        return Err(ApiError::field("Driver", reason));
    }
    if !matches!(wire.scope.as_str(), "" | "swarm") {
        return Err(ApiError::field("Scope", format!("{:?}: swarm is expected", wire.scope)));
    }
    if wire.enable_ipv6 == Some(true) {
        return Err(ApiError::unsupported("EnableIPv6", "networks carry IPv4"));
    }
    if wire.enable_ipv4 == Some(false) {
        return Err(ApiError::unsupported("EnableIPv4", "networks carry IPv4"));
    }
    if wire.config_only || wire.config_from.is_some() {
        return Err(ApiError::unsupported("ConfigOnly", "leave it out"));
    }
    match wire.options.keys().find(|key| key.as_str() != MTU_OPTION) {
        Some(key) => {
            Err(ApiError::unsupported(format!("Options[{key}]"), format!("{MTU_OPTION} is the only one")))
        }
        None => Ok(()),
    }
}

fn mtu(options: &Map) -> Result<Option<u16>, ApiError> {
    let Some(text) = options.get(MTU_OPTION) else { return Ok(None) };
    match text.parse() {
        Ok(mtu) if MTU_RANGE.contains(&mtu) => Ok(Some(mtu)),
        _ => Err(ApiError::field(format!("Options[{MTU_OPTION}]"), format!("{text:?} is no MTU in bytes"))),
    }
}

fn range(ipam: Option<&Ipam>) -> Result<(Option<IpNet>, Option<IpAddr>), ApiError> {
    let Some(ipam) = ipam else { return Ok((None, None)) };
    if !matches!(ipam.driver.as_str(), "" | "default") || !ipam.options.is_empty() {
        return Err(ApiError::unsupported("IPAM.Driver", "the mesh gives the addresses"));
    }
    let config = match ipam.config.as_slice() {
        [] => return Ok((None, None)),
        [one] => one,
        _ => return Err(ApiError::unsupported("IPAM.Config", "a network has one address range")),
    };
    if !config.ip_range.is_empty() {
        return Err(ApiError::unsupported("IPAM.Config[0].IPRange", "give the range as the subnet"));
    }
    if !config.auxiliary_addresses.is_empty() {
        return Err(ApiError::unsupported("IPAM.Config[0].AuxiliaryAddresses", "leave it out"));
    }
    let subnet = subnet("IPAM.Config[0].Subnet", &config.subnet)?;
    Ok((subnet, gateway(&config.gateway, subnet)?))
}

/// A range whose host bits are zero; `None` for empty text.
pub fn subnet(field: &str, text: &str) -> Result<Option<IpNet>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| ApiError::field(field, format!("{text:?} is no CIDR such as 10.1.0.0/24")))?;
    if net.trunc() != net {
        return Err(ApiError::field(
            field,
            format!("{text} has bits beyond its prefix; {} is meant?", net.trunc()),
        ));
    }
    match net {
        IpNet::V4(_) => Ok(Some(net)),
        IpNet::V6(_) => Err(ApiError::unsupported(field, "networks carry IPv4")),
    }
}

fn gateway(text: &str, subnet: Option<IpNet>) -> Result<Option<IpAddr>, ApiError> {
    const FIELD: &str = "IPAM.Config[0].Gateway";
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr =
        text.parse().map_err(|_| ApiError::field(FIELD, format!("{text:?} is no address")))?;
    match subnet {
        Some(subnet) if subnet.contains(&address) => Ok(Some(address)),
        Some(subnet) => Err(ApiError::field(FIELD, format!("{address} is outside of {subnet}"))),
        None => Err(ApiError::field(FIELD, "a gateway needs a subnet (--subnet)")),
    }
}

/// The network, as the API shows it.
pub fn show(network: &Network) -> WireNetwork {
    let mut options = Map::from([(VNI_OPTION.to_owned(), network.vni.0.to_string())]);
    options.extend(network.spec.mtu.map(|mtu| (MTU_OPTION.to_owned(), mtu.to_string())));
    WireNetwork {
        name: network.spec.name.to_string(),
        id: network.id.to_string(),
        created: time_text(network.meta.created_at),
        scope: "swarm".to_owned(),
        driver: OVERLAY.to_owned(),
        enable_ipv6: false,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: Map::new(),
            config: vec![IpamConfig {
                subnet: network.subnet.to_string(),
                gateway: network.gateway.to_string(),
                ..IpamConfig::default()
            }],
        },
        internal: network.spec.internal,
        attachable: network.spec.attachable,
        ingress: network.spec.ingress,
        containers: BTreeMap::new(),
        options,
        labels: network.spec.labels.clone(),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn refusal(rest: &str) -> String {
        let text = format!(r#"{{"Name":"back","Driver":"overlay",{rest}}}"#);
        spec(&decode(text.as_bytes()).unwrap()).expect_err(rest).to_string()
    }

    #[test]
    fn the_docker_clis_body_is_read() {
        let text = r#"{"Driver":"overlay","Scope":"","IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":
            "10.9.0.0/24","Gateway":"10.9.0.1"}]},"Internal":true,"Attachable":true,"Ingress":false,"ConfigOnly":
            false,"ConfigFrom":null,"Options":{"com.docker.network.driver.mtu":"1400"},"Labels":{"a":"b"},
            "Name":"back"}"#;
        let meant = spec(&decode(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(meant.subnet, Some("10.9.0.0/24".parse().unwrap()));
        assert_eq!(meant.gateway, Some("10.9.0.1".parse().unwrap()));
        assert_eq!(meant.mtu, Some(1400));
        assert!(meant.internal && meant.attachable && !meant.ingress);
    }

    #[test]
    fn refusals_name_the_field() {
        for (rest, message) in [
            (
                r#""IPAM":{"Config":[{"Subnet":"10.9.0.1/24"}]}"#,
                "invalid value for IPAM.Config[0].Subnet: 10.9.0.1/24 has bits beyond its prefix; 10.9.0.0/24 is meant?",
            ),
            (
                r#""IPAM":{"Config":[{"Subnet":"10.9.0.0/33"}]}"#,
                r#"invalid value for IPAM.Config[0].Subnet: "10.9.0.0/33" is no CIDR such as 10.1.0.0/24"#,
            ),
            (
                r#""IPAM":{"Config":[{"Subnet":"10.9.0.0/24","Gateway":"10.8.0.1"}]}"#,
                "invalid value for IPAM.Config[0].Gateway: 10.8.0.1 is outside of 10.9.0.0/24",
            ),
            (
                r#""Options":{"encrypted":""}"#,
                "Options[encrypted] is not supported: com.docker.network.driver.mtu is the only one",
            ),
            (r#""EnableIPv6":true"#, "EnableIPv6 is not supported: networks carry IPv4"),
            (r#""Scope":"local""#, r#"invalid value for Scope: "local": swarm is expected"#),
        ] {
            assert_eq!(refusal(rest), message);
        }
    }
}
