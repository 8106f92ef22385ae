//! A node's network: what it should be ([`desired::DesiredState`]), what has to be done to get there (a pure
//! plan), and the one applier that does it through netlink and BPF.
//!
//! This crate has never heard of Raft, of services' specs or of Docker. A runtime hands it "a network
//! namespace"; it makes the veth, the addresses, the routes and the BPF programs on it.

pub mod desired;
pub mod netlink;
pub mod netns;
pub mod object;
pub mod sysctl;
pub mod tcx;
