//! Nodes that are cut off: what they keep doing, what the others see of them, and how they come back.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::failover::{leader, vip, whole};
use crate::harness::{Lab, RunningTask, node_name, number};
use crate::ingress::{on, task_ids};
use crate::isolation::address;
use crate::traffic::whoami;

const MANAGERS: u8 = 3;
/// The worker.
const WORKER: u8 = 4;

/// How long the loss of a manager that does not lead may hold up a change on a node that talked to it: the
/// node moves within a second, and the task starts.
const MOVED: Duration = Duration::from_secs(2);

fn is_alive(task: &RunningTask) -> bool {
    kill(Pid::from_raw(i32::try_from(task.pid).unwrap()), None).is_ok()
}

fn identities(lab: &Lab, service: &str) -> Vec<(String, u8, i64)> {
    lab.running(service).into_iter().map(|task| (task.id, task.node, task.pid)).collect()
}

/// What `node ls` says of each manager, in order, as `asked` sees it.
fn listed(lab: &Lab, asked: u8) -> Option<Vec<String>> {
    let ran = lab.ctl_on(asked, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]);
    let status = |line: &str| line.split_once(' ').map(|(_, status)| status.to_owned());
    (ran.code == 0).then(|| ran.stdout.lines().take(MANAGERS.into()).filter_map(status).collect())
}

#[test]
fn a_worker_that_is_cut_off_serves_on_and_stops_only_what_was_replaced() {
    let lab = Lab::with_managers("cutoff", WORKER, MANAGERS);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    let create = ["service", "create", "--name", "web", "--network", "app", "--replicas", "4"];
    lab.ctl(&[&create[..], &["-p", "8080:80", "mesh/whoami:1"]].concat()).ok();
    let before = identities(&lab, "web");
    let old = lab.running("web").into_iter().find(|task| task.node == WORKER).expect("one task a node");

    lab.fault(&["isolate", "n4"]);
    std::thread::sleep(Duration::from_millis(1_500)); // less than three heartbeats
    lab.fault(&["heal"]);
    let change = ["service", "update", "-d", "--label-add", "seen=1", "web"];
    lab.ctl(&change).ok();
    lab.wait("n4 to be heard again", || {
        let node = lab.cluster("/nodes/n4");
        (node["Status"]["State"] == "ready" && identities(&lab, "web") == before).then_some(())
    });

    lab.fault(&["isolate", "n4"]);
    lab.wait("the task to move", || {
        let now = lab.running("web");
        (now.len() == 4 && now.iter().all(|task| task.node != WORKER)).then_some(())
    });
    assert!(is_alive(&old), "a node that is cut off keeps its tasks running");
    lab.inside_task(WORKER, &old.id, || {
        let own = whoami(SocketAddrV4::new(address(&old), 80)).expect("it serves on");
        assert_eq!(own["task"], old.id);
        vip("web");
    });
    let moved = identities(&lab, "web");

    lab.fault(&["heal"]);
    lab.wait("the replaced task to be stopped", || (!is_alive(&old)).then_some(()));
    assert_eq!(identities(&lab, "web"), moved, "the others go on untouched");
    let (to, now) = (on(WORKER, 8080), task_ids(&lab, "web"));
    lab.wait("n4 to answer with the new tasks alone", || {
        let seen = lab.client(|| (0..12).map(|_| whoami(to)).collect::<Result<Vec<_>, _>>()).ok()?;
        seen.iter().all(|answer| now.contains(&answer["task"])).then_some(())
    });
}

#[test]
fn node_ls_tells_who_leads_and_who_is_reached() {
    let lab = Lab::with_managers("listed", WORKER, MANAGERS);
    for round in 0..2 {
        let led = leader(&lab);
        // First a manager that follows, then the leader itself.
        let cut = if round == 0 { led % MANAGERS + 1 } else { led };
        let asked = cut % MANAGERS + 1;
        lab.fault(&["isolate", &node_name(cut).to_string()]);
        let at = usize::from(cut) - 1;
        lab.wait("the others to see it", || {
            let said = listed(&lab, asked)?;
            let leaders = said.iter().filter(|status| *status == "Leader").count();
            let reached = said.iter().filter(|status| *status == "Reachable").count();
            (said[at] == "Unreachable" && leaders == 1 && reached == 1).then_some(())
        });
        if cut != led {
            assert_eq!(leader(&lab), led, "the leader had no reason to go");
        }
        // Whoever is cut off knows no better than before and does not say so as if it did.
        let alone = lab.ctl_on(cut, &["node", "ls"]);
        assert_ne!(alone.code, 0, "{alone:?}");
        let why = ["lead", "quorum"].iter().any(|word| alone.stderr.contains(word));
        assert!(why, "it says why: {alone:?}");
        lab.fault(&["heal"]);
        lab.wait("all of them to agree", || whole(&lab, MANAGERS).then_some(()));
    }
}

#[test]
fn an_agent_moves_to_another_manager_at_once() {
    let lab = Lab::with_managers("moves", WORKER, MANAGERS);
    let led = leader(&lab);
    for follower in (1..=MANAGERS).filter(|node| *node != led) {
        let (node, name) = (node_name(follower).to_string(), format!("after-{follower}"));
        lab.fault(&["kill", &node]);
        let start = Instant::now();
        let create = ["service", "create", "--name", &name, "--constraint", "node.hostname==n4"];
        lab.ctl_on(led, &[&create[..], &["--detach", "mesh/whoami:1"]].concat()).ok();
        lab.wait("the task on n4", || {
            let tasks = lab.running(&name);
            (tasks.iter().map(|task| task.node).collect::<Vec<_>>() == [WORKER]).then_some(())
        });
        let took = start.elapsed();
        println!("a task on n4 {took:?} after {node} was killed");
        assert!(took < MOVED, "{took:?} after {node} was killed");
        lab.fault(&["start", &node]);
        lab.wait("every manager to count again", || whole(&lab, MANAGERS).then_some(()));
    }
    let nodes = lab.cluster("/nodes");
    let worker = nodes.as_array().unwrap().iter().find(|node| number(node) == WORKER).unwrap();
    assert_eq!(worker["Status"]["State"], "ready");
}
