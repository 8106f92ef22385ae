//! The dataplane in real namespaces, with real packets. Needs root.

mod links;
mod ownership;
mod paths;
mod takeover;
mod traffic;
mod world;
