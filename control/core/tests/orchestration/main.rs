//! Orchestration as a whole on virtual time: services, updates, rollbacks, drains and failures in a
//! [`mesh_core::testing::VirtualCluster`], looked at after every event.
//!
//! [`scenario`] walks at random, a seed a walk (`SEEDS=n` walks, `SEED=k` walks one again and prints it);
//! [`sweep`] goes through every combination of an update's settings and what befalls it. What may never happen
//! is in [`rules`].

// Clippy knows test functions only; this whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

mod images;
mod rules;
mod scenario;
mod sweep;

/// Random scenarios in a run.
const SEEDS: u64 = 1_000;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_scenarios_keep_every_rule() {
    if let Some(seed) = from_environment("SEED") {
        scenario::run(seed, true);
        return;
    }
    let seeds = from_environment("SEEDS").unwrap_or(SEEDS);
    let broken = broken(seeds, |seed| scenario::run(seed, false));
    assert!(broken.is_empty(), "{}again with SEED=k: {broken:#?}", count(&broken, seeds));
}

/// What `work` broke, in order, for the numbers below `count`; all cores work.
fn broken(count: u64, work: impl Fn(u64) + Sync) -> BTreeMap<u64, String> {
    let (next, broken) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let try_one = |number| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(number))).err()?;
        let text = panic.downcast_ref::<String>().cloned();
        Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    };
    let worker = || {
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
            if let Some(text) = try_one(number) {
                broken.lock().expect("no poison").insert(number, text);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(worker))));
    broken.into_inner().expect("no poison")
}

fn count(broken: &BTreeMap<u64, String>, of: u64) -> String {
    format!("{} of {of} broke a rule; ", broken.len())
}
