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
    let idle = resident()?;
    let begun = Processor::now();
    let mut cluster = VirtualCluster::new(AGENTS, 1);
    eprintln!("    {AGENTS} agents connected after {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Processor::now();
    let before = (cluster.applied, cluster.sent);
    for number in 0..TASKS / REPLICAS {
        cluster.create_service(service_spec(&format!("s{number}"), REPLICAS))?;
    }
    let runs = |cluster: &VirtualCluster| {
        cluster.store.tasks().filter(|task| task.status.state == TaskState::Running).count() == TASKS as usize
    };
    let mut virtual_time = Duration::ZERO;
    while !runs(&cluster) {
        if virtual_time > PATIENCE {
            return Err(format!("not every task runs after {} s of its time", PATIENCE.as_secs()).into());
        }
        cluster.run_for(Duration::from_millis(100));
        virtual_time += Duration::from_millis(100);
    }
    let took = begun.elapsed();
    let converged = format!("{:.1} s of its own time", virtual_time.as_secs_f64());
    let row =
        Row::new("10,000 agents, 200,000 tasks: until all run", "", took.as_secs_f64(), "s", AtMost(120.0));
    rows.push(row.with(&converged));
    let tasks = f64::from(TASKS);
    #[allow(clippy::cast_precision_loss, reason = "millions")]
    let messages = (cluster.sent.increments - before.1.increments + cluster.sent.full - before.1.full) as f64;
    rows.push(Row::new("messages to agents a task", "", messages / tasks, "", AtMost(3.0)));
    #[allow(clippy::cast_precision_loss, reason = "millions")]
    let entries = (cluster.applied - before.0) as f64;
    rows.push(Row::new("log entries for all of it", "", entries, "", AtMost(20_000.0)));
    rows.push(Row::new("memory of it all", "", resident()? - idle, "MiB", AtMost(2_000.0)));
    let mut more = Vec::new();
    for number in 0..ROUNDS {
        let begun = Processor::now();
        let service = cluster.create_service(service_spec(&format!("more{number}"), 10))?;
        let all = cluster.run_until(PATIENCE, |cluster| {
            cluster.store.service_tasks(service).filter(|task| task.node.is_some()).count() == 10
        });
        all.ok_or("one more service was not placed")?;
        more.push(begun.elapsed());
    }
    rows.push(Row::new(
        "one more service of 10 there: placed",
        "",
        millis(median(&more)),
        "ms",
        AtMost(10.0),
    ));
    Ok(())
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
