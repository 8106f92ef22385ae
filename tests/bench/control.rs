//! The control plane against the figures of a real Docker Swarm on one such machine (single node, local
//! images: its best case).

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Failed;
use crate::http::Client;
use crate::lab::{Lab, wait};
use crate::table::Target::{AtLeast, AtMost};
use crate::table::{Row, median};

/// Services created one after the other, then by several clients; together as many as Swarm was asked to list.
const SERIAL: u64 = 508;
const PARALLEL: u64 = 1_600;
const CLIENTS: u64 = 16;

/// How often each rate is measured; the middle one counts.
const ROUNDS: usize = 3;

/// How often a leader is killed.
const FAILOVERS: usize = 10;

/// A manager that does not answer a write within this is asked anew.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Numbers that make names distinct.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Creates, lists and memory of a cluster of one.
pub fn one_manager(rows: &mut Vec<Row>) -> Result<(), Failed> {
    let lab = Lab::up(1, 1)?;
    let idle = lab.memory(1)?;
    creates(&lab, 1, rows)?;
    lists(&lab, rows)?;
    rows.push(Row::new("memory of meshd, idle", "", idle, "MiB", AtMost(30.0)));
    let full = lab.memory(1)?;
    rows.push(Row::new("memory of meshd with 2,108 services", "137–151", full, "MiB", AtMost(80.0)));
    Ok(())
}

/// Creates and failover of three managers.
pub fn three_managers(rows: &mut Vec<Row>) -> Result<(), Failed> {
    let lab = Lab::up(3, 3)?;
    let leader = leader(&lab, 1)?;
    creates(&lab, leader, rows)?;
    let follower = if leader == 1 { 2 } else { 1 };
    let rate = rate(&lab, follower, PARALLEL, CLIENTS)?;
    rows.push(Row::new("creates/s, 16 clients, at a follower", "", rate, "/s", AtLeast(4_000.0)));
    failovers(&lab, rows)
}

/// How fast tasks run.
pub fn tasks(rows: &mut Vec<Row>) -> Result<(), Failed> {
    let lab = Lab::up(1, 1)?;
    let mut client = lab.client(1)?;
    let network = json!({"Name": "bench", "Driver": "overlay"});
    client.post("/networks/create", &network)?.json()?;
    let overlay = json!([{"Target": "bench"}]);
    let published = json!([{"TargetPort": 80, "PublishedPort": 30_900, "Protocol": "tcp"}]);
    for (what, reference, networks, ports) in [
        ("20 replicas until RUNNING, no network", "3.7", json!([]), json!([])),
        ("20 replicas until RUNNING, overlay", "5.0", overlay, json!([])),
        ("20 replicas until RUNNING, published", "5.2", json!([]), published),
    ] {
        let mut spec = service(20);
        spec["TaskTemplate"]["Networks"] = networks;
        spec["EndpointSpec"] = json!({ "Ports": ports });
        let begun = Instant::now();
        let made = client.post("/services/create", &spec)?.json()?;
        let id = made["ID"].as_str().ok_or("no service id")?.to_owned();
        running(&mut client, &id, 20)?;
        rows.push(Row::new(what, reference, begun.elapsed().as_secs_f64(), "s", AtMost(1.0)));
        if what.ends_with("no network") {
            let begun = Instant::now();
            scale(&mut client, &id, 50)?;
            running(&mut client, &id, 50)?;
            let took = begun.elapsed().as_secs_f64();
            rows.push(Row::new("scale 20 → 50, no network", "4.6", took, "s", AtMost(1.0)));
        }
        client.delete(&format!("/services/{id}"))?.json()?;
        wait("end of the tasks", || Ok(tasks_of(&mut client, &id)?.is_empty().then_some(())))?;
    }
    Ok(())
}

/// A service that nothing else has the name of.
fn service(replicas: u64) -> Value {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    json!({
        "Name": format!("bench-{number}"),
        "TaskTemplate": {"ContainerSpec": {"Image": "mesh/whoami:1"}},
        "Mode": {"Replicated": {"Replicas": replicas}},
    })
}

/// Serial and parallel creates at `node`; afterwards there are as many services as Swarm was asked to list.
fn creates(lab: &Lab, node: u8, rows: &mut Vec<Row>) -> Result<(), Failed> {
    let (mut serial, mut parallel) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round > 0 {
            remove_all(lab, node)?;
        }
        serial.push(rate(lab, node, SERIAL, 1)?);
        parallel.push(rate(lab, node, PARALLEL, CLIENTS)?);
    }
    let spread = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        (rates[rates.len() / 2], format!("{:.0}–{:.0}", rates[0], rates[rates.len() - 1]))
    };
    let (rate, apart) = spread(&mut serial);
    rows.push(
        Row::new("creates/s, one after the other", "360–530", rate, "/s", AtLeast(1_000.0)).with(&apart),
    );
    let (rate, apart) = spread(&mut parallel);
    rows.push(Row::new("creates/s, 16 clients", "680–1,040", rate, "/s", AtLeast(4_000.0)).with(&apart));
    Ok(())
}

/// Services a second, each acknowledged; every client keeps its connection.
fn rate(lab: &Lab, node: u8, count: u64, clients: u64) -> Result<f64, Failed> {
    let mut open: Vec<Client> = (0..clients).map(|_| lab.client(node)).collect::<Result<_, _>>()?;
    let begun = Instant::now();
    thread::scope(|scope| {
        let work = |client: &mut Client| -> Result<(), Failed> {
            for _ in 0..count / clients {
                client.post("/services/create", &service(0))?.json()?;
            }
            Ok(())
        };
        let threads: Vec<_> = open.iter_mut().map(|client| scope.spawn(move || work(client))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a client panicked")?)
    })?;
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    let count = (count / clients * clients) as f64;
    Ok(count / begun.elapsed().as_secs_f64())
}

fn remove_all(lab: &Lab, node: u8) -> Result<(), Failed> {
    let mut client = lab.client(node)?;
    let services = client.get("/services")?.json()?;
    for id in services.as_array().into_iter().flatten().filter_map(|service| service["ID"].as_str()) {
        client.delete(&format!("/services/{id}"))?.json()?;
    }
    Ok(())
}

fn lists(lab: &Lab, rows: &mut Vec<Row>) -> Result<(), Failed> {
    let mut client = lab.client(1)?;
    let mut asked = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = client.get("/services")?;
        asked.push(begun.elapsed());
        if asked.len() == 1 {
            let count = answer.json()?.as_array().map_or(0, Vec::len);
            eprintln!("    {count} services in {} bytes", answer.body.len());
        }
    }
    rows.push(Row::new("GET /services, 2,108 services", "37–50", millis(median(&asked)), "ms", AtMost(10.0)));
    let mut listed = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        lab.ctl(1, &["service", "ls"])?;
        listed.push(begun.elapsed());
    }
    let took = millis(median(&listed));
    rows.push(Row::new("service ls, 2,108 services", "107–125", took, "ms", AtMost(30.0)));
    Ok(())
}

/// The number of the node that leads, in the eyes of `node`.
fn leader(lab: &Lab, node: u8) -> Result<u8, Failed> {
    wait("leader", || {
        let nodes = lab.client(node)?.get("/nodes")?.json()?;
        let mut nodes = nodes.as_array().into_iter().flatten();
        let leads = nodes.find(|found| found["ManagerStatus"]["Leader"] == true);
        let name = leads.and_then(|found| found["Description"]["Hostname"].as_str());
        Ok(name.and_then(|name| name.strip_prefix('n')?.parse().ok()))
    })
}

fn all_reachable(lab: &Lab, node: u8) -> Result<(), Failed> {
    wait("three managers that answer", || {
        let nodes = lab.client(node)?.get("/nodes")?.json()?;
        let nodes = nodes.as_array().into_iter().flatten();
        let answer = nodes.filter(|found| found["ManagerStatus"]["Reachability"] == "reachable");
        Ok((answer.count() == 3).then_some(()))
    })
}

fn failovers(lab: &Lab, rows: &mut Vec<Row>) -> Result<(), Failed> {
    let mut took = Vec::new();
    let mut asked = 1;
    for _ in 0..FAILOVERS {
        let leader = leader(lab, asked)?;
        all_reachable(lab, leader)?;
        asked = leader % 3 + 1;
        let pid = Pid::from_raw(lab.pid(leader)?);
        let begun = Instant::now();
        kill(pid, Signal::SIGKILL)?;
        wait("write that is accepted", || Ok(written(lab, asked).then_some(())))?;
        took.push(begun.elapsed());
        lab.lab(&["fault", "start", &format!("n{leader}")])?;
    }
    let worst = took.iter().max().copied().unwrap_or_default();
    let note = format!("median {:.2} s of {FAILOVERS}", median(&took).as_secs_f64());
    let row =
        Row::new("leader killed: next write accepted, worst", "10–20", worst.as_secs_f64(), "s", AtMost(2.0));
    rows.push(row.with(&note));
    Ok(())
}

/// Whether a manager takes a write now.
fn written(lab: &Lab, node: u8) -> bool {
    let attempt = || Client::open(&lab.socket(node), ATTEMPT)?.post("/services/create", &service(0));
    attempt().is_ok_and(|answer| answer.json().is_ok())
}

fn tasks_of(client: &mut Client, service: &str) -> Result<Vec<Value>, Failed> {
    let path = format!("/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D");
    // A service that is gone has no tasks.
    let answer = client.get(&path)?;
    if answer.status == 404 {
        return Ok(Vec::new());
    }
    Ok(answer.json()?.as_array().cloned().unwrap_or_default())
}

fn running(client: &mut Client, service: &str, count: usize) -> Result<(), Failed> {
    wait("running tasks", || {
        let tasks = tasks_of(client, service)?;
        let run = tasks.iter().filter(|task| task["Status"]["State"] == "running").count();
        Ok((run >= count).then_some(()))
    })
}

fn scale(client: &mut Client, service: &str, replicas: u64) -> Result<(), Failed> {
    let found = client.get(&format!("/services/{service}"))?.json()?;
    let mut spec = found["Spec"].clone();
    spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
    let version = &found["Version"]["Index"];
    client.post(&format!("/services/{service}/update?version={version}"), &spec)?.json()?;
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
