//! The scheduler alone, and the whole leader with as many agents as a cluster may have, on virtual time: what
//! they cost in processor time, messages and memory.

use std::time::Duration;

use mesh_core::object::TaskState;
use mesh_core::spec::ServiceSpec;
use mesh_core::store::Transaction;
use mesh_core::testing::{Placing, VirtualCluster, service_spec};

use nix::time::{ClockId, clock_gettime};

use crate::Failed;
use crate::table::Target::{AtLeast, AtMost};
use crate::table::{Row, median};

/// The scheduler's cluster.
const NODES: u32 = 5_000;
const TASKS: u32 = 200_000;
/// Tasks of each service there.
const REPLICAS: u32 = 200;
/// How often one more service is placed.
const ROUNDS: u32 = 20;

/// Nodes of the whole simulation, with as many tasks.
const AGENTS: u32 = 10_000;
/// Time in the simulation after which it is given up.
const PATIENCE: Duration = Duration::from_mins(10);

/// The scheduler alone: 5,000 nodes are filled with 200,000 tasks.
pub fn scheduler(rows: &mut Vec<Row>) -> Result<(), Failed> {
    let mut cluster = Placing::new(NODES);
    for number in 0..TASKS / REPLICAS {
        cluster.add(reserving(&format!("s{number}"), REPLICAS));
    }
    let (mut decided, mut committed) = (Duration::ZERO, Duration::ZERO);
    while place(&mut cluster, &mut decided, &mut committed) > 0 {}
    let placed = cluster.store.tasks().filter(|task| task.status.state == TaskState::Assigned).count();
    if placed != TASKS as usize {
        return Err(format!("{placed} tasks of {TASKS} were placed").into());
    }
    let note = format!("{:.0}/s with the store's part", rate(decided + committed));
    let row =
        Row::new("placements/s, 5,000 nodes, 200,000 tasks", "", rate(decided), "/s", AtLeast(50_000.0));
    rows.push(row.with(&note));
    let mut more = Vec::new();
    for number in 0..ROUNDS {
        cluster.add(reserving(&format!("more{number}"), 10));
        let (mut decided, mut committed) = (Duration::ZERO, Duration::ZERO);
        while place(&mut cluster, &mut decided, &mut committed) > 0 {}
        more.push(decided + committed);
    }
    let worst = more.iter().max().copied().unwrap_or_default();
    let row = Row::new("one more service of 10 there", "", millis(median(&more)), "ms", AtMost(10.0));
    rows.push(row.with(&format!("worst {:.2}", millis(worst))));
    Ok(())
}

/// Places one batch; how many transactions it took.
fn place(cluster: &mut Placing, decided: &mut Duration, committed: &mut Duration) -> usize {
    let begun = Processor::now();
    let batch: Vec<Transaction> = cluster.decide();
    *decided += begun.elapsed();
    let begun = Processor::now();
    cluster.commit(&batch);
    *committed += begun.elapsed();
    batch.len()
}

/// The leader with all its stages, and agents that take their tasks through the states by the clock.
pub fn simulation(rows: &mut Vec<Row>) -> Result<(), Failed> {
    let small = Simulated::new(AGENTS / 10, TASKS / 10)?.one_more()?;
    let idle = resident()?;
    let begun = Processor::now();
    let mut whole = Simulated::new(AGENTS, TASKS)?;
    let took = begun.elapsed().as_secs_f64();
    let virtual_time = format!("{:.1} s of their own time", whole.took.as_secs_f64());
    rows.push(
        Row::figure("10,000 agents, 200,000 tasks until all run", "95,000 tasks", took, "s")
            .with(&virtual_time),
    );
    let tasks = f64::from(TASKS);
    rows.push(Row::figure("messages to agents, each task", "", whole.messages / tasks, ""));
    rows.push(Row::figure("reports of agents, each task", "", whole.reports / tasks, ""));
    rows.push(Row::figure("log entries for all of it", "", whole.entries, ""));
    rows.push(Row::figure("memory of managers and agents together", "", resident()? - idle, "MiB"));
    let more = whole.one_more()?;
    rows.push(Row::new("one more service of 10 there", "", millis(more), "ms", AtMost(10.0)));
    let grows = more.as_secs_f64() / small.as_secs_f64();
    let note = format!("{:.2} ms there", millis(small));
    let row = Row::new("the same against 1,000 agents, 20,000 tasks", "", grows, "times", AtMost(2.0));
    rows.push(row.with(&note));
    Ok(())
}

/// A cluster on virtual time whose tasks all run, and what that took.
struct Simulated {
    cluster: VirtualCluster,
    took: Duration,
    messages: f64,
    reports: f64,
    entries: f64,
}

impl Simulated {
    fn new(agents: u32, tasks: u32) -> Result<Self, Failed> {
        let mut cluster = VirtualCluster::new(agents, 1);
        eprintln!("    {agents} agents are connected");
        let (sent, applied) = (cluster.sent, cluster.applied);
        let begun = cluster.now;
        for number in 0..tasks / REPLICAS {
            cluster.create_service(service_spec(&format!("s{number}"), REPLICAS))?;
        }
        while cluster.store.tasks().filter(|task| task.status.state == TaskState::Running).count()
            < tasks as usize
        {
            if cluster.now.since(begun) > PATIENCE {
                return Err(format!("not every task runs after {} s of its time", PATIENCE.as_secs()).into());
            }
            cluster.run_for(Duration::from_millis(100));
        }
        let took = cluster.now.since(begun);
        let messages = cluster.sent.increments - sent.increments + cluster.sent.full - sent.full;
        let reports = cluster.sent.reports - sent.reports;
        let entries = cluster.applied - applied;
        Ok(Self {
            took,
            messages: float(messages),
            reports: float(reports),
            entries: float(entries),
            cluster,
        })
    }

    /// The processor time until another service is placed and told to its nodes: the median of several.
    fn one_more(&mut self) -> Result<Duration, Failed> {
        let mut took = Vec::new();
        for number in 0..ROUNDS {
            let begun = Processor::now();
            let service = self.cluster.create_service(service_spec(&format!("more{number}"), 10))?;
            let placed = |cluster: &VirtualCluster| {
                cluster.store.service_tasks(service).filter(|task| task.node.is_some()).count() == 10
            };
            self.cluster.run_until(PATIENCE, placed).ok_or("one more service was not placed")?;
            took.push(begun.elapsed());
        }
        Ok(median(&took))
    }
}

#[allow(clippy::cast_precision_loss, reason = "millions")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The processor time of this thread at one moment: what the work costs, whatever else the machine does.
struct Processor(Duration);

impl Processor {
    fn now() -> Self {
        Self(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from))
    }

    fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// A service whose tasks reserve a little, so that every filter has something to do.
fn reserving(name: &str, replicas: u32) -> ServiceSpec {
    let mut spec = service_spec(name, replicas);
    spec.task.resources.reservations.memory_bytes = 64 << 20;
    spec.task.resources.reservations.nano_cpus = 10_000_000;
    spec.task.placement.constraints = vec!["node.role==worker".parse().expect("a constraint")];
    spec
}

fn rate(took: Duration) -> f64 {
    f64::from(TASKS) / took.as_secs_f64()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// This process's resident memory, in MiB.
fn resident() -> Result<f64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kibibytes.ok_or("no VmRSS in /proc")? / 1024.0)
}
