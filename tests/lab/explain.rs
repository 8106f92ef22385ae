//! Why a task does not run: said on the command line that waits for it and in `service ps` within a second, and
//! over within a second once its cause is gone.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use mesh_lab::layout::Member;

use crate::harness::{Lab, PATIENCE, bin, node_name};

const NODES: u8 = 3;

/// How soon something is said, or done.
const SECOND: Duration = Duration::from_secs(1);

/// `meshctl service create` while it waits.
struct Waiting {
    child: Child,
    begun: Instant,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Waiting {
    fn for_service(lab: &Lab, name: &str, flags: &[&str]) -> Self {
        let host = format!("unix://{}", lab.socket(1).display());
        let begun = Instant::now();
        let mut child = Command::new(bin().join("meshctl"))
            .args(["-H", &host, "service", "create", "--name", name])
            .args(flags)
            .arg("mesh/whoami:1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            // The test may have ended before the command did.
            errors.lines().map_while(Result::ok).try_for_each(|line| told.send(line))
        });
        Self { child, begun, lines, said: Vec::new() }
    }

    /// Reads on until a line has these words; how long after the command's beginning that was.
    #[track_caller]
    fn hears(&mut self, words: &str, patience: Duration) -> Duration {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(why @ (RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => {
                    panic!("{words:?} was not said ({why}): {:?}", self.said);
                }
            }
            if self.said.last().is_some_and(|line| line.contains(words)) {
                return self.begun.elapsed();
            }
        }
    }

    /// Reads on until the command ends well.
    #[track_caller]
    fn converges(mut self) {
        self.hears("verify: Service converged", PATIENCE);
        assert!(self.child.wait().unwrap().success(), "{:?}", self.said);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a task of the service has a node.
fn is_placed(lab: &Lab, service: &str) -> bool {
    let tasks = lab.api(1, &format!("/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D"));
    let placed = |task: &serde_json::Value| task["NodeID"].is_string() && task["DesiredState"] == "running";
    tasks.as_array().unwrap().iter().any(placed)
}

/// A service that cannot run says why, and runs once `fix` did away with the cause.
#[track_caller]
fn explains(lab: &Lab, service: &str, flags: &[&str], why: &str, fix: impl FnOnce()) {
    let mut waiting = Waiting::for_service(lab, service, flags);
    let heard = waiting.hears(why, SECOND);
    let tasks = lab.ctl(&["service", "ps", "--no-trunc", service]).ok();
    assert!(tasks.contains(why), "heard {heard:?} after the beginning, and not listed: {tasks}");
    assert!(!is_placed(lab, service));

    fix();
    let fixed = Instant::now();
    while !is_placed(lab, service) {
        assert!(fixed.elapsed() < SECOND, "{service} has no node: {}", lab.report());
        std::thread::sleep(Duration::from_millis(10));
    }
    waiting.converges();
    let tasks = lab.ctl(&["service", "ps", "--filter", "desired-state=running", "--no-trunc", service]).ok();
    assert!(!tasks.contains(why), "{tasks}");
    lab.ctl(&["service", "rm", service]).ok();
}

/// A process on a node listens on this port, and the managers know.
fn holds(lab: &Lab, node: u8, port: u16) -> TcpListener {
    let bind = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let process = lab.inside(Member::Node(node_name(node)), bind);
    let published = format!("{port}:80");
    lab.wait("the managers to know who listens", || {
        let probe =
            lab.ctl(&["service", "create", "-d", "--name", "probe", "-p", &published, "mesh/whoami:1"]);
        if probe.code == 0 {
            lab.ctl(&["service", "rm", "probe"]).ok();
        }
        probe.stderr.contains("is in use by a process on node").then_some(())
    });
    process
}

#[test]
fn what_keeps_a_task_is_said_within_a_second_and_gone_with_its_cause() {
    let lab = Lab::up("explain", NODES);
    explains(
        &lab,
        "nowhere",
        &["--constraint", "node.labels.zone==a"],
        "no suitable node (scheduling constraints not satisfied on 3 nodes)",
        || drop(lab.ctl(&["node", "update", "--label-add", "zone=a", "n2"]).ok()),
    );
    explains(
        &lab,
        "huge",
        &["--reserve-memory", "9999g"],
        "no suitable node (insufficient resources on 3 nodes)",
        || drop(lab.ctl(&["service", "update", "-d", "--reserve-memory", "64m", "huge"]).ok()),
    );

    let port = ["-p", "mode=host,target=80,published=8088"];
    let first =
        [&["service", "create", "--name", "first", "--mode", "global"][..], &port, &["mesh/whoami:1"]];
    lab.ctl(&first.concat()).ok();
    explains(&lab, "second", &port, "no suitable node (host-mode port already in use on 3 nodes)", || {
        drop(lab.ctl(&["service", "rm", "first"]).ok());
    });

    let process = holds(&lab, 2, 8089);
    let held = ["-p", "mode=host,target=80,published=8089", "--constraint", "node.hostname==n2"];
    explains(&lab, "third", &held, "host-mode port already in use on 1 node", || drop(process));

    // Of eight addresses the first, the gateway and the last are taken.
    lab.ctl(&["network", "create", "-d", "overlay", "--subnet", "10.77.0.0/29", "tiny"]).ok();
    let tiny = ["--network", "tiny", "--endpoint-mode", "dnsrr"];
    let full = [&["service", "create", "--name", "full", "--replicas", "5"][..], &tiny, &["mesh/whoami:1"]];
    lab.ctl(&full.concat()).ok();
    explains(&lab, "homeless", &tiny, "no available addresses on network tiny (10.77.0.0/29)", || {
        drop(lab.ctl(&["service", "rm", "full"]).ok());
    });
}

#[test]
fn a_port_that_is_taken_is_refused_at_once_with_its_owner() {
    let lab = Lab::up("taken", 1);
    lab.ctl(&["service", "create", "-d", "--name", "web", "-p", "8080:80", "mesh/whoami:1"]).ok();
    let refused = lab.ctl(&["service", "create", "--name", "other", "-p", "8080:80", "mesh/whoami:1"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("port '8080' is already in use by service 'web'"), "{}", refused.stderr);
}
