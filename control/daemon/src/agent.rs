//! A node's agent: what the managers assigned becomes tasks, networks and names, and what becomes of the
//! tasks is told to the managers.
//!
//! [`task`], [`health`], [`view`] and [`facts`] decide and are pure; [`worker`] is the loop around them; [`session`] talks
//! to a manager; [`network`] and the runtime behind [`seam`] do.

mod entry;
pub mod facts;
mod following;
pub mod health;
pub mod launch;
mod leaving;
pub mod network;
pub mod outbox;
pub mod placing;
mod probing;
mod pulse;
mod roster;
#[cfg(test)]
pub(crate) mod samples;
pub mod saved;
pub mod seam;
pub mod session;
pub mod task;
mod versions;
pub mod view;
pub mod ways;
pub mod worker;
