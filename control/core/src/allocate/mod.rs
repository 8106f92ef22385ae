//! Who gets which subnet, address, number and port. Pure functions of one state of the store; the store's
//! own checks make sure that nothing is given twice when two of them ran from the same state.

mod address;
mod port;
mod stage;
mod subnet;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use address::{next_address, vips};
pub(crate) use port::published_ports;
pub(crate) use stage::Allocator;
pub(crate) use subnet::{choose_subnet, next_vni, overlap};
use task::{NoAddress, task_endpoints, task_networks};
