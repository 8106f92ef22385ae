//! The dataplane of one node as the daemon, the command line and the tests use it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, watch};
use tokio::task::JoinHandle;

use crate::apply::links::{Devices, dns_netns};
use crate::apply::maps::Maps;
use crate::apply::pins::{FlowCapacity, Pins};
use crate::apply::programs::Programs;
use crate::desired::DesiredState;
use crate::error::{ApplyErrors, DataplaneError};
use crate::flow::{self, Collector, FlowRecord, LiveFlow};
use crate::host::{self, HostError};
use crate::netlink::{NetEvent, NetEvents};
use crate::netns::Netns;
use crate::node::{Applied, Node};
use crate::view::{self, Counters, Report, VipView};

/// Flow records kept for a listener that is slow; older ones it loses.
const RECORDS_KEPT: usize = 4096;

/// How a dataplane is opened.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the node's runtime things, `/run/mesh` by default: BPF file system, namespaces.
    pub run_dir: PathBuf,
    /// The node's network namespace; `None` is the one of the process.
    pub netns: Option<PathBuf>,
    /// Sizes of the tables of flows; `None` takes them from the machine's memory.
    pub flow_capacity: Option<FlowCapacity>,
    /// How often everything is looked at anew; `None` is never.
    pub resync_every: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            run_dir: PathBuf::from("/run/mesh"),
            netns: None,
            flow_capacity: None,
            resync_every: Some(Duration::from_secs(30)),
        }
    }
}

/// The dataplane of one node. Dropping it stops what runs for it in this process; devices, programs, maps and
/// flows stay, and work on, until [`Dataplane::leave`].
pub struct Dataplane {
    node: Arc<Mutex<Node>>,
    pins: Pins,
    run_dir: PathBuf,
    applied: watch::Receiver<Applied>,
    healed: Arc<AtomicU64>,
    records: broadcast::Sender<FlowRecord>,
    collector: Collector,
    tasks: Vec<JoinHandle<()>>,
}

impl Dataplane {
    /// Opens the dataplane: takes over what an earlier daemon left, switching every pinned program to this
    /// one's, or starts clean. Devices and maps are looked at by the first [`Dataplane::apply`].
    pub async fn open(config: Config) -> Result<Self, DataplaneError> {
        host::check_kernel()?;
        let netns = match &config.netns {
            Some(path) => Netns::open(path)?,
            None => Netns::current()?,
        };
        let run_dir = config.run_dir.clone();
        std::fs::create_dir_all(&run_dir).map_err(HostError::file("make", &run_dir))?;
        let pins = Pins::new(&run_dir);
        pins.prepare()?;
        for map in pins.remove_strangers()? {
            tracing::warn!(map, "a pinned map was not the dataplane's and has been replaced");
        }
        let capacity = config.flow_capacity.unwrap_or_else(|| FlowCapacity::of_memory(host::memory()));
        let mut programs = load(pins.clone(), netns.clone(), capacity).await?;
        let maps = Maps::open(&pins)?;
        let (attached, errors) = programs.take_over(pins.attachments()?);
        for error in errors {
            tracing::warn!(%error, "a program of an earlier daemon could not be taken over");
        }

        let (applied, applied_seen) = watch::channel(Applied::default());
        let healed = Arc::new(AtomicU64::new(0));
        let node = Arc::new(Mutex::new(Node {
            devices: Devices::open(&netns, &run_dir)?,
            netns: netns.clone(),
            run_dir: run_dir.clone(),
            pins: pins.clone(),
            programs,
            maps,
            applied,
            attached,
            links: None,
            tables: None,
            facts: None,
            healed: Arc::clone(&healed),
        }));
        let (records, _) = broadcast::channel(RECORDS_KEPT);
        let tasks = start_tasks(&config, &netns, &pins, &node, &applied_seen, &records)?;
        let collector = Collector::start(&pins)
            .map_err(|error| background("the ageing of flows", io::Error::other(error)))?;
        Ok(Self { node, pins, run_dir, applied: applied_seen, healed, records, collector, tasks })
    }

    /// Makes the node's network as `state` says: only what differs is touched, and the same state again is
    /// nothing to do. Errors of single endpoints do not keep the rest from being done.
    pub async fn apply(&self, state: DesiredState) -> Result<Report, ApplyErrors> {
        self.node.lock().await.apply(state).await
    }

    /// Looks at every device, link and map entry anew and puts right what is not as last applied; what had to
    /// be put right is counted.
    pub async fn resync(&self) -> Result<Report, ApplyErrors> {
        self.node.lock().await.resync().await
    }

    /// Virtual addresses and published ports as last applied, with their backends.
    pub fn vips(&self) -> Vec<VipView> {
        self.applied.borrow().state.as_deref().map(view::vips).unwrap_or_default()
    }

    /// Flows as they are made and closed, from now on.
    pub fn flows(&self) -> broadcast::Receiver<FlowRecord> {
        self.records.subscribe()
    }

    /// At most `limit` flows that are remembered now. Reads the maps in the calling thread, a thousand entries
    /// for each system call.
    pub fn flows_now(&self, limit: usize) -> Result<Vec<LiveFlow>, DataplaneError> {
        let services = Arc::clone(&self.applied.borrow().services);
        Ok(flow::live_flows(&self.pins, &services, flow::monotonic_now(), limit)?)
    }

    /// Counters of the programs, summed over the CPUs, and of this daemon.
    pub async fn counters(&self) -> Result<Counters, DataplaneError> {
        let pins = self.pins.clone();
        let counted = tokio::task::spawn_blocking(move || view::read_counters(&pins)).await;
        let counted =
            counted.map_err(|error| background("the reading of counters", io::Error::other(error)))??;
        let healed = self.healed.load(Ordering::Relaxed);
        Ok(Counters { healed, flows_expired: self.collector.collected(), ..counted })
    }

    /// Namespace that the DNS server belongs in; it exists once a state was applied. The server listens there
    /// on [`crate::desired::DNS_SERVER`].
    pub fn dns_netns(&self) -> PathBuf {
        dns_netns(&self.run_dir)
    }

    /// Removes everything that the dataplane owns on this node: programs, maps, devices, the DNS namespace,
    /// reserved ports. Goes on after errors and tells all of them.
    pub async fn leave(self) -> Result<(), ApplyErrors> {
        for task in &self.tasks {
            task.abort();
        }
        let errors = self.node.lock().await.leave().await;
        ApplyErrors::check((), errors)
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Reads a desired state from a file, for those who have no agent that makes one.
pub fn read_state(path: &Path) -> Result<DesiredState, crate::check::FileError> {
    crate::check::read_file(path)
}

async fn load(pins: Pins, netns: Netns, capacity: FlowCapacity) -> Result<Programs, DataplaneError> {
    let loaded = tokio::task::spawn_blocking(move || Programs::load(&pins, &netns, capacity)).await;
    loaded
        .map_err(|error| background("the loading of BPF programs", io::Error::other(error)))?
        .map_err(Into::into)
}

fn start_tasks(
    config: &Config,
    netns: &Netns,
    pins: &Pins,
    node: &Arc<Mutex<Node>>,
    applied: &watch::Receiver<Applied>,
    records: &broadcast::Sender<FlowRecord>,
) -> Result<Vec<JoinHandle<()>>, DataplaneError> {
    let ring = pins.ring(mesh_abi::map::FLOW_RECORDS)?;
    let reader = flow::spawn_reader(ring, applied.clone(), records.clone())
        .map_err(|source| background("the reader of flow records", source))?;
    let watcher = tokio::spawn(watch_uplinks(NetEvents::open(netns)?, Arc::downgrade(node)));
    let resync = config.resync_every.map(|period| tokio::spawn(resync_every(period, Arc::downgrade(node))));
    Ok([reader, watcher].into_iter().chain(resync).collect())
}

/// Published ports answer on the addresses of the uplinks, so a change there is followed at once.
async fn watch_uplinks(mut events: NetEvents, node: Weak<Mutex<Node>>) {
    while let Some(event) = events.next().await {
        let Some(node) = node.upgrade() else { return };
        let mut node = node.lock().await;
        if node.concerns_uplinks(&event)
            && let Err(error) = node.uplinks_changed().await
        {
            tracing::warn!(%error, "a change of an uplink could not be followed");
        }
    }
}

async fn resync_every(period: Duration, node: Weak<Mutex<Node>>) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else { return };
        match node.lock().await.resync().await {
            Ok(report) if report.healed > 0 => {
                tracing::warn!(healed = report.healed, steps = ?report, "put right what somebody has changed");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the resynchronisation is not complete"),
        }
    }
}

fn background(what: &'static str, source: io::Error) -> DataplaneError {
    DataplaneError::Background { what, source }
}

impl Node {
    fn concerns_uplinks(&self, event: &NetEvent) -> bool {
        let Some(state) = self.applied.borrow().state.clone() else { return false };
        let uplinks = &state.node.uplinks;
        match event {
            NetEvent::Link(name) | NetEvent::LinkGone(name) => uplinks.contains(name),
            NetEvent::Addresses(index) => self
                .facts
                .as_ref()
                .is_none_or(|facts| facts.uplinks.values().any(|uplink| uplink.ifindex == *index)),
        }
    }
}
