//! A node's network: what it should be ([`desired::DesiredState`]), what has to be done to get there (a pure
//! plan), and the one applier that does it through netlink and BPF.
//!
//! This crate has never heard of Raft, of services' specs or of Docker. A runtime hands it "a network
//! namespace"; it makes the veth, the addresses, the routes and the BPF programs on it.
//!
//! What lives in the kernel outlives the process: devices, pinned maps and pinned links work on while no
//! daemon runs, and the next one takes them over.

mod apply;
pub mod check;
mod dataplane;
pub mod desired;
mod error;
mod flow;
mod host;
mod kernel;
mod mtu;
mod name;
pub mod netlink;
pub mod netns;
mod node;
pub mod object;
mod plan;
mod ports;
mod slices;
pub mod sysctl;
pub mod tcx;
mod view;

pub use apply::links::LinkError;
pub use apply::pins::{FlowCapacity, TableError};
pub use apply::programs::LoadError;
pub use dataplane::{Config, Dataplane, read_state};
pub use error::{ApplyErrors, DataplaneError};
pub use flow::{FlowEvent, FlowKind, FlowPath, FlowRecord, FlowState, LiveFlow};
pub use host::{HostError, check_kernel};
pub use mtu::overlay_mtu;
pub use plan::NoRoom;
pub use view::{BackendView, Counters, Report, Traffic, VipView};
