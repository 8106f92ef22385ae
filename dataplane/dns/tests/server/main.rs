//! The DNS server as a process, asked over loopback sockets: whole answers, forwarding, and its life.

// The lint spares functions marked as tests, and not what they call.
#![allow(clippy::unwrap_used)]
// An upstream's behaviour may be to answer nothing; most of them never do.
#![allow(clippy::unnecessary_wraps)]

mod answers;
mod forwarding;
mod namespace;
mod process;
mod support;
