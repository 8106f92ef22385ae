//! Links: made, found, changed, deleted.

use std::os::fd::AsRawFd;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan};

use super::{Mac, Netlink, NetlinkError};
use crate::netns::Netns;

/// Group of links that are deleted together (`ip link show group 1835365224`): "mesh" in ASCII.
const DOOMED: u32 = 0x6d65_7368;

/// What sort of device a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a virtual cable.
    Veth,
    /// A switch.
    Bridge,
    /// A VXLAN device.
    Vxlan {
        /// UDP port it receives on.
        port: u16,
        /// The VNI and the peer come with each packet.
        external: bool,
    },
    /// Another one, or a physical device (empty).
    Other(String),
}

/// A link as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number in its namespace.
    pub index: u32,
    /// Name in its namespace.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Link-layer address.
    pub mac: Option<Mac>,
    /// Largest IP packet.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
    /// The other end is there and on.
    pub carrier: bool,
    /// Bridge that it is a port of, by index.
    pub controller: Option<u32>,
    /// Index of the other end, for a veth; in that end's namespace.
    pub peer: Option<u32>,
    /// What is connected is in another namespace.
    pub peer_elsewhere: bool,
}

/// One end of a veth pair to be made.
#[derive(Debug, Clone)]
pub struct VethEnd<'a> {
    /// Name.
    pub name: &'a str,
    /// Link-layer address; the kernel draws one if there is none.
    pub mac: Option<Mac>,
    /// Namespace; `None` is that of the socket.
    pub netns: Option<&'a Netns>,
}

/// A veth pair to be made.
#[derive(Debug, Clone)]
pub struct Veth<'a> {
    /// The one end.
    pub here: VethEnd<'a>,
    /// The other.
    pub there: VethEnd<'a>,
    /// Largest IP packet, the same at both ends.
    pub mtu: u32,
}

/// A collect-metadata VXLAN device to be made: no learning, no FDB, zero UDP checksums taken.
#[derive(Debug, Clone)]
pub struct Vxlan<'a> {
    /// Name.
    pub name: &'a str,
    /// UDP port.
    pub port: u16,
    /// Largest inner IP packet.
    pub mtu: u32,
}

impl Netlink {
    /// Every link of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetlinkError::new("list interfaces".to_owned(), error))?;
        Ok(messages.iter().map(read_link).collect())
    }

    /// The link of this name, if there is one.
    pub async fn find_link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut answers = Box::pin(self.handle.link().get().match_name(name).execute());
        let answer =
            answers.try_next().await.map_err(|error| NetlinkError::new(format!("find {name}"), error));
        match answer {
            Ok(found) => Ok(found.as_ref().map(read_link)),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The link of this name; [`NetlinkError::NoSuchLink`] without one.
    pub async fn link(&self, name: &str) -> Result<Link, NetlinkError> {
        self.find_link(name).await?.ok_or_else(|| NetlinkError::NoSuchLink {
            name: name.to_owned(),
            netns: self.netns.name().to_owned(),
        })
    }

    /// Makes a veth pair, each end in its namespace at once, both still down.
    pub async fn add_veth(&self, veth: &Veth<'_>) -> Result<(), NetlinkError> {
        let peer = end(LinkMessageBuilder::<LinkUnspec>::new().name(veth.there.name), &veth.there, veth.mtu);
        let mut peer_message = peer.build();
        // Left out, the peer lands where the first end goes, not where the socket is.
        if veth.there.netns.is_none() {
            peer_message.attributes.push(LinkAttribute::NetNsFd(self.netns.as_raw_fd()));
        }
        let here = LinkMessageBuilder::<LinkVeth>::new(veth.here.name, veth.there.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)));
        let message = end(here, &veth.here, veth.mtu).build();
        self.add(message, || format!("make veth pair {} and {}", veth.here.name, veth.there.name)).await
    }

    /// Makes a bridge, down.
    pub async fn add_bridge(&self, name: &str) -> Result<(), NetlinkError> {
        self.add(LinkBridge::new(name).build(), || format!("make bridge {name}")).await
    }

    /// Makes the VXLAN device, down.
    pub async fn add_vxlan(&self, vxlan: &Vxlan<'_>) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkVxlan>::new(vxlan.name)
            .mtu(vxlan.mtu)
            .learning(false)
            .port(vxlan.port)
            .append_info_data(InfoVxlan::CollectMetadata(true))
            .append_info_data(InfoVxlan::UDPCsum(false))
            .append_info_data(InfoVxlan::UDPZeroCsumRX(true))
            .build();
        self.add(message, || format!("make VXLAN device {} on UDP port {}", vxlan.name, vxlan.port)).await
    }

    /// Makes a link a port of a bridge; `None` takes it off.
    pub async fn set_controller(&self, name: &str, bridge: Option<&str>) -> Result<(), NetlinkError> {
        let index = match bridge {
            Some(bridge) => self.link(bridge).await?.index,
            None => 0,
        };
        self.change(name, "change the bridge of", |message| message.controller(index)).await
    }

    /// Switches a link on or off.
    pub async fn set_up(&self, name: &str, up: bool) -> Result<(), NetlinkError> {
        let action = if up { "switch on" } else { "switch off" };
        self.change(name, action, |message| if up { message.up() } else { message.down() }).await
    }

    /// Sets the largest IP packet.
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), NetlinkError> {
        self.change(name, "set the MTU of", |message| message.mtu(mtu)).await
    }

    /// Sets the link-layer address.
    pub async fn set_mac(&self, name: &str, mac: Mac) -> Result<(), NetlinkError> {
        self.change(name, "set the address of", |message| message.address(mac.0.to_vec())).await
    }

    /// Moves a link into another namespace, under a new name there when one is given.
    pub async fn move_link(
        &self,
        name: &str,
        netns: &Netns,
        new_name: Option<&str>,
    ) -> Result<(), NetlinkError> {
        let fd = netns.as_raw_fd();
        self.change(name, "move", |message| {
            let moved = message.setns_by_fd(fd);
            match new_name {
                Some(new_name) => moved.name(new_name),
                None => moved,
            }
        })
        .await
    }

    /// Deletes a link; `false` when there was none.
    pub async fn delete_link(&self, name: &str) -> Result<bool, NetlinkError> {
        let Some(link) = self.find_link(name).await? else { return Ok(false) };
        match self.handle.link().del(link.index).execute().await {
            Ok(()) => Ok(true),
            Err(error) => match NetlinkError::new(format!("delete {name}"), error) {
                error if error.is_gone() => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Deletes several links in one go: the kernel waits for its readers once, not once for each. Names of
    /// links that are gone already are skipped.
    pub async fn delete_links(&self, names: &[String]) -> Result<(), NetlinkError> {
        let mut found = 0;
        for name in names {
            match self.change(name, "group", |message| message.link_group(DOOMED)).await {
                Ok(()) => found += 1,
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        if found == 0 {
            return Ok(());
        }
        let group = LinkMessageBuilder::<LinkUnspec>::new().link_group(DOOMED).build();
        match self.handle.link().del_with_message(group).execute().await {
            Ok(()) => Ok(()),
            Err(error) => match NetlinkError::new(format!("delete {}", names.join(", ")), error) {
                error if error.is_gone() => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn add(&self, message: LinkMessage, action: impl Fn() -> String) -> Result<(), NetlinkError> {
        self.handle.link().add(message).execute().await.map_err(|error| NetlinkError::new(action(), error))
    }

    async fn change(
        &self,
        name: &str,
        action: &str,
        edit: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), NetlinkError> {
        let index = self.link(name).await?.index;
        let message = edit(LinkMessageBuilder::<LinkUnspec>::new().index(index)).build();
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(|error| NetlinkError::new(format!("{action} {name}"), error))
    }
}

/// The attributes that both ends of a veth pair have.
fn end<T>(message: LinkMessageBuilder<T>, end: &VethEnd<'_>, mtu: u32) -> LinkMessageBuilder<T> {
    let message = message.mtu(mtu);
    let message = match end.mac {
        Some(mac) => message.address(mac.0.to_vec()),
        None => message,
    };
    match end.netns {
        Some(netns) => message.setns_by_fd(netns.as_raw_fd()),
        None => message,
    }
}

fn read_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Other(String::new()),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        controller: None,
        peer: None,
        peer_elsewhere: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            LinkAttribute::Controller(index) => link.controller = (*index != 0).then_some(*index),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => link.kind = read_kind(infos),
            _ => {}
        }
    }
    link
}

fn read_kind(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Veth) => LinkKind::Veth,
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(InfoKind::Vxlan) => read_vxlan(infos),
        Some(other) => LinkKind::Other(other.to_string()),
        None => LinkKind::Other(String::new()),
    }
}

fn read_vxlan(infos: &[LinkInfo]) -> LinkKind {
    let (mut port, mut external) = (0, false);
    for info in infos {
        let LinkInfo::Data(InfoData::Vxlan(attributes)) = info else { continue };
        for attribute in attributes {
            match attribute {
                InfoVxlan::Port(value) => port = *value,
                InfoVxlan::CollectMetadata(value) => external = *value,
                _ => {}
            }
        }
    }
    LinkKind::Vxlan { port, external }
}
