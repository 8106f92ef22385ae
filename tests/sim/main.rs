//! Whole clusters on virtual time, from one seed.
//!
//! Managers run the code of the daemon's raft thread ([`mesh_raft::replica`]) and the real leader of
//! [`mesh_core`], over disks that forget what was not synced; agents are small machines that run tasks in
//! memory. Between them lies a network that drops, delays, reorders, duplicates and partitions. After every
//! step the [`ledger`] looks whether anything happened that never may.
//!
//! `SEEDS=n` runs that many seeds, `SEED=k` runs one and prints what it saw.

mod agent;
mod client;
mod control;
mod disk;
mod fault;
mod ledger;
mod manager;
mod network;
mod plan;
mod planted;
mod report;
mod rest;
mod rng;
mod walk;
mod workers;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Violation;
use plan::Plan;
use report::{Failure, Report};
use world::World;

/// Seeds that are run when nothing else is asked for.
const SEEDS: u64 = 200;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs one plan; a panic of the code that is looked at is a violation like others.
fn run_plan(plan: Plan) -> Result<Report, Failure> {
    let world = || World::new(plan).run();
    let panicked = |_| Err(Failure { violation: Violation::Panic, trace: 0, events: 0 });
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(world)).unwrap_or_else(panicked)
}

fn run(seed: u64) -> Result<Report, Failure> {
    run_plan(Plan::from_seed(seed))
}

/// Runs `seeds` on every core and gives the first that failed, in their order.
fn first_failure(seeds: std::ops::Range<u64>) -> (Report, Option<(u64, Failure)>) {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
    let total = Mutex::new(Report::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().expect("no panic").is_some() {
                return;
            }
            match run(seed) {
                Ok(report) => total.lock().expect("no panic").add(&report),
                Err(failure) => {
                    let mut failed = failed.lock().expect("no panic");
                    if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                        *failed = Some((seed, failure));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    (total.into_inner().expect("no panic"), failed.into_inner().expect("no panic"))
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = from_environment("SEED") {
        match run(seed) {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
        return;
    }
    let count = from_environment("SEEDS").unwrap_or(SEEDS);
    let (total, failed) = first_failure(0..count);
    println!("{count} seeds: {total}");
    if let Some((seed, failure)) = failed {
        panic!("seed {seed}: {failure}\nagain with: make sim SEED={seed}");
    }
    total.assert_that_it_was_not_quiet(count);
}

#[test]
fn one_seed_is_one_history() {
    if from_environment("SEED").is_some() {
        return;
    }
    for seed in [3, 4] {
        let first = run(seed).expect("no violation");
        let second = run(seed).expect("no violation");
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_ne!(first.trace, run(seed + 2).expect("no violation").trace);
    }
}
