//! A cluster on this machine alone: for each node a network, UTS and mount namespace with a real `meshd` in
//! it, a fabric that joins them, a client outside the mesh, and the faults that people and tests try on them.
//!
//! What a lab consists of follows from its name and its options ([`layout`]); what is running is in its
//! [`state`] file. Everything else here makes, enters, breaks or removes it.

mod cgroup;
pub mod cli;
mod cluster;
mod daemon;
mod down;
mod error;
mod exec;
mod fabric;
mod fault;
mod filter;
pub mod layout;
pub mod space;
pub mod state;
mod up;

pub use error::LabError;

/// Where the lab's words go. The command line implements it, so that one module writes to the terminal.
pub trait Terminal {
    /// One step of something that takes a while (standard error).
    fn progress(&mut self, line: &str);
    /// A result (standard output).
    fn print(&mut self, text: &str);
    /// A table (standard output).
    fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>);
}
