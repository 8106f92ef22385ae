//! Tests over several modules.

mod disk;
mod flips;
mod group;
mod kill;
mod members;
mod moves;
mod sealed;
mod shell;
mod speed;
mod torn;
mod way_back;
