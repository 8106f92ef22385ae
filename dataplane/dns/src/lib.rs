//! Names inside the mesh: the DNS server that tasks ask, and the tables it answers from.
//!
//! The server is a process of its own that outlives the daemon. It is fed whole [`table::Table`]s over a
//! unix socket and swaps them without a lock; it knows nothing of services or tasks but names.

pub mod table;
