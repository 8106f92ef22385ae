//! Devices: what is there, and doing the operations of [`crate::plan`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use crate::desired::{DNS_SERVER, DesiredState, EndpointId, Location};
use crate::name;
use crate::netlink::{Link, LinkKind, Mac, Netlink, NetlinkError, Route, Veth, VethEnd, Vxlan};
use crate::netns::Netns;
use crate::plan::{EndpointLink, Links, Overlay};
use crate::sysctl::{self, SysctlError};

/// Router of the DNS namespace. It exists as a permanent neighbour only: its frames are taken by BPF.
const DNS_ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 53, 54);

/// DNS messages over UDP are 1,232 bytes at most; nothing larger is asked for in that namespace, because its
/// answers must fit every network's MTU without fragments.
const DNS_MTU: u32 = 1280;

/// Why a device could not be made, changed, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Over netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] crate::netns::NetnsError),
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The overlay's port is not free.
    #[error(
        "UDP port {port} of the overlay is in use on this node (another VXLAN, such as Docker's?): {source}"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// The kernel's answer.
        source: NetlinkError,
    },
}

/// The devices of one node.
#[derive(Debug, Clone)]
pub struct Devices {
    netlink: Netlink,
    dns_netns: PathBuf,
}

impl Devices {
    /// Devices of the namespace `netns`; namespaces of their own are bound under `run_dir`.
    pub fn open(netns: &Netns, run_dir: &Path) -> Result<Self, NetlinkError> {
        Ok(Self { netlink: Netlink::open(netns)?, dns_netns: dns_netns(run_dir) })
    }

    /// The node's socket.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Reads what there is, as far as it is the dataplane's. `state` says where the inner ends of veth pairs
    /// should be; one whose inner end is not there reads as another one. Attachments are not read here.
    pub async fn observe(&self, state: Option<&DesiredState>) -> Result<Links, LinkError> {
        let mut found = Links::default();
        for link in self.netlink.links().await? {
            match (&link.kind, name::endpoint_of(&link.name)) {
                (LinkKind::Vxlan { port, external: true }, _) if link.name == name::OVERLAY => {
                    let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
                    found.overlay = Some(Overlay { port: *port, mtu });
                }
                (LinkKind::Veth, Some(id)) => {
                    found.endpoints.insert(id, inner_end(state, id, &link).await);
                }
                (LinkKind::Veth, None) if link.name == name::DNS => {
                    found.dns = self.dns_is_whole(&link).await;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Numbers of all devices of the node, by name.
    pub async fn numbers(&self) -> Result<BTreeMap<String, u32>, NetlinkError> {
        Ok(self.netlink.links().await?.into_iter().map(|link| (link.name, link.index)).collect())
    }

    /// Makes the overlay device and switches it on.
    pub async fn add_overlay(&self, overlay: Overlay) -> Result<(), LinkError> {
        self.netlink.delete_link(name::OVERLAY).await?;
        let device = Vxlan { name: name::OVERLAY, port: overlay.port, mtu: overlay.mtu.into() };
        self.netlink.add_vxlan(&device).await?;
        without_ipv6(self.netlink.netns(), name::OVERLAY)?;
        self.netlink.set_up(name::OVERLAY, true).await.map_err(|source| match source.errno() {
            Some(nix::errno::Errno::EADDRINUSE) => LinkError::PortInUse { port: overlay.port, source },
            _ => LinkError::Netlink(source),
        })
    }

    /// Deletes the overlay device.
    pub async fn delete_overlay(&self) -> Result<(), LinkError> {
        self.netlink.delete_link(name::OVERLAY).await?;
        Ok(())
    }

    /// Makes the DNS namespace, or completes it, with a fresh veth.
    pub async fn add_dns(&self) -> Result<(), LinkError> {
        self.netlink.delete_link(name::DNS).await?;
        let netns = Netns::open_or_create(&self.dns_netns)?;
        let inside = Netlink::open(&netns)?;
        quiet(&netns)?;
        self.netlink
            .add_veth(&Veth {
                here: VethEnd { name: name::DNS, mac: Some(Mac::of_ipv4(DNS_ROUTER)), netns: None },
                there: VethEnd { name: name::DNS_INSIDE, mac: Some(dns_mac()), netns: Some(&netns) },
                mtu: DNS_MTU,
            })
            .await?;
        without_ipv6(self.netlink.netns(), name::DNS)?;
        inside.set_up("lo", true).await?;
        inside.add_address(name::DNS_INSIDE, host_route(DNS_SERVER)).await?;
        inside.set_up(name::DNS_INSIDE, true).await?;
        let router = IpAddr::V4(DNS_ROUTER);
        inside.set_neighbour(name::DNS_INSIDE, router, Mac::of_ipv4(DNS_ROUTER)).await?;
        inside.set_route(&Route::default_via(router, name::DNS_INSIDE)).await?;
        Ok(self.netlink.set_up(name::DNS, true).await?)
    }

    /// Deletes the DNS namespace and its veth.
    pub async fn delete_dns(&self) -> Result<(), LinkError> {
        self.netlink.delete_link(name::DNS).await?;
        Netns::delete(&self.dns_netns)?;
        Ok(())
    }

    /// Makes an endpoint's veth pair with all that is inside; its host side stays off.
    pub async fn add_endpoint(&self, id: EndpointId, link: &EndpointLink) -> Result<(), LinkError> {
        let host = name::host_side(id);
        self.netlink.delete_link(&host).await?;
        let netns = Netns::open(&link.netns)?;
        quiet(&netns)?;
        self.netlink
            .add_veth(&Veth {
                here: VethEnd { name: &host, mac: None, netns: None },
                there: VethEnd { name: &link.inside, mac: link.mac, netns: Some(&netns) },
                mtu: link.mtu.into(),
            })
            .await?;
        without_ipv6(self.netlink.netns(), &host)?;
        furnish(&Netlink::open(&netns)?, link).await
    }

    /// Makes what is inside, and the MTU outside, as it should be.
    pub async fn configure(&self, id: EndpointId, link: &EndpointLink) -> Result<(), LinkError> {
        self.netlink.set_mtu(&name::host_side(id), link.mtu.into()).await?;
        self.configure_inside(&Netns::open(&link.netns)?, link).await
    }

    /// Switches the host side of an endpoint on.
    pub async fn switch_on(&self, id: EndpointId) -> Result<(), LinkError> {
        Ok(self.netlink.set_up(&name::host_side(id), true).await?)
    }

    /// Deletes endpoints' veth pairs.
    pub async fn delete_endpoints(&self, ids: &[EndpointId]) -> Result<(), LinkError> {
        let names: Vec<String> = ids.iter().copied().map(name::host_side).collect();
        Ok(self.netlink.delete_links(&names).await?)
    }

    /// Takes away what should not be inside, and adds what should.
    async fn configure_inside(&self, netns: &Netns, link: &EndpointLink) -> Result<(), LinkError> {
        let inside = Netlink::open(netns)?;
        let device = link.inside.as_str();
        inside.set_mtu(device, link.mtu.into()).await?;
        for present in inside.addresses(device).await? {
            if present.addr().is_ipv4() && Some(present) != link.address {
                inside.delete_address(device, present).await?;
            }
        }
        let wanted = routes(link);
        for present in inside.routes().await? {
            if is_ours(&present, device) && !wanted.contains(&present) {
                inside.delete_route(&present).await?;
            }
        }
        furnish(&inside, link).await
    }

    async fn dns_is_whole(&self, host: &Link) -> bool {
        let whole = async {
            let inside = Netlink::open(&Netns::open(&self.dns_netns)?)?;
            let link = inside.link(name::DNS_INSIDE).await?;
            let addresses = inside.addresses(name::DNS_INSIDE).await?;
            let default = Route::default_via(IpAddr::V4(DNS_ROUTER), name::DNS_INSIDE);
            let routed = inside.routes().await?.contains(&default);
            let paired = host.peer == Some(link.index) && host.up && link.up;
            Ok::<_, LinkError>(paired && routed && addresses.contains(&host_route(DNS_SERVER)))
        };
        whole.await.unwrap_or(false)
    }
}

/// Where the DNS namespace is bound.
pub fn dns_netns(run_dir: &Path) -> PathBuf {
    run_dir.join("netns").join("mesh-dns")
}

/// Link-layer address of the DNS server.
pub const fn dns_mac() -> Mac {
    Mac::of_ipv4(DNS_SERVER)
}

/// Reads the inner end of a veth pair where it should be.
async fn inner_end(state: Option<&DesiredState>, id: EndpointId, host: &Link) -> EndpointLink {
    let nowhere = EndpointLink {
        netns: PathBuf::new(),
        inside: String::new(),
        mac: None,
        address: None,
        mtu: 0,
        gateway: None,
        dns: false,
        up: host.up,
    };
    let endpoint = state.and_then(|state| state.endpoints.get(&id));
    let Some(Location::Local(local)) = endpoint.map(|endpoint| &endpoint.location) else { return nowhere };
    match read_inside(&local.netns, &local.ifname, host).await {
        Ok(Some(link)) => link,
        Ok(None) => nowhere,
        Err(error) => {
            tracing::debug!(endpoint = id, %error, "inner end of the veth pair is not readable");
            nowhere
        }
    }
}

async fn read_inside(path: &Path, device: &str, host: &Link) -> Result<Option<EndpointLink>, LinkError> {
    let inside = Netlink::open(&Netns::open(path)?)?;
    let Some(link) = inside.find_link(device).await? else { return Ok(None) };
    if host.peer != Some(link.index) || link.peer != Some(host.index) {
        return Ok(None);
    }
    let addresses: Vec<IpNet> =
        inside.addresses(device).await?.into_iter().filter(|address| address.addr().is_ipv4()).collect();
    let routes: BTreeSet<Route> =
        inside.routes().await?.into_iter().filter(|route| is_ours(route, device)).collect();
    let default = routes.iter().find(|route| route.destination.prefix_len() == 0);
    Ok(Some(EndpointLink {
        netns: path.to_owned(),
        inside: device.to_owned(),
        mac: link.mac,
        address: if let [one] = addresses[..] { Some(one) } else { None },
        mtu: if link.mtu == host.mtu { u16::try_from(link.mtu).unwrap_or(u16::MAX) } else { 0 },
        gateway: default.and_then(|route| route.gateway),
        dns: routes.contains(&dns_route(device)),
        up: host.up && link.up,
    }))
}

/// Adds address and routes inside, and switches the device on.
async fn furnish(inside: &Netlink, link: &EndpointLink) -> Result<(), LinkError> {
    let device = link.inside.as_str();
    if let Some(address) = link.address {
        inside.add_address(device, address).await?;
    }
    inside.set_up("lo", true).await?;
    inside.set_up(device, true).await?;
    for route in routes(link) {
        inside.set_route(&route).await?;
    }
    Ok(())
}

/// Routes that the dataplane sets inside a task.
fn routes(link: &EndpointLink) -> Vec<Route> {
    let default = link.gateway.map(|gateway| Route::default_via(gateway, &link.inside));
    default.into_iter().chain(link.dns.then(|| dns_route(&link.inside))).collect()
}

/// The default route and the one to the DNS server over this device; the kernel makes the connected ones.
fn is_ours(route: &Route, device: &str) -> bool {
    route.link == device
        && (route.destination.prefix_len() == 0 || route.destination == host_route(DNS_SERVER))
}

fn dns_route(device: &str) -> Route {
    Route::on_link(host_route(DNS_SERVER), device)
}

fn host_route(address: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::from(address))
}

/// Settings of a namespace whose routing is the dataplane's: no IPv6 but on lo, and no reverse path filter,
/// which would drop what arrives at one of several networks with a source that another one routes.
fn quiet(netns: &Netns) -> Result<(), SysctlError> {
    sysctl::write_known(
        netns,
        &[
            ("net/ipv6/conf/default/disable_ipv6", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ],
    )
}

fn without_ipv6(netns: &Netns, device: &str) -> Result<(), SysctlError> {
    sysctl::write_known(netns, &[(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1")])
}
