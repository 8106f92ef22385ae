//! Tests over several modules.

mod disk;
mod group;
mod kill;
mod shell;
