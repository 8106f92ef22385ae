//! Names inside the mesh: the DNS server that tasks ask, and the tables it answers from.
//!
//! The server is a process of its own that outlives the daemon. It is fed whole [`table::Table`]s over a
//! unix socket and swaps them without a lock; it knows nothing of services or tasks but names.

mod answer;
pub mod client;
mod descriptors;
mod forward;
pub mod frame;
pub mod index;
pub mod key;
mod lifecycle;
mod limiter;
mod message;
pub mod server;
mod state;
pub mod stats;
pub mod table;
