//! Tasks that die are replaced, nodes that die give up their tasks, and come back.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::Lab;
use crate::ingress::{on, task_ids};
use crate::traffic::{met, whoami};

#[test]
fn a_killed_task_is_replaced() {
    let lab = Lab::up("replace", 2);
    let create =
        ["service", "create", "--name", "web", "--replicas", "2", "--restart-delay", "0s", "-p", "8080:80"];
    lab.ctl(&[&create[..], &["mesh/whoami:1"]].concat()).ok();
    let before = task_ids(&lab, "web");
    let victim = lab.running("web").remove(0);
    kill(Pid::from_raw(i32::try_from(victim.pid).unwrap()), Signal::SIGKILL).unwrap();
    let after = lab.wait("the replacement", || {
        let now = task_ids(&lab, "web");
        (now.len() == 2 && !now.contains(&victim.id)).then_some(now)
    });
    assert_eq!(after.intersection(&before).count(), 1, "the other task was left alone");
    let listed = lab.ctl(&["service", "ps", "--no-trunc", "web"]).ok();
    assert!(listed.contains("\\_ web."), "{listed}");
    assert!(listed.contains("task: non-zero exit (137)"), "{listed}");
    for node in 1..=2 {
        let to = on(node, 8080);
        assert_eq!(lab.client(|| met(40, || whoami(to))), after, "n{node}");
    }
}

#[test]
fn a_crashed_nodes_tasks_move_and_the_node_comes_back() {
    let lab = Lab::up("crash", 3);
    let create = ["service", "create", "--name", "web", "--replicas", "3", "-p", "8080:80", "mesh/whoami:1"];
    lab.ctl(&create).ok();
    lab.fault(&["crash", "n3"]);
    let moved = lab.wait("the tasks to move", || {
        let now = lab.running("web");
        (now.len() == 3 && now.iter().all(|task| task.node != 3)).then(|| task_ids(&lab, "web"))
    });
    let state = |wanted: &str| {
        let nodes = lab.api(1, "/nodes");
        let n3 =
            nodes.as_array().unwrap().iter().find(|node| node["Description"]["Hostname"] == "n3").cloned();
        (n3?["Status"]["State"] == wanted).then_some(())
    };
    assert!(state("down").is_some());
    for node in 1..=2 {
        let to = on(node, 8080);
        assert_eq!(lab.client(|| met(60, || whoami(to))), moved, "n{node}");
    }
    lab.fault(&["start", "n3"]);
    lab.wait("n3 to be ready again", || state("ready"));
    assert_eq!(task_ids(&lab, "web"), moved, "a node that returns gets no tasks back by itself");
    let to = on(3, 8080);
    lab.wait("n3 to answer again", || lab.client(|| whoami(to)).ok());
    assert_eq!(lab.client(|| met(60, || whoami(to))), moved, "n3");
}

#[test]
fn a_node_that_comes_back_after_a_partition_stops_what_was_replaced() {
    let lab = Lab::up("split", 3);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "3", "-p", "8080:80", "mesh/whoami:1"])
        .ok();
    let old = lab.running("web").into_iter().find(|task| task.node == 3).expect("one task a node");
    lab.fault(&["isolate", "n3"]);
    lab.wait("the tasks to move", || {
        let now = lab.running("web");
        (now.len() == 3 && now.iter().all(|task| task.node != 3)).then_some(())
    });
    let alive = || kill(Pid::from_raw(i32::try_from(old.pid).unwrap()), None).is_ok();
    assert!(alive(), "a node that is cut off keeps its tasks running");
    lab.fault(&["heal"]);
    lab.wait("the replaced task to be stopped", || (!alive()).then_some(()));
    let moved = task_ids(&lab, "web");
    let to = on(3, 8080);
    lab.wait("n3 to answer with the new tasks alone", || {
        let seen = lab.client(|| (0..10).map(|_| whoami(to)).collect::<Result<Vec<_>, _>>()).ok()?;
        seen.iter().all(|answer| moved.contains(&answer["task"])).then_some(())
    });
}
