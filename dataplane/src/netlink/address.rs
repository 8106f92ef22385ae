//! Addresses and neighbours.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use super::{Mac, Netlink, NetlinkError};

impl Netlink {
    /// Gives a link an address with its prefix; again is harmless.
    pub async fn add_address(&self, link: &str, address: IpNet) -> Result<(), NetlinkError> {
        let index = self.link(link).await?.index;
        self.handle
            .address()
            .add(index, address.addr(), address.prefix_len())
            .replace()
            .execute()
            .await
            .map_err(|error| NetlinkError::new(format!("give {link} the address {address}"), error))
    }

    /// Addresses of one link.
    pub async fn addresses(&self, link: &str) -> Result<Vec<IpNet>, NetlinkError> {
        let index = self.link(link).await?.index;
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetlinkError::new(format!("list the addresses of {link}"), error))?;
        Ok(messages.iter().filter_map(read_address).collect())
    }

    /// Takes an address off a link; `false` when it was not there.
    pub async fn delete_address(&self, link: &str, address: IpNet) -> Result<bool, NetlinkError> {
        let index = self.link(link).await?.index;
        let refused = |error| NetlinkError::new(format!("take the address {address} off {link}"), error);
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(refused)?;
        let Some(found) = messages.into_iter().find(|message| read_address(message) == Some(address)) else {
            return Ok(false);
        };
        self.handle.address().del(found).execute().await.map_err(refused)?;
        Ok(true)
    }

    /// Sets the link-layer address of a neighbour for good, so that nobody is asked for it.
    pub async fn set_neighbour(&self, link: &str, neighbour: IpAddr, mac: Mac) -> Result<(), NetlinkError> {
        let index = self.link(link).await?.index;
        self.handle
            .neighbours()
            .add(index, neighbour)
            .link_layer_address(&mac.0)
            .replace()
            .execute()
            .await
            .map_err(|error| NetlinkError::new(format!("set neighbour {neighbour} of {link}"), error))
    }
}

fn read_address(message: &AddressMessage) -> Option<IpNet> {
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    IpNet::new(find(true).or_else(|| find(false))?, message.header.prefix_len).ok()
}
