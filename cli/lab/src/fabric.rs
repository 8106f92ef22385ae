//! The network between the members: a bridge in a namespace of its own, one port a member.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_dataplane::netlink::{Netlink, NetlinkError, Veth, VethEnd};
use mesh_dataplane::netns::Netns;
use mesh_dataplane::sysctl;

use crate::error::LabError;
use crate::layout::{FABRIC_PREFIX, Layout, Member, UPLINK};
use crate::space::Space;

/// The bridge's name in the fabric's namespace.
const BRIDGE: &str = "fabric";

/// Wraps an error of the fabric with what was tried.
pub(crate) fn failed<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> LabError {
    let what = what.into();
    move |error| LabError::Fabric { what, reason: error.to_string() }
}

/// Makes the fabric, without ports. Must be called in a tokio runtime.
pub async fn create(layout: &Layout) -> Result<(), LabError> {
    let netns = Netns::create(&layout.fabric()).map_err(failed("make its namespace"))?;
    // The bridge carries the members' IPv4 alone; its own IPv6 chatter would only blur captures.
    sysctl::write(&netns, "net/ipv6/conf/default/disable_ipv6", "1").map_err(failed("set it up"))?;
    let netlink = Netlink::open(&netns).map_err(failed("open netlink"))?;
    let made: Result<(), NetlinkError> = async {
        netlink.set_up("lo", true).await?;
        netlink.add_bridge(BRIDGE).await?;
        netlink.set_up(BRIDGE, true).await
    }
    .await;
    made.map_err(failed("make the bridge"))
}

/// Connects a member: a port named after it on the bridge, an uplink with its address inside.
pub async fn connect(layout: &Layout, member: Member, mtu: u16) -> Result<(), LabError> {
    let fabric = Netns::open(&layout.fabric()).map_err(failed("open its namespace"))?;
    let inside = Netns::open(&Space::at(layout.space(member)).netns()).map_err(failed("open a member"))?;
    let port = member.to_string();
    let made: Result<(), NetlinkError> = async {
        let netlink = Netlink::open(&fabric)?;
        // A crashed node's port goes with its namespace, but not at once.
        netlink.delete_link(&port).await?;
        netlink
            .add_veth(&Veth {
                here: VethEnd { name: &port, mac: None, netns: None },
                there: VethEnd { name: UPLINK, mac: None, netns: Some(&inside) },
                mtu: u32::from(mtu),
            })
            .await?;
        netlink.set_controller(&port, Some(BRIDGE)).await?;
        netlink.set_up(&port, true).await?;
        let address = IpNet::new_assert(IpAddr::V4(member.address()), FABRIC_PREFIX);
        let netlink = Netlink::open(&inside)?;
        netlink.set_up("lo", true).await?;
        netlink.add_address(UPLINK, address).await?;
        netlink.set_up(UPLINK, true).await
    }
    .await;
    made.map_err(failed(format!("connect {member}")))
}

/// Takes a member's uplink down or up again, as pulling its cable does.
pub async fn set_cable(layout: &Layout, member: Member, plugged: bool) -> Result<(), LabError> {
    let inside = Netns::open(&Space::at(layout.space(member)).netns()).map_err(failed("open a member"))?;
    let done: Result<(), NetlinkError> =
        async { Netlink::open(&inside)?.set_up(UPLINK, plugged).await }.await;
    done.map_err(failed(format!("uplink of {member}")))
}

/// Removes a member's port.
pub async fn disconnect(layout: &Layout, member: Member) -> Result<(), LabError> {
    let fabric = Netns::open(&layout.fabric()).map_err(failed("open its namespace"))?;
    let done: Result<bool, NetlinkError> =
        async { Netlink::open(&fabric)?.delete_link(&member.to_string()).await }.await;
    done.map(|_| ()).map_err(failed(format!("disconnect {member}")))
}

/// Lets go of the fabric's namespace, and with it of the bridge and every port.
pub fn remove(layout: &Layout) -> Vec<String> {
    Netns::delete(&layout.fabric()).err().map(|error| error.to_string()).into_iter().collect()
}
