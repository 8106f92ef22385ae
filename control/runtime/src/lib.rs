//! Runtimes: each ends in "a network namespace and a task in it". The dataplane does the rest, so it is one
//! for all of them.

pub mod task;
