//! What the eBPF programs and the daemon agree on: names of maps and programs, keys and values with a fixed
//! layout, byte order as a type, drop reasons, and the arithmetic that both sides do.
//!
//! Everything here is ABI of the pinned maps: fields are not moved or given another meaning within one
//! [`SCHEMA_VERSION`], numbers are never given out twice. This crate knows no kernel interface but the types;
//! with the feature `user` the types implement `aya::Pod`.
#![cfg_attr(not(test), no_std)]
// The layout macro implements `aya::Pod`, an unsafe trait, beside the assertion that makes it sound.
#![allow(unsafe_code)]
// A call that is not inlined costs the programs stack and verifier time.
#![allow(clippy::inline_always)]

#[macro_use]
mod layout;

pub mod checksum;
pub mod conntrack;
pub mod counter;
pub mod drop;
pub mod map;
pub mod net;
pub mod order;
pub mod program;
pub mod record;
pub mod tunnel;

pub use order::{Be16, Be32};

/// Version of every layout and contract in this crate; part of the path that maps are pinned under. A program
/// of one version never opens a map of another.
pub const SCHEMA_VERSION: u32 = 2;
