//! The dataplane in real namespaces, with real packets. Needs root.
// Clippy knows test functions, not the helpers of a test.
#![allow(clippy::unwrap_used)]

mod edges;
mod links;
mod ownership;
mod paths;
mod takeover;
mod traffic;
mod world;
