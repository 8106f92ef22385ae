//! The one applier: reads what there is and does the operations of a plan, through netlink and BPF.

pub mod links;
pub mod maps;
pub mod pins;
pub mod programs;
