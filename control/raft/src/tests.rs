//! Tests over several modules.

mod disk;
mod group;
mod kill;
mod members;
mod moves;
mod sealed;
mod shell;
