//! Two of three managers lose their disks: the third goes on alone with everything, and is joined by new ones.

use crate::call::{Said, call};
use crate::failover::{leader, whole};
use crate::harness::{Lab, RunningTask, node_name, number};
use crate::ingress::{on, task_ids};
use crate::traffic::{met, whoami};
use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::json;

/// Three managers and a worker.
const NODES: u8 = 4;

#[test]
fn the_last_of_three_disks_brings_everything_back() {
    let lab = Lab::with_managers("recovery", NODES, 3);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    let create = ["service", "create", "--network", "app", "--name"];
    lab.ctl(&[&create[..], &["web", "--mode", "global", "-p", "8080:80", "mesh/whoami:1"]].concat()).ok();
    let survivors: Vec<RunningTask> =
        lab.running("web").into_iter().filter(|task| [1, NODES].contains(&task.node)).collect();
    assert_eq!(survivors.len(), 2);
    let networks = lab.cluster("/networks");
    let tokens = ["worker", "manager"].map(|role| lab.ctl(&["swarm", "join-token", "-q", role]).ok());

    for node in [2, 3].map(|node| node_name(node).to_string()) {
        lab.fault(&["crash", &node]);
        lab.fault(&["wipe", &node]);
    }
    assert!(survivors.iter().all(is_alive), "{survivors:?}");
    refuses_writes(&lab);

    let force = ["swarm", "init", "--force-new-cluster", "--advertise-addr", "192.0.2.11"];
    let said = lab.ctl(&[&force[..], &["--dry-run"]].concat()).ok();
    for word in ["Kept: 4 nodes", "n2", "n3", "Nothing was changed"] {
        assert!(said.contains(word), "the dry run should name {word:?}: {said}");
    }
    refuses_writes(&lab);
    lab.ctl(&force).ok();

    lab.wait("n1 to lead alone", || whole(&lab, 1).then_some(()));
    lab.wait("the tasks to be seen running", || {
        let now: Vec<_> = lab.running("web").into_iter().map(|task| (task.id, task.node, task.pid)).collect();
        survivors.iter().all(|task| now.contains(&(task.id.clone(), task.node, task.pid))).then_some(())
    });
    answers(&lab, &survivors);
    assert_eq!(lab.cluster("/networks"), networks);
    assert_eq!(["worker", "manager"].map(|role| lab.ctl(&["swarm", "join-token", "-q", role]).ok()), tokens);
    grow_again(&lab);
    let now = task_ids(&lab, "web");
    assert!(
        survivors.iter().all(|task| now.contains(&task.id) && is_alive(task)),
        "{survivors:?}, now {now:?}"
    );
    go_on_without_the_last(&lab);
}

/// Two new managers join.
fn grow_again(lab: &Lab) {
    for _ in 0..2 {
        lab.lab(&["add", "--manager"]).ok();
    }
    for gone in ["n2", "n3"] {
        lab.ctl(&["node", "rm", "--force", gone]).ok();
    }
    lab.ctl(&["service", "create", "--name", "after", "--replicas", "2", "mesh/whoami:1"]).ok();
    let nodes = lab.cluster("/nodes");
    let managers: BTreeSet<u8> = nodes
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["ManagerStatus"]["Reachability"] == "reachable")
        .map(number)
        .collect();
    assert_eq!(managers, [1, NODES + 1, NODES + 2].into());
}

/// The manager that was left is lost, too; the new ones have everything.
fn go_on_without_the_last(lab: &Lab) {
    lab.fault(&["kill", "n1"]);
    let write = ["service", "scale", "after=3"];
    lab.wait("a write without n1", || (lab.ctl_on(NODES + 1, &write).code == 0).then_some(()));
    assert_ne!(leader(lab), 1);
    lab.fault(&["start", "n1"]);
    for node in [1, NODES, NODES + 1, NODES + 2] {
        let to = on(node, 8080);
        lab.wait("every node to answer from four tasks", || {
            (lab.client(|| (0..40).map(|_| whoami(to).ok()).collect::<Option<Vec<_>>>())?
                .iter()
                .map(|answer| &answer["task"])
                .collect::<BTreeSet<_>>()
                .len()
                == 4)
                .then_some(())
        });
    }
}

/// The nodes that are left answer, through the tasks that are left and no others.
fn answers(lab: &Lab, survivors: &[RunningTask]) {
    let left: BTreeSet<String> = survivors.iter().map(|task| task.id.clone()).collect();
    for node in [1, NODES] {
        let to = on(node, 8080);
        lab.wait("the tasks of lost nodes to be left alone", || {
            let seen = lab.client(|| (0..20).map(|_| whoami(to)).collect::<Result<Vec<_>, _>>()).ok()?;
            seen.iter().all(|answer| left.contains(&answer["task"])).then_some(())
        });
        assert_eq!(lab.client(|| met(40, || whoami(to))), left, "n{node}");
    }
    assert!(survivors.iter().all(is_alive), "{survivors:?}");
}

fn is_alive(task: &RunningTask) -> bool {
    kill(Pid::from_raw(i32::try_from(task.pid).unwrap()), None).is_ok()
}

fn refuses_writes(lab: &Lab) {
    let spec = json!({
        "Name": "lost", "TaskTemplate": {"ContainerSpec": {"Image": "mesh/whoami:1"}},
        "Mode": {"Replicated": {"Replicas": 0}},
    });
    let said = call(&lab.socket(1), "POST", "/services/create", Some(&spec), Duration::from_secs(15));
    assert!(matches!(said, Said::Answer { status: 503, .. }), "a minority accepts no write: {said:?}");
}
