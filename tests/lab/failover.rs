//! The leader is lost again and again under writes and traffic: nothing acknowledged is lost, the next write
//! waits two seconds at most, and no packet waits at all.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Lab, node_name, number};
use crate::ingress::on;
use crate::names::addresses;
use crate::traffic::{Load, Places, flawless, load, load_places};
use crate::writing::{Count, Timeline, count_up, create, shown};

/// How long the next write may wait.
const NEXT_WRITE: Duration = Duration::from_secs(2);

/// Compare-and-set updates a second that eight clients do together, outages included.
const UPDATES: u128 = 50;

/// Services that are created between one fault and the next: two seconds of them.
const BETWEEN: usize = 40;

/// How the leader is lost, in turn. Of the first two its node serves on: only the daemon is gone.
const FAULTS: [&str; 4] = ["kill", "stop", "crash", "isolate"];

/// Nodes that run what traffic goes to, beside the managers.
const WORKERS: u8 = 2;

#[test]
fn three_managers_lose_their_leader_and_nothing_else() {
    Trial::new("fail3", 3).run(20);
}

#[test]
fn five_managers_lose_their_leader_and_nothing_else() {
    Trial::new("fail5", 5).run(20);
}

/// A lab with traffic in it, and the clients' common account.
struct Trial {
    lab: Lab,
    managers: u8,
    places: Places,
    acks: Timeline,
    stop: AtomicBool,
}

/// What the clients were told.
struct Told {
    created: Vec<String>,
    count: Count,
    loads: Vec<Load>,
    outages: Vec<(&'static str, Duration)>,
    lasted: Duration,
}

impl Trial {
    fn new(name: &str, managers: u8) -> Self {
        let lab = Lab::with_managers(name, managers + WORKERS, managers);
        lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
        let on_workers = ["--network", "app", "--constraint", "node.role==worker"];
        let web: &[&str] = &["--replicas", "4", "-p", "8080:80"];
        for (name, more) in [("web", web), ("probe", &["--mode", "global"])] {
            let create = [&["service", "create", "--name", name], more, &on_workers].concat();
            lab.ctl(&[&create[..], &["mesh/whoami:1"]].concat()).ok();
        }
        lab.ctl(&["service", "create", "--name", "counter", "--replicas", "0", "mesh/whoami:1"]).ok();
        let places = Places::new((1..=managers + WORKERS).map(|node| on(node, 8080)));
        Self { lab, managers, places, acks: Timeline::default(), stop: AtomicBool::new(false) }
    }

    fn run(self, faults: usize) {
        let before = self.tasks();
        let told = self.under_load(faults);
        println!("{} managers: next write after {:?}", self.managers, told.outages);
        let rate = u128::from(told.count.acknowledged) * 1000 / told.lasted.as_millis().max(1);
        println!("{} services, {:?}: {rate} updates a second", told.created.len(), told.count);
        assert!(flawless(&told.loads) > 100 * faults, "too little traffic to tell");
        let late: Vec<_> = told.outages.iter().filter(|(_, outage)| *outage > NEXT_WRITE).collect();
        assert!(late.is_empty(), "the next write came too late: {late:?}");
        self.check_services(&told.created);
        self.check_counter(told.count);
        assert_eq!(self.tasks(), before, "the tasks that served were left alone");
        assert!(rate >= UPDATES, "only {rate} compare-and-set updates a second");
    }

    /// Loses the leader so many times while everybody writes and asks.
    fn under_load(&self, faults: usize) -> Told {
        let sockets = &self.lab.sockets(1..=self.managers);
        let probes = self.lab.running("probe");
        let (lab, stop) = (&self.lab, &self.stop);
        thread::scope(|scope| {
            let start = Instant::now();
            let writers: Vec<_> =
                (0..4).map(|id| scope.spawn(move || create(id, 5, sockets, &self.acks, stop))).collect();
            let counters: Vec<_> =
                (0..8).map(|id| scope.spawn(move || count_up(id, 15, sockets, "counter", stop))).collect();
            let mut loads: Vec<_> = (0..2)
                .map(|_| scope.spawn(move || lab.client(|| load_places(&self.places, 50, stop))))
                .collect();
            loads.extend(probes.iter().map(|probe| {
                scope.spawn(move || {
                    lab.inside_task(probe.node, &probe.id, || {
                        load(&[SocketAddrV4::new(vip("web"), 80)], 50, stop)
                    })
                })
            }));
            let _stopped = Raised(stop);
            let outages = (0..faults).map(|round| self.lose_leader(FAULTS[round % 4])).collect();
            stop.store(true, Ordering::Relaxed);
            let lasted = start.elapsed();
            Told {
                created: writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect(),
                count: counters.into_iter().map(|counter| counter.join().unwrap()).sum(),
                loads: loads.into_iter().map(|load| load.join().unwrap()).collect(),
                outages,
                lasted,
            }
        })
    }

    /// Loses a leader that has led for a while, waits for the next write, and brings the manager back.
    fn lose_leader(&self, fault: &'static str) -> (&'static str, Duration) {
        assert!(self.acks.grows(BETWEEN), "the cluster works\n{}", self.lab.report());
        let leader = leader(&self.lab);
        let node = node_name(leader).to_string();
        let gone = ["crash", "isolate"].contains(&fault);
        if gone {
            self.places.remove(on(leader, 8080));
        }
        let start = Instant::now();
        self.lab.fault(&[fault, &node]);
        let outage = self.acks.outage((start, Instant::now()));
        let outage = outage.unwrap_or_else(|| panic!("no write after {fault} {node}\n{}", self.lab.report()));
        let back = if fault == "isolate" { vec!["heal"] } else { vec!["start", &node] };
        self.lab.fault(&back);
        self.lab.wait("every manager to count again", || whole(&self.lab, self.managers).then_some(()));
        if gone {
            let to = on(leader, 8080);
            self.lab.wait("its node to serve", || self.lab.client(|| crate::traffic::whoami(to)).ok());
            self.places.add(to);
        }
        (fault, outage)
    }

    fn tasks(&self) -> Vec<(String, u8, i64)> {
        let services = ["web", "probe"].into_iter();
        let tasks = services.flat_map(|service| self.lab.running(service));
        tasks.map(|task| (task.id, task.node, task.pid)).collect()
    }

    /// Every manager shows each acknowledged service once, and those that want a task have one.
    fn check_services(&self, created: &[String]) {
        for node in 1..=self.managers {
            let listed = self.lab.api(node, "/services");
            let mut times = BTreeMap::<&str, usize>::new();
            for service in listed.as_array().unwrap() {
                *times.entry(service["Spec"]["Name"].as_str().unwrap()).or_default() += 1;
            }
            let wrong: Vec<_> =
                created.iter().filter(|name| times.get(name.as_str()) != Some(&1)).take(5).collect();
            assert!(wrong.is_empty(), "n{node} does not show exactly once: {wrong:?}");
        }
        self.lab.wait("every service to have its tasks", || {
            let listed = self.lab.cluster("/services?status=true");
            listed
                .as_array()
                .unwrap()
                .iter()
                .all(|service| {
                    let status = &service["ServiceStatus"];
                    status["RunningTasks"] == status["DesiredTasks"]
                })
                .then_some(())
        });
    }

    /// What was acknowledged was counted, and nothing was counted that nobody asked for.
    fn check_counter(&self, count: Count) {
        for node in 1..=self.managers {
            let shown = shown(&self.lab.api(node, "/services/counter"));
            let possible = count.acknowledged..=count.acknowledged + count.unknown;
            assert!(possible.contains(&shown), "n{node} counts {shown}, not within {possible:?}");
        }
    }
}

/// The clients stop also when the test fails: their threads are waited for.
pub struct Raised<'a>(pub &'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The virtual address of a service, asked from within a task.
pub fn vip(service: &str) -> Ipv4Addr {
    let found = addresses(service);
    assert_eq!(found.len(), 1, "{service}: {found:?}");
    found[0]
}

/// The manager that leads, as the managers that can tell say.
pub fn leader(lab: &Lab) -> u8 {
    lab.wait("a leader", || {
        let nodes = lab.cluster("/nodes");
        nodes.as_array().unwrap().iter().find(|node| node["ManagerStatus"]["Leader"] == true).map(number)
    })
}

/// Whether each of the first `managers` nodes says that all of them are there and one leads.
pub fn whole(lab: &Lab, managers: u8) -> bool {
    (1..=managers).all(|asked| {
        let Some(nodes) = lab.read(asked, "/nodes") else { return false };
        let nodes = nodes.as_array().unwrap();
        let reachable = |node: u8| {
            nodes.iter().any(|found| {
                number(found) == node
                    && found["Status"]["State"] == "ready"
                    && found["ManagerStatus"]["Reachability"] == "reachable"
            })
        };
        let leaders = nodes.iter().filter(|node| node["ManagerStatus"]["Leader"] == true).count();
        leaders == 1 && (1..=managers).all(reachable)
    })
}
