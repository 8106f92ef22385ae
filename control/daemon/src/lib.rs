//! The node daemon: the shells around the pure crates. What decides lives in `mesh-core` and `mesh-dataplane`;
//! what touches sockets, files, clocks and processes lives here.
//!
//! In the order in which a node comes up: [`args`] → [`config`] → [`start`] → [`daemon`] (life cycle) →
//! `manager` (raft, leader, management endpoint) and `agent` (session, tasks, views). `api` serves users:
//! `api::serve(daemon, listener, shutdown)` is called by [`start`] with the bound unix socket.

pub mod daemon;
pub mod error;
