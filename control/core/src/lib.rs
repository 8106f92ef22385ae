//! The pure control plane: what the cluster wants, what it has, and what to do about it.
//!
//! Nothing here reads a clock, draws a random number, opens a file or a socket, or knows tokio: `now`,
//! identifiers and randomness are arguments, waits leave as `wake_at`. So a cluster of a thousand nodes
//! runs in a unit test, and the same inputs give the same outputs byte for byte.
//!
//! In the order in which data flows: [`spec`] → [`command`] (a user's request becomes a transaction) →
//! [`store`] (the replicated state machine) → [`leader`] (allocator, orchestrators, scheduler, dispatcher)
//! → [`assignment`] (what one node gets). Beside it stands [`roles`] (who takes part in raft).

mod allocate;
pub mod assignment;
pub mod command;
pub mod constraint;
pub mod content;
mod dispatch;
pub mod id;
pub mod image;
pub mod label;
pub mod leader;
pub mod name;
pub mod object;
mod orchestrate;
pub mod port;
pub mod roles;
mod schedule;
pub mod secret;
pub mod spec;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
