//! Whole clusters on this machine: real meshd, real namespaces, real packets. Each test brings up a lab of its
//! own and takes it down; all need root.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get fails the test")]

mod at_rest;
mod bad_input;
mod call;
mod contents;
mod crash;
mod demo;
mod explain;
mod failover;
mod harness;
mod headless;
mod health;
mod ingress;
mod isolation;
mod long;
mod names;
mod operate;
mod path;
mod ports;
mod recovery;
mod restart;
mod seeds;
mod services;
mod sessions;
mod traffic;
mod updates;
mod verbs;
mod vip;
mod walk;
mod writing;
