//! Takes out flows that are idle for longer than their protocol and state allow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::Pod;
use aya::maps::{HashMap, MapData, MapError};
use mesh_abi::conntrack::{Affinity, Flow, FlowKey, idle_limit};
use mesh_abi::map;

use super::live::walk;
use super::monotonic_now;
use crate::apply::maps::is_missing;
use crate::apply::pins::{Pins, TableError};

/// Pause between two passes over the tables.
const PAUSE: Duration = Duration::from_secs(5);

/// Entries that are taken out in one go.
const AT_ONCE: usize = 16_384;

/// The thread that ages flows; it ends when this value is dropped.
#[derive(Debug)]
pub struct Collector {
    stop: Arc<AtomicBool>,
    collected: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts the thread.
    pub fn start(pins: &Pins) -> Result<Self, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let collected = Arc::new(AtomicU64::new(0));
        let mut tables = FlowTables::open(pins)?;
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&collected));
        let thread = thread::Builder::new().name("flow-gc".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match tables.pass(monotonic_now()) {
                    Ok(gone) => {
                        count.fetch_add(gone, Ordering::Relaxed);
                    }
                    Err(error) => tracing::warn!(%error, "flows were not aged"),
                }
                thread::park_timeout(PAUSE);
            }
        })?;
        Ok(Self { stop, collected, thread: Some(thread) })
    }

    /// Entries taken out so far.
    pub fn collected(&self) -> u64 {
        self.collected.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that ages flows has panicked");
            }
        }
    }
}

/// Why the thread does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tables.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

struct FlowTables {
    established: HashMap<MapData, FlowKey, Flow>,
    opening: HashMap<MapData, FlowKey, Flow>,
    affinity: HashMap<MapData, FlowKey, Affinity>,
}

impl FlowTables {
    fn open(pins: &Pins) -> Result<Self, TableError> {
        Ok(Self {
            established: pins.hash(map::FLOWS)?,
            opening: pins.hash(map::FLOWS_OPENING)?,
            affinity: pins.hash(map::AFFINITY)?,
        })
    }

    /// Takes out every flow that is over; gives the number of entries.
    fn pass(&mut self, now: u64) -> Result<u64, TableError> {
        let mut gone = 0;
        for (name, table) in [(map::FLOWS, &mut self.established), (map::FLOWS_OPENING, &mut self.opening)] {
            gone += in_batches(
                name,
                table,
                |key, flow| is_over(key, flow, now),
                |table, key, flow| take_out_pair(name, table, key, flow, now),
            )?;
        }
        let over = |key: &FlowKey, flow: &Affinity| {
            now.saturating_sub(flow.seen) > idle_limit(key.protocol, flow.state, flow.fins)
        };
        let name = map::AFFINITY;
        Ok(gone + in_batches(name, &mut self.affinity, over, |table, key, _| take_out(name, table, key))?)
    }
}

fn is_over(key: &FlowKey, flow: &Flow, now: u64) -> bool {
    now.saturating_sub(flow.seen) > idle_limit(key.protocol, flow.state, flow.fins)
}

/// Finds entries and takes them out, a bounded number at a time. Entries that are found and stay, because their
/// other direction is in use, end the work too: the next pass sees them again.
fn in_batches<V: Pod>(
    name: &'static str,
    table: &mut HashMap<MapData, FlowKey, V>,
    is_over: impl Fn(&FlowKey, &V) -> bool,
    take_out: impl Fn(&mut HashMap<MapData, FlowKey, V>, &FlowKey, &V) -> Result<u64, TableError>,
) -> Result<u64, TableError> {
    let mut total = 0;
    loop {
        let mut found = Vec::new();
        walk(table, |key, value| {
            if is_over(&key, &value) {
                found.push((key, value));
            }
            found.len() < AT_ONCE
        })
        .map_err(|error| TableError::new("read", name)(MapError::IoError(error)))?;
        let mut gone = 0;
        for (key, value) in &found {
            gone += take_out(table, key, value)?;
        }
        total += gone;
        if found.len() < AT_ONCE || gone == 0 {
            return Ok(total);
        }
    }
}

/// Takes out both directions of a flow, unless a packet has come in the meantime or the other one is in use.
fn take_out_pair(
    name: &'static str,
    table: &mut HashMap<MapData, FlowKey, Flow>,
    key: &FlowKey,
    flow: &Flow,
    now: u64,
) -> Result<u64, TableError> {
    let partner = flow.partner(key.protocol);
    let in_use = |key: &FlowKey| table.get(key, 0).is_ok_and(|flow| !is_over(key, &flow, now));
    if in_use(key) || in_use(&partner) {
        return Ok(0);
    }
    Ok(take_out(name, table, &partner)? + take_out(name, table, key)?)
}

fn take_out<V: Pod>(
    name: &'static str,
    table: &mut HashMap<MapData, FlowKey, V>,
    key: &FlowKey,
) -> Result<u64, TableError> {
    match table.remove(key) {
        Ok(()) => Ok(1),
        Err(error) if is_missing(&error) => Ok(0),
        Err(error) => Err(TableError::new("write", name)(error)),
    }
}
