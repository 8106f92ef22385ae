//! The pure half: what there should be, what there is, and the ordered operations between the two.
//!
//! Both sides are values of the same kind. [`Links`] holds devices and where programs are attached, [`Tables`]
//! the content of the maps. A change runs in three steps: [`prepare`] makes devices, still switched off;
//! [`tables`] then knows their numbers and changes the maps; [`finish`] attaches programs, switches devices on
//! and only then removes what nothing refers to any more. So a program never runs on a device that the maps do
//! not know, and the maps never name a device that is gone.

mod links;
mod service;
mod tables;
mod text;
mod wanted;

#[cfg(test)]
mod golden;

pub use links::{Attachment, EndpointLink, Hook, LinkOperation, Links, Overlay, finish, prepare};
pub use service::ServiceNumbers;
pub use tables::{FrontendKey, Key, NoRoom, Placed, TableOperation, Tables, Value, tables};
pub use wanted::{DesiredTables, Facts, Uplink};
