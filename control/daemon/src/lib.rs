//! The node daemon: the shells around the pure crates. What decides lives in `mesh-core` and `mesh-dataplane`;
//! what touches sockets, files, clocks and processes lives here.
//!
//! In the order in which a node comes up: [`args`] → [`config`] → [`start`] → [`daemon`] (life cycle) →
//! [`member`] (all that runs while the node is in a cluster) → [`office`] (its part as a manager) → [`manager`] (raft, [`leader`], endpoint in
//! [`rpc`]) and [`agent`] (session, tasks, views). [`api`] serves users.

pub mod acquaintance;
pub mod addresses;
pub mod agent;
pub mod amend;
pub mod api;
pub mod args;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod dataplane_command;
pub mod describe;
pub mod entropy;
pub mod error;
pub mod generic;
pub mod guiding;
pub mod joining;
pub mod keys;
pub mod leader;
pub mod manager;
pub mod member;
pub mod news;
pub mod office;
pub mod record;
pub mod renewing;
pub mod roles;
pub mod rotation;
pub mod rpc;
pub mod settling;
pub mod start;
pub mod state;
pub mod stop;
pub mod transport;
pub mod upstreams;
