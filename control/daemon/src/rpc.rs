//! How nodes talk: one TLS endpoint on each manager, gRPC over it. The messages are `proto/mesh.proto`;
//! values of the core travel in versioned envelopes.

pub mod authorize;
pub mod certificates;
pub mod client;
pub mod dispatcher;
pub mod envelope;
pub mod forward;
pub mod guide;
pub mod join;
pub mod listener;
pub mod managers;
pub mod raft;

use tonic::Status;

use crate::amend::Unmade;

/// The generated messages, clients and servers.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("mesh.v1");

    /// The protocol, as a serialized `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mesh.v1.descriptors"));
}

/// The largest message that is read, in bytes; an assignment of 10,000 endpoints is about 2 MB.
pub const MESSAGE_MAX: usize = 32 << 20;

/// The largest request of a machine that has not shown a certificate.
pub const JOIN_MESSAGE_MAX: usize = 64 << 10;

/// Port that managers listen on for nodes.
pub const MANAGEMENT_PORT: u16 = 2377;

/// How a change that was not made is told to the node that asked for it.
fn unmade(unmade: Unmade<Status>) -> Status {
    match unmade {
        Unmade::Refused(status) => status,
        Unmade::Moved(_) => Status::unavailable("the store changes too fast"),
        Unmade::Propose(error) => Status::unavailable(error.to_string()),
    }
}
