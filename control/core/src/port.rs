//! Transport ports and protocols.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// A transport protocol that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port number, 1 to 65535, host byte order.
pub type Port = NonZeroU16;

/// Published ports that are handed out when none is asked for.
pub const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Where a published port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node, through the routing mesh.
    #[default]
    Ingress,
    /// On the nodes that run a task of the service, straight to that task.
    Host,
}

/// One published port of a service's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port that clients use; `None` asks for a dynamic one ([`DYNAMIC_PORTS`]).
    pub published: Option<Port>,
    /// Port that the task listens on.
    pub target: Port,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where it answers.
    pub mode: PublishMode,
}
