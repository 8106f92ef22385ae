//! One file a verb.

pub mod completion;
pub mod content;
mod count;
pub mod events;
pub mod flow;
pub mod info;
mod inspect;
pub mod network;
pub mod node;
pub mod service;
pub mod swarm;
mod tasks;
mod unsupported;
pub mod version;
pub mod vip;
