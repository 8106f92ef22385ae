//! The handlers against a double of the daemon with a real store: what clients send, what they get, and that
//! a refusal leaves the store as it was.

mod contents;
mod double;
mod engine;
mod events;
mod lines;
mod refusals;
mod services;
mod stream;
mod swarm;
