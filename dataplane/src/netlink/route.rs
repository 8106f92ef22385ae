//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::RouteMessageBuilder;

use super::{Netlink, NetlinkError};

/// A route of the main table. Without a gateway the destination is on the link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to; `0.0.0.0/0` is the default.
    pub destination: IpNet,
    /// Over which router.
    pub gateway: Option<IpAddr>,
    /// Through which link.
    pub link: String,
}

impl Route {
    /// Everything that nothing else covers goes to `gateway`.
    pub fn default_via(gateway: IpAddr, link: &str) -> Self {
        let any = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        Self { destination: any, gateway: Some(gateway), link: link.to_owned() }
    }

    /// `destination` is reached on the link itself.
    pub fn on_link(destination: IpNet, link: &str) -> Self {
        Self { destination, gateway: None, link: link.to_owned() }
    }
}

impl Netlink {
    /// Adds a route, or replaces the one to the same destination. A gateway need not be in a connected
    /// subnet.
    pub async fn set_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = self.message(route).await?;
        self.handle
            .route()
            .add(message)
            .replace()
            .execute()
            .await
            .map_err(|error| NetlinkError::new(format!("add {route}"), error))
    }

    /// Takes a route away; `false` when it was not there.
    pub async fn delete_route(&self, route: &Route) -> Result<bool, NetlinkError> {
        let message = self.message(route).await?;
        match self.handle.route().del(message).execute().await {
            Ok(()) => Ok(true),
            Err(error) => match NetlinkError::new(format!("delete {route}"), error) {
                error if error.is_gone() => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Routes of the main table for one family, with the names of their links.
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        let links = self.links().await?;
        let messages: Vec<RouteMessage> = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetlinkError::new("list routes".to_owned(), error))?;
        let name = |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        Ok(messages.iter().filter_map(|message| read_route(message, &name)).collect())
    }

    async fn message(&self, route: &Route) -> Result<RouteMessage, NetlinkError> {
        let index = self.link(&route.link).await?.index;
        Ok(match (route.destination, route.gateway) {
            (IpNet::V4(net), gateway) => {
                let builder = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(net.addr(), net.prefix_len())
                    .output_interface(index);
                match gateway {
                    Some(IpAddr::V4(gateway)) => builder.gateway(gateway).onlink(),
                    _ => builder.scope(RouteScope::Link),
                }
                .build()
            }
            (IpNet::V6(net), gateway) => {
                let builder = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(net.addr(), net.prefix_len())
                    .output_interface(index);
                match gateway {
                    Some(IpAddr::V6(gateway)) => builder.gateway(gateway),
                    _ => builder,
                }
                .build()
            }
        })
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.gateway {
            Some(gateway) => write!(f, "route {} via {gateway} dev {}", self.destination, self.link),
            None => write!(f, "route {} dev {}", self.destination, self.link),
        }
    }
}

/// The main table's number (`RT_TABLE_MAIN`).
const MAIN_TABLE: u8 = 254;

fn read_route(message: &RouteMessage, name: &impl Fn(u32) -> Option<String>) -> Option<Route> {
    if message.header.table != MAIN_TABLE {
        return None;
    }
    let mut destination = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (mut gateway, mut link) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = read_address(address)?,
            RouteAttribute::Gateway(address) => gateway = read_address(address),
            RouteAttribute::Oif(index) => link = name(*index),
            _ => {}
        }
    }
    let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway, link: link? })
}

fn read_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
