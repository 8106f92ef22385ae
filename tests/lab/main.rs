//! Whole clusters on this machine: real meshd, real namespaces, real packets. Each test brings up a lab of its
//! own and takes it down; all need root.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get fails the test")]

mod bad_input;
mod crash;
mod demo;
mod harness;
mod ingress;
mod isolation;
mod names;
mod path;
mod ports;
mod restart;
mod traffic;
mod vip;
