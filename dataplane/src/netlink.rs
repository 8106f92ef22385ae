//! Links, addresses, routes and neighbours of one network namespace, over rtnetlink.
//!
//! A [`Netlink`] is one socket that stays in the namespace it was opened for and may be used from any tokio
//! worker. Operations are written so that doing one again is harmless where the kernel has a word for it
//! (addresses, routes and neighbours are replaced; deleting what is gone answers `false`).

mod address;
mod event;
mod link;
mod route;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use nix::errno::Errno;

use crate::netns::{Netns, NetnsError};

pub use event::{NetEvent, NetEvents};
pub use link::{Link, LinkKind, Veth, VethEnd, Vxlan};
pub use route::Route;

/// Why netlink did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No socket.
    #[error("cannot open a netlink socket in network namespace {netns}: {source}")]
    Socket {
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("cannot {action}: {source}{}", hint(source))]
    Refused {
        /// What was tried, with the names in it.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The answer was not one that the protocol has.
    #[error("cannot {action}: unexpected netlink answer: {answer}")]
    Protocol {
        /// What was tried.
        action: String,
        /// The answer.
        answer: String,
    },
    /// There is no such interface.
    #[error("no interface {name} in network namespace {netns}")]
    NoSuchLink {
        /// Its name.
        name: String,
        /// The namespace.
        netns: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, when it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } | Self::Socket { source, .. } => {
                source.raw_os_error().map(Errno::from_raw)
            }
            _ => None,
        }
    }

    /// What was asked for is gone already.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NoSuchLink { .. })
            || matches!(
                self.errno(),
                Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL)
            )
    }

    /// What should be made is there already.
    pub fn is_present(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    fn new(action: String, error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::Refused { action, source: message.to_io() },
            other => Self::Protocol { action, answer: other.to_string() },
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => " (root with CAP_NET_ADMIN is needed)",
        Some(Errno::EOPNOTSUPP) => " (this kernel lacks the module)",
        _ => "",
    }
}

/// A link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of an endpoint: `02:42` and the four bytes of its IPv4 address.
    pub const fn of_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}

/// A netlink socket in one namespace.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    netns: Netns,
}

impl Netlink {
    /// Opens a socket in `netns`. Must be called in a tokio runtime, which then serves the socket until the
    /// last clone of this value is gone.
    pub fn open(netns: &Netns) -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let made = netns.run(|| {
            let _reactor = runtime.enter();
            rtnetlink::new_connection()
        })?;
        let (connection, handle, _) =
            made.map_err(|source| NetlinkError::Socket { netns: netns.name().to_owned(), source })?;
        runtime.spawn(connection);
        Ok(Self { handle, netns: netns.clone() })
    }

    /// The namespace that the socket is in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_mac_holds_its_address() {
        assert_eq!(Mac::of_ipv4(Ipv4Addr::new(10, 0, 1, 255)).to_string(), "02:42:0a:00:01:ff");
    }

    #[test]
    fn a_refusal_says_what_was_tried_and_what_helps() {
        let refused =
            NetlinkError::Refused { action: "make mv1".to_owned(), source: io::Error::from(Errno::EPERM) };
        assert_eq!(
            refused.to_string(),
            "cannot make mv1: Operation not permitted (os error 1) (root with CAP_NET_ADMIN is needed)"
        );
        assert!(!refused.is_gone() && !refused.is_present());
    }
}
