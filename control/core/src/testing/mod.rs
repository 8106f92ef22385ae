//! A virtual cluster on virtual time, for tests: the real store, commands and leader, with agents that take
//! their tasks through the states by the clock. One seed, one run.

mod agent;
mod cluster;
mod placing;
mod spec;

pub use agent::{Behaviour, FakeAgent};
pub use cluster::{Sent, VirtualCluster};
pub use placing::Placing;
pub use spec::{init_request, join_request, network_spec, service_spec};

use crate::id::Entropy;

/// A generator that a seed determines (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Seeded(pub u64);

/// How often a property is tried: as often as `PROPTEST_CASES` says, else `usual` times. What fails is told by
/// its seed, not written beside the sources.
#[cfg(test)]
pub(crate) fn cases(usual: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(usual);
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

/// Time that this thread has had a processor (`/proc/PID/schedstat`, first field): what a bound on work is
/// measured in, whatever else the machine does.
#[cfg(test)]
pub(crate) fn processor_time() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel with schedstat");
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    std::time::Duration::from_nanos(nanos.expect("nanoseconds"))
}

impl Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for Seeded {
    fn next_u128(&mut self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }
}
