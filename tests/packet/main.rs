//! The eBPF programs, packet in and packet out: the object that the daemon loads, its maps filled by hand,
//! each program run by `BPF_PROG_TEST_RUN`. Needs root.
//!
//! A fixture sends a packet and tells what must come of it: where it goes, every byte of it, which counters
//! and drop reasons move, and what is remembered. `MESH_EBPF_OBJECT` names another object to test, which
//! `mutants` uses to show that planted mistakes are found.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "what helps tests fails as they do, and is written to be read at the place of use"
)]

mod outcome;
mod packet;
mod run;
mod world;

mod aliens;
mod collisions;
mod dns;
mod errors;
mod fabric;
mod fragments;
mod load;
mod mutants;
mod network;
mod published;
mod reopening;
mod sums;
mod tunnelled;
mod vip;
