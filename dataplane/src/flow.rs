//! Flows as people see them: records of the ring buffer, and what the programs remember now.

mod gc;
mod live;
mod record;

use std::net::{Ipv4Addr, SocketAddrV4};

use mesh_abi::conntrack::{Kind, State, TCP, Tuple, UDP};
use serde::Serialize;

use crate::desired::{EndpointId, Protocol, Vni};

pub(crate) use gc::Collector;
pub(crate) use live::live_flows;
pub(crate) use record::spawn_reader;

/// What made a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// A task, to a virtual address.
    Vip,
    /// A task, straight to another's address.
    Direct,
    /// A client, to a published port.
    Published,
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowEvent {
    /// Its first packet came and a backend was chosen.
    New,
    /// TCP: reset, or finished from both sides.
    Closed,
}

/// Where a flow is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// No answer yet.
    Opening,
    /// Answered; the opener has not followed up.
    Replied,
    /// Both sides take part.
    Established,
    /// TCP: reset, or FIN from both sides.
    Closing,
}

/// Who talks to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowPath {
    /// Transport protocol.
    pub protocol: Protocol,
    /// What made it.
    pub kind: FlowKind,
    /// Network of the opener; none for a client from outside.
    pub network: Option<Vni>,
    /// Who opened it.
    pub client: SocketAddrV4,
    /// Address that the opener sends to.
    pub frontend: SocketAddrV4,
    /// Address that the backend receives on.
    pub backend: SocketAddrV4,
    /// The backend.
    pub endpoint: EndpointId,
    /// The service, as far as it is known still.
    pub service: Option<String>,
    /// Node that received the request for a published port.
    pub ingress_node: Option<Ipv4Addr>,
}

/// Something happened to a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowRecord {
    /// When, in nanoseconds since the machine started (`CLOCK_MONOTONIC`).
    pub at: u64,
    /// What.
    pub event: FlowEvent,
    /// Who with whom.
    #[serde(flatten)]
    pub path: FlowPath,
}

/// A flow that is remembered now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveFlow {
    /// Who with whom.
    #[serde(flatten)]
    pub path: FlowPath,
    /// Where it is in its life.
    pub state: FlowState,
    /// Nanoseconds since it was made.
    pub age: u64,
    /// Nanoseconds since a packet came from the opener, to the second.
    pub idle: u64,
}

/// `CLOCK_MONOTONIC` in nanoseconds, as the programs read it.
pub(crate) fn monotonic_now() -> u64 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let now = clock.now().map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn source(tuple: &Tuple) -> SocketAddrV4 {
    SocketAddrV4::new(tuple.src.into(), tuple.sport.get())
}

fn destination(tuple: &Tuple) -> SocketAddrV4 {
    SocketAddrV4::new(tuple.dst.into(), tuple.dport.get())
}

fn protocol(number: u8) -> Option<Protocol> {
    match number {
        TCP => Some(Protocol::Tcp),
        UDP => Some(Protocol::Udp),
        _ => None,
    }
}

fn kind(number: u8) -> Option<FlowKind> {
    [(Kind::Vip, FlowKind::Vip), (Kind::Direct, FlowKind::Direct), (Kind::Published, FlowKind::Published)]
        .into_iter()
        .find_map(|(raw, kind)| (raw as u8 == number).then_some(kind))
}

fn state(number: u8) -> Option<FlowState> {
    [
        (State::Opening, FlowState::Opening),
        (State::Replied, FlowState::Replied),
        (State::Established, FlowState::Established),
        (State::Closing, FlowState::Closing),
    ]
    .into_iter()
    .find_map(|(raw, state)| (raw as u8 == number).then_some(state))
}

fn network(vni: Vni) -> Option<Vni> {
    (vni != mesh_abi::tunnel::INGRESS_VNI).then_some(vni)
}

fn node(address: mesh_abi::Be32) -> Option<Ipv4Addr> {
    (address != mesh_abi::Be32::ZERO).then(|| address.into())
}
