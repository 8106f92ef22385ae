//! What the programs tell of flows.

use crate::conntrack::Tuple;
use crate::order::Be32;

shared! {
    /// A flow was made, or closed ([`crate::map::FLOW_RECORDS`]).
    pub struct FlowRecord: 56 {
        /// `CLOCK_MONOTONIC` nanoseconds.
        pub at: u64,
        /// As the opener sends.
        pub original: Tuple,
        /// As the backend receives.
        pub translated: Tuple,
        /// Network of the opener; [`crate::tunnel::INGRESS_VNI`] for a client of a published port.
        pub vni: u32,
        /// Endpoint id of the backend.
        pub backend: u32,
        /// [`crate::net::Frontend::service`]; 0 without a frontend.
        pub service: u32,
        /// Published ports: tunnel address of the node that received the request. Otherwise 0.
        pub node: Be32,
        /// IP protocol.
        pub protocol: u8,
        /// An [`Event`] as number.
        pub event: u8,
        /// A [`crate::conntrack::Kind`] as number.
        pub kind: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

/// What happened to a flow.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its first packet came and a backend was chosen.
    New = 1,
    /// TCP: reset or finished from both sides. Idle flows are closed by userspace without a record.
    Closed = 2,
}
