//! Changes of a namespace as the kernel announces them.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;

use super::NetlinkError;
use crate::netns::Netns;

/// Something changed in the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetEvent {
    /// An IPv4 address came or went, on the link of this index.
    Addresses(u32),
    /// The link is new or has changed.
    Link(String),
    /// The link is gone.
    LinkGone(String),
}

/// Stream of changes, from the moment at which it was opened.
pub struct NetEvents {
    stream: BoxStream<'static, NetEvent>,
}

impl NetEvents {
    /// Listens in `netns`. Must be called in a tokio runtime.
    pub fn open(netns: &Netns) -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let made = netns.run(|| {
            let _reactor = runtime.enter();
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr])
        })?;
        let (connection, handle, messages) =
            made.map_err(|source| NetlinkError::Socket { netns: netns.name().to_owned(), source })?;
        runtime.spawn(connection);
        let stream = messages
            .filter_map(move |(message, _)| {
                // The connection ends when its last handle is dropped.
                let _open = &handle;
                std::future::ready(match message.payload {
                    NetlinkPayload::InnerMessage(inner) => read_event(&inner),
                    _ => None,
                })
            })
            .boxed();
        Ok(Self { stream })
    }

    /// The next change; `None` when the socket is gone.
    pub async fn next(&mut self) -> Option<NetEvent> {
        self.stream.next().await
    }
}

fn read_event(message: &RouteNetlinkMessage) -> Option<NetEvent> {
    match message {
        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
            Some(NetEvent::Addresses(address.header.index))
        }
        RouteNetlinkMessage::NewLink(link) => name_of(link).map(NetEvent::Link),
        RouteNetlinkMessage::DelLink(link) => name_of(link).map(NetEvent::LinkGone),
        _ => None,
    }
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}
