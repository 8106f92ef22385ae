//! What can go wrong with a node's dataplane as a whole.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use crate::apply::links::LinkError;
use crate::apply::pins::TableError;
use crate::apply::programs::LoadError;
use crate::check::Invalid;
use crate::desired::EndpointId;
use crate::host::HostError;
use crate::netlink::NetlinkError;
use crate::netns::NetnsError;
use crate::plan::NoRoom;
use crate::sysctl::SysctlError;
use crate::tcx::TcxError;

/// One thing that went wrong.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The desired state contradicts itself; nothing was touched.
    #[error("the desired state is not usable: {0}")]
    Invalid(#[from] Invalid),
    /// The host lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A device.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The BPF programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A BPF map.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A program on a device.
    #[error(transparent)]
    Tcx(#[from] TcxError),
    /// A table is full.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// An uplink is missing.
    #[error("uplink {name} does not exist on this node (name another with --uplink)")]
    NoUplink {
        /// Its name.
        name: String,
    },
    /// The uplinks do not hold the tunnel's address.
    #[error(
        "data path address {address} is on none of the uplinks {uplinks} (see --data-path-addr and --uplink)"
    )]
    NotOnUplink {
        /// The address.
        address: Ipv4Addr,
        /// The uplinks, for people.
        uplinks: String,
    },
    /// An endpoint could not be made; the others are.
    #[error("endpoint {id}: {source}")]
    Endpoint {
        /// Its number.
        id: EndpointId,
        /// What went wrong.
        source: Box<DataplaneError>,
    },
    /// Something in the background could not be started, or ended.
    #[error("cannot run {what}: {source}")]
    Background {
        /// What it is.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl DataplaneError {
    /// Whether the same may succeed later without anybody's help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Endpoint { source, .. } => source.may_pass(),
            Self::NoRoom(_)
            | Self::NoUplink { .. }
            | Self::NotOnUplink { .. }
            | Self::Netns(NetnsError::Open { .. })
            | Self::Link(LinkError::PortInUse { .. } | LinkError::Netns(NetnsError::Open { .. })) => true,
            _ => false,
        }
    }
}

/// Everything that went wrong in one go. What is not named here was done.
#[derive(Debug, thiserror::Error)]
pub struct ApplyErrors {
    /// Each error, in the order in which they came.
    pub errors: Vec<DataplaneError>,
}

impl ApplyErrors {
    /// `Ok` when there is none.
    pub(crate) fn check<T>(done: T, errors: Vec<DataplaneError>) -> Result<T, Self> {
        if errors.is_empty() { Ok(done) } else { Err(Self { errors }) }
    }
}

impl<E: Into<DataplaneError>> From<E> for ApplyErrors {
    fn from(error: E) -> Self {
        Self { errors: vec![error.into()] }
    }
}

impl fmt::Display for ApplyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}
