//! Rolling updates, rollbacks, drains and scaling under traffic: no request fails, and no connection ends but by
//! the server's own FIN, after its time to drain.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::failover::Raised;
use crate::harness::{Lab, count, node_name};
use crate::ingress::{on, task_ids};
use crate::long::{Long, live};
use crate::traffic::{Load, flawless, load, met, whoami};

const NODES: u8 = 3;
const REPLICAS: usize = 6;
/// Short connections a second, over so many clients.
const RATE: u32 = 1000;
const CLIENTS: u32 = 20;
/// Connections that live on, and how often each carries a request.
const LONG: usize = 100;
const EVERY: Duration = Duration::from_millis(200);
/// What a connection gets when its task leaves.
const DRAIN: Duration = Duration::from_millis(800);

/// When tasks were told to end, by the managers' word.
#[derive(Default)]
struct Retired(Mutex<BTreeMap<String, SystemTime>>);

impl Retired {
    /// Follows the tasks until the stream ends or `stop`.
    fn follow(&self, socket: &Path, stop: &AtomicBool) {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(b"GET /mesh/v1/watch?kinds=task HTTP/1.0\r\nHost: mesh\r\n\r\n").unwrap();
        let (mut lines, mut line) = (BufReader::new(stream), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    self.take_in(&serde_json::from_slice(&line).unwrap_or_default());
                    line.clear();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("the watch: {error}"),
            }
        }
    }

    fn take_in(&self, event: &Value) {
        let task = &event["Object"]["Value"];
        let retired =
            task["DesiredState"].as_str().is_some_and(|state| state == "shutdown" || state == "remove");
        if retired {
            let at: jiff::Timestamp = task["UpdatedAt"].as_str().unwrap().parse().unwrap();
            let id = task["ID"].as_str().unwrap().to_owned();
            self.0.lock().unwrap().entry(id).or_insert(SystemTime::from(at));
        }
    }

    /// How long after its task was told to end each connection ended.
    fn delays(&self, longs: &[Long]) -> Vec<Duration> {
        let retired = self.0.lock().unwrap();
        let ended = longs.iter().flat_map(|long| &long.ended);
        ended
            .map(|(task, at)| {
                let told = retired.get(task).unwrap_or_else(|| panic!("task {task} was never told to end"));
                at.duration_since(*told).expect("a connection ended before its task was told to end")
            })
            .collect()
    }
}

/// A lab with the service in it.
struct Trial {
    lab: Lab,
    version: Cell<usize>,
}

impl Trial {
    fn new() -> Self {
        let lab = Lab::up("updates", NODES);
        let drain = format!("mesh.drain={}ms", DRAIN.as_millis());
        let (label, replicas) = (["--label", &drain], REPLICAS.to_string());
        let how = ["--update-delay", "0s", "--update-monitor", "100ms", "--rollback-monitor", "100ms"];
        let pace = ["--update-parallelism", "2", "--rollback-parallelism", "2"];
        let what = ["--name", "web", "--replicas", &replicas, "-p", "8080:80", "mesh/whoami:1"];
        let words =
            [&["service", "create"], &label[..], &how, &pace, &what, &["--report-version", "v0"]].concat();
        lab.ctl(&words).ok();
        Self { lab, version: Cell::new(0) }
    }

    fn ports() -> Vec<SocketAddrV4> {
        (1..=NODES).map(|node| on(node, 8080)).collect()
    }

    /// What clients are answered, on every node; all tasks of `tasks` are met and no other.
    #[track_caller]
    fn shows(&self, version: &str, tasks: &BTreeSet<String>) {
        for to in Self::ports() {
            let seen = self.lab.client(|| {
                met(60, || {
                    let answer = whoami(to)?;
                    assert_eq!(answer["version"], version, "through {to}: {answer:?}");
                    Ok(answer)
                })
            });
            assert_eq!(&seen, tasks, "through {to}");
        }
    }

    /// Does what gives every slot a new task, and looks at what came of it.
    #[track_caller]
    fn replaces(&self, version: &str, words: &[&str]) {
        let before = task_ids(&self.lab, "web");
        let began = Instant::now();
        self.lab.ctl(words).ok();
        let after = self.lab.wait("every task to be another", || {
            let now = task_ids(&self.lab, "web");
            (now.len() == REPLICAS && now.is_disjoint(&before)).then_some(now)
        });
        println!("{words:?}: {:?}", began.elapsed());
        self.shows(version, &after);
    }

    fn update(&self, order: &str) {
        self.version.set(self.version.get() + 1);
        let (version, order) = (format!("v{}", self.version.get()), format!("--update-order={order}"));
        let (args, back) =
            (format!("--args=--report-version {version}"), order.replace("update", "rollback"));
        self.replaces(&version, &["service", "update", "--quiet", &order, &back, &args, "web"]);
    }

    /// Back to the version before, which is the one of the next rollback's way back.
    fn rollback(&self) {
        self.version.set(self.version.get() - 1);
        self.replaces(&format!("v{}", self.version.get()), &["service", "rollback", "--quiet", "web"]);
    }

    fn drain(&self, node: u8) {
        let name = node_name(node).to_string();
        self.lab.ctl(&["node", "update", "--availability", "drain", &name]).ok();
        self.lab.wait("the node to be empty, and every task elsewhere", || {
            let tasks = self.lab.running("web");
            (tasks.len() == REPLICAS && tasks.iter().all(|task| task.node != node)).then_some(())
        });
        self.lab.ctl(&["node", "update", "--availability", "active", &name]).ok();
    }

    fn scale(&self, replicas: usize) {
        self.lab.ctl(&["service", "scale", &format!("web={replicas}")]).ok();
        let tasks = self.lab.wait("as many tasks as wanted", || {
            let tasks = task_ids(&self.lab, "web");
            (tasks.len() == replicas).then_some(tasks)
        });
        self.shows(&format!("v{}", self.version.get()), &tasks);
    }

    /// Everything that is done to the service.
    fn walk(&self) {
        self.scale(20);
        self.scale(REPLICAS);
        let orders = ["start-first", "stop-first"];
        for order in orders.into_iter().cycle().take(count(4, 50)) {
            self.update(order);
        }
        for order in orders.into_iter().cycle().take(count(2, 10)) {
            self.update(order);
            self.rollback();
        }
        for node in (1..=NODES).cycle().take(count(2, 10)) {
            self.drain(node);
        }
    }
}

#[test]
fn nothing_is_lost_while_tasks_are_replaced() {
    let trial = Trial::new();
    let (ports, stop, retired) = (Trial::ports(), AtomicBool::new(false), Retired::default());
    let (socket, began) = (trial.lab.socket(1), Instant::now());
    let (loads, longs) = thread::scope(|scope| {
        let stopped = Raised(&stop);
        let (stop, ports, retired) = (&stop, &ports, &retired);
        let lab = &trial.lab;
        let short = |_| scope.spawn(move || lab.client(|| load(ports, RATE / CLIENTS, stop)));
        let loads: Vec<_> = (0..CLIENTS).map(short).collect();
        let long = |to: SocketAddrV4| scope.spawn(move || lab.client(|| live(to, EVERY, stop)));
        let longs: Vec<_> = ports.iter().cycle().take(LONG).map(|to| long(*to)).collect();
        scope.spawn(|| retired.follow(&socket, stop));
        trial.walk();
        drop(stopped);
        let loads: Vec<Load> = loads.into_iter().map(|load| load.join().unwrap()).collect();
        (loads, longs.into_iter().map(|long| long.join().unwrap()).collect::<Vec<Long>>())
    });
    let lasted = began.elapsed();
    unbroken(&longs, &retired);
    let done = flawless(&loads);
    let rate = f64::from(u32::try_from(done).unwrap()) / lasted.as_secs_f64();
    println!("{rate:.0} short connections a second for {lasted:?}");
    assert!(rate > f64::from(RATE) * 0.5, "only {rate:.0} a second");
}

/// No connection failed, and each lived until its time to drain was over.
#[track_caller]
fn unbroken(longs: &[Long], retired: &Retired) {
    let failed: Vec<&String> = longs.iter().flat_map(|long| &long.failed).collect();
    let answers: usize = longs.iter().map(|long| long.answers).sum();
    let unanswered: usize = longs.iter().map(|long| long.unanswered).sum();
    assert!(
        failed.is_empty(),
        "{} long connections failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    let delays = retired.delays(longs);
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    println!(
        "{answers} answers over long connections; {} of these were ended by the server, {least:?} to {most:?} after their task was told to, {unanswered} between a request and its answer",
        delays.len()
    );
    assert!(*least >= DRAIN, "a connection ended {least:?} after its task was told to end");
    assert!(delays.len() > LONG, "too few connections to tell");
}
