//! Networks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Map;
use crate::blank;

/// The driver that every network of the mesh has.
pub const OVERLAY: &str = "overlay";

/// Option that sets the largest packet.
pub const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// Option under which libnetwork shows the VNIs of a network.
pub const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// A network as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// Name.
    pub name: String,
    /// Identifier.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// `swarm`
    pub scope: String,
    /// `overlay`
    pub driver: String,
    /// IPv6 inside.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Address ranges.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// No way out.
    pub internal: bool,
    /// Containers outside services may join.
    pub attachable: bool,
    /// The routing mesh's own.
    pub ingress: bool,
    /// Tasks of this node that are in it, by task id.
    pub containers: BTreeMap<String, Value>,
    /// Options of the driver.
    pub options: Map,
    /// Labels.
    pub labels: Map,
}

/// Body of a creation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkCreate {
    /// Name.
    pub name: String,
    /// Driver; `overlay` here.
    pub driver: String,
    /// `swarm` or empty.
    #[serde(skip_serializing_if = "blank")]
    pub scope: String,
    /// IPv4 inside.
    #[serde(rename = "EnableIPv4", skip_serializing_if = "blank")]
    pub enable_ipv4: Option<bool>,
    /// IPv6 inside.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "blank")]
    pub enable_ipv6: Option<bool>,
    /// Address ranges.
    #[serde(rename = "IPAM", skip_serializing_if = "blank")]
    pub ipam: Option<Ipam>,
    /// No way out.
    pub internal: bool,
    /// Containers outside services may join.
    pub attachable: bool,
    /// Make it the routing mesh's own.
    pub ingress: bool,
    /// A template for others.
    #[serde(skip_serializing_if = "blank")]
    pub config_only: bool,
    /// The template to follow.
    #[serde(skip_serializing_if = "blank")]
    pub config_from: Option<Value>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "blank")]
    pub options: Map,
    /// Labels.
    #[serde(skip_serializing_if = "blank")]
    pub labels: Map,
}

/// Address ranges of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// `default` or empty.
    #[serde(skip_serializing_if = "blank")]
    pub driver: String,
    /// Options of that driver.
    #[serde(skip_serializing_if = "blank")]
    pub options: Map,
    /// The ranges.
    pub config: Vec<IpamConfig>,
}

/// One address range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamConfig {
    /// CIDR.
    #[serde(skip_serializing_if = "blank")]
    pub subnet: String,
    /// CIDR that addresses are taken from.
    #[serde(rename = "IPRange", skip_serializing_if = "blank")]
    pub ip_range: String,
    /// Address.
    #[serde(skip_serializing_if = "blank")]
    pub gateway: String,
    /// Addresses that other things have.
    #[serde(skip_serializing_if = "blank")]
    pub auxiliary_addresses: Map,
}

/// Answer to a creation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkCreated {
    /// Identifier.
    pub id: String,
    /// What the user should know.
    pub warning: String,
}
