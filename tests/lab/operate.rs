//! What an operator does to a cluster that runs, from the socket of a manager that does not lead: roles, the root
//! certificate, and what is heard of it.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::failover::leader;
use crate::harness::{Lab, bin, number};

const MANAGERS: u8 = 3;
/// The worker.
const WORKER: u8 = 4;

/// `meshctl events` while it runs.
struct Listener {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listener {
    fn new(lab: &Lab, node: u8) -> Self {
        let host = format!("unix://{}", lab.socket(node).display());
        // What was before is told first: with the first line the listener is there.
        let words = ["-H", &host, "events", "--filter", "type=node", "--since", "1"];
        let mut child =
            Command::new(bin().join("meshctl")).args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains(" node create "));
        Self { child, lines }
    }

    /// Reads on until a line has all these words.
    fn hears(&mut self, words: &[&str]) {
        let has_all = |line: &String| words.iter().all(|word| line.contains(word));
        let found = self.lines.by_ref().map(Result::unwrap).find(has_all);
        assert!(found.is_some(), "{words:?} were not told before the events ended");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn managers(lab: &Lab) -> Vec<u8> {
    let nodes = lab.cluster("/nodes");
    let managers = nodes.as_array().unwrap().iter().filter(|node| node["ManagerStatus"].is_object());
    let mut managers: Vec<u8> = managers.map(number).collect();
    managers.sort_unstable();
    managers
}

fn all_reachable(lab: &Lab) -> bool {
    let nodes = lab.cluster("/nodes");
    let mut managers = nodes.as_array().unwrap().iter().map(|node| &node["ManagerStatus"]);
    managers.all(|status| status.is_null() || status["Reachability"] == "reachable")
}

#[test]
fn roles_change_from_any_managers_socket_and_are_heard_of_at_another() {
    let lab = Lab::with_managers("operate", WORKER, MANAGERS);
    assert_eq!(leader(&lab), 1);
    let mut listener = Listener::new(&lab, 2);
    assert_eq!(
        lab.ctl_on(3, &["node", "promote", "n4"]).ok(),
        "Node n4 promoted to a manager in the swarm.\n"
    );
    assert_eq!(managers(&lab), [1, 2, 3, 4], "it votes when the command returns");
    listener.hears(&["name=n4", "role.old=worker", "role.new=manager"]);

    assert_eq!(lab.ctl_on(1, &["node", "demote", "self"]).ok(), "Manager self demoted in the swarm.\n");
    assert_eq!(managers(&lab), [2, 3, 4]);
    let refused = lab.ctl_on(1, &["node", "ls"]);
    assert!(refused.code == 1 && refused.stderr.contains("Worker nodes can't be used"), "{refused:?}");
    listener.hears(&["leader.old=false", "leader.new=true"]);
    let now = leader(&lab);
    assert_ne!(now, 1);

    lab.fault(&["kill", &format!("n{now}")]);
    if now != 2 {
        listener.hears(&[&format!("name=n{now}"), "state.new=down"]);
    }
    lab.fault(&["start", &format!("n{now}")]);
    lab.wait("every manager to be reachable", || all_reachable(&lab).then_some(()));
    assert_eq!(lab.ctl_on(4, &["node", "demote", "n4"]).ok(), "Manager n4 demoted in the swarm.\n");
    assert_eq!(managers(&lab), [2, 3]);
}

#[test]
fn the_root_is_changed_while_the_cluster_runs() {
    let lab = Lab::with_managers("root", WORKER, MANAGERS);
    let old = lab.ctl(&["swarm", "ca"]).ok();
    let new = lab.ctl_on(2, &["swarm", "ca", "--rotate"]).ok();
    assert!(new.starts_with("-----BEGIN CERTIFICATE-----\n") && new != old, "{new}");
    assert_eq!(lab.ctl_on(3, &["swarm", "ca"]).ok(), new);
    for node in lab.cluster("/nodes").as_array().unwrap() {
        let root = node["Description"]["TLSInfo"]["TrustRoot"].as_str().unwrap();
        assert_eq!((root.trim(), &node["Status"]["State"]), (new.trim(), &Value::from("ready")));
    }
    // The token that is shown from now on names the new root; nodes join by it.
    assert_eq!(lab.lab(&["add"]).ok(), "n5\n");
}
