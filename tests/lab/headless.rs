//! With the meshd of every manager killed, ports, virtual addresses and names answer on; once they are back,
//! nothing has moved.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failover::{Raised, vip, whole};
use crate::harness::{Lab, RunningTask, count, node_name};
use crate::ingress::{on, task_ids};
use crate::names::addresses;
use crate::traffic::{Load, flawless, load};

const MANAGERS: u8 = 3;
const NODES: u8 = 4;

#[test]
fn without_any_manager_everything_answers_and_afterwards_nothing_has_moved() {
    let lab = Lab::with_managers("headless", NODES, MANAGERS);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    let create = ["service", "create", "--network", "app", "--name"];
    lab.ctl(&[&create[..], &["web", "--replicas", "6", "-p", "8080:80", "mesh/whoami:1"]].concat()).ok();
    lab.ctl(&[&create[..], &["probe", "--mode", "global", "mesh/whoami:1"]].concat()).ok();
    let before = Standing::of(&lab);
    let probes = lab.running("probe");
    assert_eq!(probes.len(), usize::from(NODES));

    let seconds = u64::try_from(count(20, 600)).unwrap();
    let loads = under_load(&lab, &probes, || {
        for node in 1..=MANAGERS {
            lab.fault(&["kill", &node_name(node).to_string()]);
        }
        // The time that the property is about, not a wait for something.
        thread::sleep(Duration::from_secs(seconds));
        for node in 1..=MANAGERS {
            lab.fault(&["start", &node_name(node).to_string()]);
        }
        lab.wait("the managers to lead again", || whole(&lab, MANAGERS).then_some(()));
        let everybody = || lab.running("web").len() == 6 && lab.running("probe").len() == probes.len();
        lab.wait("every task to be seen running", || everybody().then_some(()));
    });
    assert!(flawless(&loads) > usize::try_from(seconds * 150).unwrap(), "too little traffic to tell");
    assert_eq!(Standing::of(&lab), before);
    let history = lab.ctl(&["service", "ps", "-q", "web"]).ok();
    assert_eq!(history.lines().count(), 6, "no task was replaced: {history}");
}

/// What must not move.
#[derive(Debug, PartialEq)]
struct Standing {
    tasks: Vec<(String, u8, i64)>,
    addresses: Value,
    nodes: Vec<(String, String)>,
}

impl Standing {
    fn of(lab: &Lab) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let tasks = ["web", "probe"].into_iter().flat_map(|service| lab.running(service));
        let mut nodes: Vec<_> = lab
            .cluster("/nodes")
            .as_array()
            .unwrap()
            .iter()
            .map(|node| (text(&node["ID"]), text(&node["Status"]["Addr"])))
            .collect();
        nodes.sort();
        let mut tasks: Vec<_> = tasks.map(|task| (task.id, task.node, task.pid)).collect();
        tasks.sort();
        Self { tasks, addresses: lab.cluster("/mesh/v1/vips"), nodes }
    }
}

/// Asks through the published port of every node, and from a task on every node at the virtual address and by
/// name, while `work` goes on.
fn under_load(lab: &Lab, probes: &[RunningTask], work: impl FnOnce()) -> Vec<Load> {
    let ports: &Vec<SocketAddrV4> = &(1..=NODES).map(|node| on(node, 8080)).collect();
    let tasks = task_ids(lab, "web").len();
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let mut loads: Vec<_> =
            (0..2).map(|_| scope.spawn(move || lab.client(|| load(ports, 50, stop)))).collect();
        for probe in probes {
            loads.push(scope.spawn(move || {
                lab.inside_task(probe.node, &probe.id, || {
                    load(&[SocketAddrV4::new(vip("web"), 80)], 25, stop)
                })
            }));
            loads
                .push(scope.spawn(move || {
                    lab.inside_task(probe.node, &probe.id, || names(probe.node, tasks, stop))
                }));
        }
        let stopped = Raised(stop);
        work();
        drop(stopped);
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    })
}

/// Asks for names until `stop`; each answer must be that of the start.
fn names(node: u8, tasks: usize, stop: &AtomicBool) -> Load {
    let (start, mut seen) = (Instant::now(), Load::default());
    let sorted = |name: &str| {
        let mut found: Vec<Ipv4Addr> = addresses(name);
        found.sort();
        found
    };
    let expected = ["web", "tasks.web"].map(sorted);
    assert_eq!((expected[0].len(), expected[1].len()), (1, tasks));
    for number in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = start + Duration::from_millis(100) * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let found = ["web", "tasks.web"].map(sorted);
        if found == expected {
            seen.done += 1;
        } else {
            seen.failed.push(format!("{:?} names on n{node}: {found:?}", start.elapsed()));
        }
    }
    seen
}
