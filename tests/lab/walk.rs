//! Nodes join, leave, are promoted, demoted, removed and killed at random: there is a leader whenever there is
//! a quorum, and the cluster is whole at the end.
//!
//! `SEED=k` walks one seed again; `make test-long` walks 1,000 steps.

mod model;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::model::{Model, Place, Rng, Step};
use crate::call::{Said, call};
use crate::failover::Raised;
use crate::harness::{Lab, PATIENCE, Ran, count, node_name, number};
use crate::ingress::{on, task_ids};
use crate::traffic::whoami;

const NODES: u8 = 6;
const MANAGERS: u8 = 3;

/// How long there may be no leader.
const LEADERLESS: Duration = Duration::from_secs(3);

#[test]
fn a_random_walk_of_members_is_never_long_without_a_leader() {
    let seed = std::env::var("SEED")
        .ok()
        .map_or_else(|| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    println!("again with SEED={seed}");
    let lab = Lab::with_managers("walk", NODES, MANAGERS);
    lab.ctl(&["service", "create", "--name", "web", "--mode", "global", "-p", "8080:80", "mesh/whoami:1"])
        .ok();
    let watch = Watch::new();
    let done = &AtomicBool::new(false);
    let mut walk = Walk { lab: &lab, model: Model::new(NODES, MANAGERS), rng: Rng::new(seed) };
    thread::scope(|scope| {
        for socket in lab.sockets(1..=NODES) {
            let watch = &watch;
            scope.spawn(move || watch.poll(&socket, done));
        }
        let _stopped = Raised(done);
        for number in 0..count(100, 1_000) {
            let kind = walk.rng.pick(&walk.model.steps());
            let step = walk.rng.pick(&kind);
            watch.during(format!("{number}: {step:?}"));
            walk.take(step);
        }
        watch.during("the end".to_owned());
        walk.finish();
    });
    let (gap, step) = watch.worst();
    println!("longest time without a leader: {gap:?}, in step {step}");
    assert!(gap <= LEADERLESS, "SEED={seed}: no leader for {gap:?} in step {step}");
}

/// When a leader was last seen by anybody: a read that it answered needs one, and a quorum.
struct Watch(Mutex<Seen>);

struct Seen {
    last: Instant,
    step: String,
    worst: (Duration, String),
}

impl Watch {
    fn new() -> Self {
        let worst = (Duration::ZERO, String::new());
        Self(Mutex::new(Seen { last: Instant::now(), step: "start".to_owned(), worst }))
    }

    fn during(&self, step: String) {
        println!("{step}");
        self.0.lock().unwrap().step = step;
    }

    /// Asks one socket again and again. Nodes that are no managers, or not there, just do not count.
    fn poll(&self, socket: &Path, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            if let Said::Answer { status: 200, .. } =
                call(socket, "GET", "/swarm", None, Duration::from_secs(1))
            {
                self.seen();
            }
            thread::sleep(Duration::from_millis(40));
        }
    }

    fn seen(&self) {
        let mut seen = self.0.lock().unwrap();
        let gap = seen.last.elapsed();
        seen.last = Instant::now();
        if gap > seen.worst.0 {
            seen.worst = (gap, seen.step.clone());
        }
    }

    /// The longest time without a leader, that since the last sight of one included, and its step.
    fn worst(&self) -> (Duration, String) {
        self.seen();
        self.0.lock().unwrap().worst.clone()
    }
}

/// A lab and what it should be like.
struct Walk<'a> {
    lab: &'a Lab,
    model: Model,
    rng: Rng,
}

impl Walk<'_> {
    /// Takes a step and waits until the cluster is as it should be after it.
    fn take(&mut self, step: Step) {
        self.model.take(step);
        match step {
            Step::Promote(node) => self.tell(node, &["node", "promote"]),
            Step::Demote(node) => self.tell(node, &["node", "demote"]),
            Step::Kill(node) => self.lab.fault(&["kill", &name(node)]),
            Step::Start(node) => self.start(node),
            Step::Join(node, place) => self.join(node, place),
            Step::Leave(node) => {
                self.leave(node);
                self.forget(node);
            }
            Step::Remove(node) => {
                self.forget(node);
                if self.model.is_up(node) {
                    self.leave(node);
                }
            }
        }
        self.agree();
    }

    /// Brings a killed node back. One that was removed meanwhile is in no cluster any more and has to be told.
    fn start(&mut self, node: u8) {
        self.lab.fault(&["start", &name(node)]);
        if self.model.place(node) == Place::Out {
            self.leave(node);
        }
    }

    /// A manager to ask: any that runs.
    fn through(&mut self) -> u8 {
        let managers = self.model.managers_up();
        self.rng.pick(&managers)
    }

    fn tell(&mut self, node: u8, words: &[&str]) {
        self.insist(&[], |lab, through| {
            let id = ids(lab, node).pop().unwrap_or_default();
            lab.ctl_on(through, &[words, &[&id]].concat())
        });
    }

    fn join(&mut self, node: u8, place: Place) {
        let role = if place == Place::Manager { "manager" } else { "worker" };
        self.insist(&["already part of a swarm"], |lab, through| {
            let token = lab.ctl_on(through, &["swarm", "join-token", "-q", role]);
            if token.code != 0 {
                return token;
            }
            let (own, to) = (address(node), format!("{}:2377", address(through)));
            let join = ["swarm", "join", "--token", token.stdout.trim(), "--advertise-addr", &own, &to];
            lab.ctl_on(node, &join)
        });
    }

    fn leave(&mut self, node: u8) {
        self.insist(&["not part of a swarm"], |lab, _| lab.ctl_on(node, &["swarm", "leave", "--force"]));
    }

    /// Removes every node object of this name.
    fn forget(&mut self, node: u8) {
        for id in ids(self.lab, node) {
            self.insist(&["not found"], |lab, through| lab.ctl_on(through, &["node", "rm", "--force", &id]));
        }
    }

    /// Repeats a command, each time through another manager, until it is done, as a person does who is told that
    /// there is no leader just now.
    fn insist(&mut self, done: &[&str], mut attempt: impl FnMut(&Lab, u8) -> Ran) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let through = self.through();
            let ran = attempt(self.lab, through);
            if ran.code == 0 || done.iter().any(|words| ran.stderr.contains(words)) {
                return;
            }
            assert!(Instant::now() < deadline, "{ran:?}\n{}", self.lab.report());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every manager that runs shows the managers that there should be, reachable if they run, and
    /// the workers.
    fn agree(&self) {
        let (lab, model) = (self.lab, &self.model);
        lab.wait("the cluster to be as it should", || {
            model.managers_up().into_iter().all(|asked| self.shows(asked)).then_some(())
        });
    }

    fn shows(&self, asked: u8) -> bool {
        let Some(nodes) = self.lab.read(asked, "/nodes") else { return false };
        let nodes = nodes.as_array().unwrap();
        let shown: BTreeSet<(u8, Place)> = nodes
            .iter()
            .map(|node| {
                let manager = node["ManagerStatus"]["Addr"].is_string();
                (number(node), if manager { Place::Manager } else { Place::Worker })
            })
            .collect();
        let leaders = nodes.iter().filter(|node| node["ManagerStatus"]["Leader"] == true).count();
        let reachable =
            nodes.iter().filter(|node| node["ManagerStatus"]["Reachability"] == "reachable").count();
        leaders == 1
            && shown.len() == nodes.len()
            && shown == self.model.members()
            && reachable == self.model.managers_up().len()
    }

    /// Brings everything back: the cluster is whole, and serves on each of its nodes.
    fn finish(&mut self) {
        for node in 1..=NODES {
            if !self.model.is_up(node) {
                self.take(Step::Start(node));
            }
        }
        let members: Vec<u8> = self.model.members().into_iter().map(|(node, _)| node).collect();
        let tasks = self.lab.wait("a task on each member", || {
            let tasks = self.lab.running("web");
            let on: BTreeSet<u8> = tasks.iter().map(|task| task.node).collect();
            (tasks.len() == members.len() && on == members.iter().copied().collect()).then_some(())?;
            Some(task_ids(self.lab, "web"))
        });
        for node in members {
            let to = on(node, 8080);
            self.lab.wait("every task to be met through every member", || {
                let ask = || (0..40).map(|_| whoami(to).map(|answer| answer["task"].clone())).collect();
                let met: Result<BTreeSet<String>, _> = self.lab.client(ask);
                (met.ok()? == tasks).then_some(())
            });
        }
        let create = ["service", "create", "--name", "last", "--replicas", "2", "mesh/whoami:1"];
        let through = self.through();
        self.lab.ctl_on(through, &create).ok();
    }
}

fn name(node: u8) -> String {
    node_name(node).to_string()
}

fn address(node: u8) -> String {
    node_name(node).address().to_string()
}

/// The ids of the node objects with a node's name.
fn ids(lab: &Lab, node: u8) -> Vec<String> {
    let nodes = lab.cluster("/nodes");
    let same = nodes.as_array().unwrap().iter().filter(|found| number(found) == node);
    same.map(|found| found["ID"].as_str().unwrap().to_owned()).collect()
}
