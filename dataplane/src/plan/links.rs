//! Devices and attached programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use mesh_abi::program;

use crate::desired::{DesiredState, Endpoint, EndpointId, LocalEndpoint, Location};
use crate::name;
use crate::netlink::Mac;

/// The largest MTU of the overlay device: what reaches the wire is bounded by the tasks' own MTUs.
const OVERLAY_MTU: u16 = 65_485;

/// Where a program is attached: always TCX ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Host side of a task's veth: what the task sends.
    TaskEgress,
    /// The overlay device: what arrives in tunnels.
    OverlayIngress,
    /// An uplink: what arrives from outside.
    UplinkIngress,
    /// Host side of the DNS namespace's veth: answers.
    DnsReply,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 4] = [Self::TaskEgress, Self::OverlayIngress, Self::UplinkIngress, Self::DnsReply];

    /// Name of the program in the BPF object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::TaskEgress => program::TASK_EGRESS,
            Self::OverlayIngress => program::OVERLAY_INGRESS,
            Self::UplinkIngress => program::UPLINK_INGRESS,
            Self::DnsReply => program::DNS_REPLY,
        }
    }

    /// The hook whose program has this name.
    pub fn of_program(program: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.program() == program)
    }
}

/// A program on a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// Which program.
    pub hook: Hook,
    /// On which device.
    pub interface: String,
}

impl Attachment {
    fn new(hook: Hook, interface: &str) -> Self {
        Self { hook, interface: interface.to_owned() }
    }
}

/// The collect-metadata VXLAN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    /// UDP port.
    pub port: u16,
    /// Largest inner IP packet.
    pub mtu: u16,
}

/// A local endpoint's veth pair and all that is configured inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointLink {
    /// The task's namespace.
    pub netns: PathBuf,
    /// Name inside.
    pub inside: String,
    /// Link-layer address inside.
    pub mac: Option<Mac>,
    /// Address with the network's prefix.
    pub address: Option<IpNet>,
    /// Largest IP packet.
    pub mtu: u16,
    /// Gateway of the default route.
    pub gateway: Option<IpAddr>,
    /// Whether the DNS server's address is routed here.
    pub dns: bool,
    /// Both ends are switched on.
    pub up: bool,
}

impl EndpointLink {
    /// Cannot become `other` without being made anew.
    fn is_another(&self, other: &Self) -> bool {
        (&self.netns, &self.inside, self.mac) != (&other.netns, &other.inside, other.mac)
    }
}

/// The devices that the dataplane owns, and the programs on them and on the uplinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// The overlay device.
    pub overlay: Option<Overlay>,
    /// The DNS namespace with its veth.
    pub dns: bool,
    /// Veth pairs of local endpoints.
    pub endpoints: BTreeMap<EndpointId, EndpointLink>,
    /// Attached programs.
    pub attached: BTreeSet<Attachment>,
}

impl Links {
    /// What there should be. Endpoints whose network is unknown, and those whose address is not IPv4, have no
    /// device: [`crate::check`] refuses such a state before.
    pub fn desired(state: &DesiredState) -> Self {
        let mut attached: BTreeSet<Attachment> = BTreeSet::from([
            Attachment::new(Hook::OverlayIngress, name::OVERLAY),
            Attachment::new(Hook::DnsReply, name::DNS),
        ]);
        attached.extend(state.node.uplinks.iter().map(|uplink| Attachment::new(Hook::UplinkIngress, uplink)));
        let endpoints: BTreeMap<_, _> = state
            .endpoints
            .iter()
            .filter_map(|(id, endpoint)| endpoint_link(state, endpoint).map(|link| (*id, link)))
            .collect();
        attached.extend(endpoints.keys().map(|id| Attachment::new(Hook::TaskEgress, &name::host_side(*id))));
        let overlay = Some(Overlay { port: state.node.data_path_port, mtu: OVERLAY_MTU });
        Self { overlay, dns: true, endpoints, attached }
    }

    /// What there is after the operation. With a device go the programs on it.
    pub fn note(&mut self, operation: &LinkOperation) {
        match operation {
            LinkOperation::AddOverlay(overlay) => {
                self.overlay = Some(*overlay);
                self.forget_programs(name::OVERLAY);
            }
            LinkOperation::AddDns => {
                self.dns = true;
                self.forget_programs(name::DNS);
            }
            LinkOperation::AddEndpoint(id, link) => {
                self.forget_programs(&name::host_side(*id));
                self.endpoints.insert(*id, EndpointLink { up: false, ..link.clone() });
            }
            LinkOperation::Configure(id, link) => {
                let up = self.endpoints.get(id).is_some_and(|there| there.up);
                self.endpoints.insert(*id, EndpointLink { up, ..link.clone() });
            }
            LinkOperation::Attach(at) => {
                self.attached.insert(at.clone());
            }
            LinkOperation::SwitchOn(id) => {
                if let Some(link) = self.endpoints.get_mut(id) {
                    link.up = true;
                }
            }
            LinkOperation::Detach(at) => {
                self.attached.remove(at);
            }
            LinkOperation::DeleteEndpoints(ids) => {
                for id in ids {
                    self.endpoints.remove(id);
                    self.forget_programs(&name::host_side(*id));
                }
            }
            LinkOperation::DeleteDns => {
                self.dns = false;
                self.forget_programs(name::DNS);
            }
            LinkOperation::DeleteOverlay => {
                self.overlay = None;
                self.forget_programs(name::OVERLAY);
            }
        }
    }

    fn forget_programs(&mut self, interface: &str) {
        self.attached.retain(|at| at.interface != interface);
    }
}

fn endpoint_link(state: &DesiredState, endpoint: &Endpoint) -> Option<EndpointLink> {
    let Location::Local(LocalEndpoint { netns, ifname, default_route, dns_client }) = &endpoint.location
    else {
        return None;
    };
    let network = state.networks.get(&endpoint.vni)?;
    let IpAddr::V4(address) = endpoint.address else { return None };
    Some(EndpointLink {
        netns: netns.clone(),
        inside: ifname.clone(),
        mac: Some(Mac::of_ipv4(address)),
        address: IpNet::new(endpoint.address, network.subnet.prefix_len()).ok(),
        mtu: network.mtu,
        gateway: (*default_route && !network.internal).then_some(network.gateway),
        dns: dns_client.is_some(),
        up: true,
    })
}

/// One step on devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOperation {
    /// Make the overlay device.
    AddOverlay(Overlay),
    /// Make the DNS namespace and its veth.
    AddDns,
    /// Make a veth pair, configured inside, its host side still off.
    AddEndpoint(EndpointId, EndpointLink),
    /// Make what is inside as it should be.
    Configure(EndpointId, EndpointLink),
    /// Attach a program.
    Attach(Attachment),
    /// Switch the host side on.
    SwitchOn(EndpointId),
    /// Detach a program.
    Detach(Attachment),
    /// Delete veth pairs, in one go.
    DeleteEndpoints(Vec<EndpointId>),
    /// Delete the DNS namespace and its veth.
    DeleteDns,
    /// Delete the overlay device.
    DeleteOverlay,
}

impl LinkOperation {
    /// Makes or configures an endpoint; these come last in [`prepare`] and do not depend on each other.
    pub const fn makes_endpoint(&self) -> bool {
        matches!(self, Self::AddEndpoint(..) | Self::Configure(..))
    }

    /// The endpoint that it is about.
    pub const fn endpoint(&self) -> Option<EndpointId> {
        match self {
            Self::AddEndpoint(id, _) | Self::Configure(id, _) | Self::SwitchOn(id) => Some(*id),
            _ => None,
        }
    }
}

impl fmt::Display for LinkOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddOverlay(overlay) => {
                write!(f, "add overlay {} port {} mtu {}", name::OVERLAY, overlay.port, overlay.mtu)
            }
            Self::AddDns => write!(f, "add dns namespace, veth {}", name::DNS),
            Self::AddEndpoint(id, link) => write!(f, "add veth {} {link}", name::host_side(*id)),
            Self::Configure(id, link) => write!(f, "configure veth {} {link}", name::host_side(*id)),
            Self::Attach(at) => write!(f, "attach {} to {}", at.hook.program(), at.interface),
            Self::SwitchOn(id) => write!(f, "switch on {}", name::host_side(*id)),
            Self::Detach(at) => write!(f, "detach {} from {}", at.hook.program(), at.interface),
            Self::DeleteEndpoints(ids) => {
                let names: Vec<String> = ids.iter().copied().map(name::host_side).collect();
                write!(f, "delete veth {}", names.join(" "))
            }
            Self::DeleteDns => write!(f, "delete dns namespace, veth {}", name::DNS),
            Self::DeleteOverlay => write!(f, "delete overlay {}", name::OVERLAY),
        }
    }
}

impl fmt::Display for EndpointLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.netns.display(), self.inside)?;
        if let Some(mac) = self.mac {
            write!(f, " mac {mac}")?;
        }
        if let Some(address) = self.address {
            write!(f, " address {address}")?;
        }
        write!(f, " mtu {}", self.mtu)?;
        if let Some(gateway) = self.gateway {
            write!(f, " default via {gateway}")?;
        }
        if self.dns { f.write_str(" dns") } else { Ok(()) }
    }
}

/// Devices that have to be made, or made anew, before the maps can name them.
pub fn prepare(from: &Links, to: &Links) -> Vec<LinkOperation> {
    let mut operations = Vec::new();
    if let Some(overlay) = to.overlay.filter(|overlay| from.overlay != Some(*overlay)) {
        if from.overlay.is_some() {
            operations.push(LinkOperation::DeleteOverlay);
        }
        operations.push(LinkOperation::AddOverlay(overlay));
    }
    if to.dns && !from.dns {
        operations.push(LinkOperation::AddDns);
    }
    let in_the_way: Vec<EndpointId> = in_the_way(from, to).collect();
    if !in_the_way.is_empty() {
        operations.push(LinkOperation::DeleteEndpoints(in_the_way));
    }
    for (id, wanted) in &to.endpoints {
        match from.endpoints.get(id) {
            Some(there) if there == wanted => {}
            Some(there) if !there.is_another(wanted) => {
                operations.push(LinkOperation::Configure(*id, wanted.clone()));
            }
            _ => operations.push(LinkOperation::AddEndpoint(*id, wanted.clone())),
        }
    }
    operations
}

/// Programs to attach, devices to switch on, and what is not wanted any more. `from` is what there is after
/// the operations of [`prepare`].
pub fn finish(from: &Links, to: &Links) -> Vec<LinkOperation> {
    let mut operations: Vec<_> =
        to.attached.difference(&from.attached).cloned().map(LinkOperation::Attach).collect();
    let off = from.endpoints.iter().filter(|(id, there)| !there.up && to.endpoints.contains_key(id));
    operations.extend(off.map(|(id, _)| LinkOperation::SwitchOn(*id)));
    operations.extend(from.attached.difference(&to.attached).cloned().map(LinkOperation::Detach));
    let gone: Vec<EndpointId> =
        from.endpoints.keys().filter(|id| !to.endpoints.contains_key(id)).copied().collect();
    if !gone.is_empty() {
        operations.push(LinkOperation::DeleteEndpoints(gone));
    }
    if from.dns && !to.dns {
        operations.push(LinkOperation::DeleteDns);
    }
    if from.overlay.is_some() && to.overlay.is_none() {
        operations.push(LinkOperation::DeleteOverlay);
    }
    operations
}

/// Endpoints that have to go before others can be made: they are made anew themselves, sit where another one
/// should be, or are orphans that may sit anywhere.
fn in_the_way<'a>(from: &'a Links, to: &'a Links) -> impl Iterator<Item = EndpointId> + 'a {
    let places: BTreeMap<_, _> =
        to.endpoints.iter().map(|(id, link)| ((&link.netns, &link.inside), *id)).collect();
    from.endpoints.iter().filter_map(move |(id, there)| {
        let remade = to.endpoints.get(id).is_some_and(|wanted| there.is_another(wanted));
        let taken = places.get(&(&there.netns, &there.inside)).is_some_and(|owner| owner != id);
        let orphan = there.netns.as_os_str().is_empty() && !to.endpoints.contains_key(id);
        (remade || taken || orphan).then_some(*id)
    })
}
