//! One walk at random: a few services are made, updated, rolled back and scaled, while nodes come and go. It ends
//! with everything mended, and then every service has to come to rest as its spec says.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use mesh_core::id::{Entropy, NodeId, ServiceId};
use mesh_core::object::{NodeState, Service, Task, TaskState, UpdateState};
use mesh_core::spec::{
    Availability, FailureAction, RestartPolicy, ServiceMode, ServiceSpec, UpdateConfig, UpdateOrder,
};
use mesh_core::testing::{Behaviour, Seeded, VirtualCluster, service_spec};

use crate::images::Image;
use crate::rules::{LONG, Rules, is_terminal, serves};

/// Steps of a walk.
const STEPS: u64 = 12;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Update { service: usize, image: Image },
    Force { service: usize },
    Rollback { service: usize },
    Scale { service: usize, replicas: u32 },
    Silence { node: usize },
    Resume { node: usize },
    Availability { node: usize, availability: Availability },
    NewLeader,
    Losses { percent: u64 },
}

struct Walk {
    cluster: VirtualCluster,
    rules: RefCell<Rules>,
    rng: Seeded,
    nodes: Vec<NodeId>,
    services: Vec<ServiceId>,
    version: u64,
    loud: bool,
}

/// Walks `seed`; `loud` tells each step.
pub fn run(seed: u64, loud: bool) {
    let mut rng = Seeded(seed);
    let calm = rng.below(2) == 0;
    let nodes = 2 + u32::try_from(rng.below(6)).unwrap();
    let cluster = VirtualCluster::new(nodes, seed);
    let rules = RefCell::new(Rules { loud, ..Rules::new(calm) });
    let ids = (1..=nodes).map(|node| NodeId::from_bits(u128::from(node))).collect();
    let mut walk = Walk { cluster, rules, rng, nodes: ids, services: Vec::new(), version: 1, loud };
    walk.begin();
    for _ in 0..STEPS {
        let step = if calm { walk.calm_step() } else { walk.any_step() };
        walk.take(step);
        let pause = [0, 3, 20, 500, 3_000, 10_000, 30_000][walk.pick(7)];
        walk.pass(Duration::from_millis(pause));
        if calm {
            walk.until_terminal();
        }
    }
    walk.end();
}

impl Walk {
    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).unwrap()
    }

    fn pass(&mut self, span: Duration) {
        let rules = &self.rules;
        let end = self.cluster.now + span;
        let _ = self.cluster.run_until(span, |cluster| {
            rules.borrow_mut().look(&cluster.store);
            false
        });
        self.cluster.run_for(end.since(self.cluster.now));
    }

    fn begin(&mut self) {
        let stop = Duration::from_millis([20, 500, 3_000][self.pick(3)]);
        let linger = Duration::from_millis([0, 500, 5_000][self.pick(3)]);
        self.cluster.behave(Behaviour { stop, linger, ..Behaviour::default() });
        for number in 0..=self.pick(3) {
            let replicas = 1 + u32::try_from(self.pick(6)).unwrap();
            let spec = self.spec(&format!("s{number}"), replicas);
            let id = self.cluster.create_service(spec).unwrap();
            self.services.push(id);
        }
        self.pass(Duration::from_secs(2));
    }

    fn spec(&mut self, name: &str, replicas: u32) -> ServiceSpec {
        let mut spec = service_spec(name, replicas);
        if self.pick(4) == 0 {
            spec.mode = ServiceMode::Global;
        }
        let order = [UpdateOrder::StopFirst, UpdateOrder::StartFirst][self.pick(2)];
        spec.update = self.config(order, 3);
        spec.rollback = self.config(order, 2);
        spec.task.restart = RestartPolicy {
            delay: Duration::from_millis([200, 1_000, 5_000][self.pick(3)]),
            ..RestartPolicy::default()
        };
        spec.task.container.image = Image::Good.version(1);
        spec.labels.insert("mesh.drain".to_owned(), ["0s", "100ms", "2s"][self.pick(3)].to_owned());
        spec
    }

    fn config(&mut self, order: UpdateOrder, actions: usize) -> UpdateConfig {
        UpdateConfig {
            parallelism: self.rng.below(4),
            delay: Duration::from_millis([0, 50, 2_000][self.pick(3)]),
            failure_action: [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback]
                [self.pick(actions)],
            monitor: Duration::from_millis([0, 1_000, 5_000][self.pick(3)]),
            max_failure_ratio: [0.0, 0.3, 1.0][self.pick(3)],
            order,
        }
    }

    /// A step that takes nothing away from services that work.
    fn calm_step(&mut self) -> Step {
        let service = self.pick(self.services.len());
        match self.pick(6) {
            0 => Step::Force { service },
            1 => Step::Rollback { service },
            2 => Step::NewLeader,
            _ => Step::Update { service, image: Image::Good },
        }
    }

    fn any_step(&mut self) -> Step {
        let (service, node) = (self.pick(self.services.len()), self.pick(self.nodes.len()));
        let availability = [Availability::Active, Availability::Pause, Availability::Drain][self.pick(3)];
        match self.pick(14) {
            0 => Step::Silence { node },
            1 | 2 => Step::Resume { node },
            3 | 4 => Step::Availability { node, availability },
            5 => Step::NewLeader,
            6 => Step::Losses { percent: [0, 10, 30][self.pick(3)] },
            7 => Step::Force { service },
            8 => Step::Rollback { service },
            9 => Step::Scale { service, replicas: u32::try_from(self.pick(9)).unwrap() },
            10 => Step::Update { service, image: Image::BAD[self.pick(3)] },
            _ => Step::Update { service, image: Image::Good },
        }
    }

    fn take(&mut self, step: Step) {
        if self.loud {
            println!("{:?}: {step:?}", self.cluster.now);
        }
        match step {
            Step::Update { service, image } => {
                self.version += 1;
                let image = image.publish(&mut self.cluster, self.version);
                self.update(service, |spec| spec.task.container.image = image);
            }
            Step::Force { service } => self.update(service, |spec| spec.task.force_update += 1),
            Step::Rollback { service } => self.roll_back(service),
            Step::Scale { service, replicas } => self.update(service, |spec| {
                if let ServiceMode::Replicated { replicas: now } = &mut spec.mode {
                    *now = replicas;
                }
            }),
            Step::Silence { node } => {
                let node = self.nodes[node];
                self.rules.borrow_mut().doubted.insert(node);
                self.cluster.silence(node);
            }
            Step::Resume { node } => self.cluster.resume(self.nodes[node]),
            Step::Availability { node, availability } => {
                self.cluster.update_node(self.nodes[node], |spec| spec.availability = availability).unwrap();
            }
            Step::NewLeader => self.cluster.new_leader(),
            Step::Losses { percent } => self.cluster.loss = percent,
        }
    }

    fn update(&mut self, service: usize, change: impl FnOnce(&mut ServiceSpec)) {
        self.cluster.update_service(self.services[service], change).unwrap();
    }

    /// Goes back; where there is nothing to go back to that is said.
    fn roll_back(&mut self, service: usize) {
        let id = self.services[service];
        let before = self.service(id);
        match self.cluster.rollback_service(id) {
            Ok(()) => {
                let previous = *before.previous_spec.expect("something to go back to");
                assert_eq!(self.service(id).spec, previous, "a rollback gives the previous spec");
            }
            Err(_) => assert!(before.previous_spec.is_none(), "there was a previous spec"),
        }
    }

    fn service(&self, id: ServiceId) -> Service {
        Service::clone(self.cluster.store.service(id).expect("a service"))
    }

    fn until_terminal(&mut self) {
        let rules = &self.rules;
        let done = self.cluster.run_until(LONG, |cluster| {
            rules.borrow_mut().look(&cluster.store);
            cluster.store.services().all(|service| is_terminal(service))
        });
        assert!(done.is_some(), "an update comes to its end: {:?}", self.updates());
        if rules.borrow().calm {
            self.pass(Duration::from_secs(10));
            self.is_spread();
        }
    }

    /// Nothing but updates befell them, so every service is spread over all nodes.
    fn is_spread(&self) {
        for service in self.cluster.store.services().filter(|service| !service.spec.mode.is_global()) {
            let live = self.cluster.live(service.id);
            let on = |node: &NodeId| live.iter().filter(|task| task.node == Some(*node)).count();
            let counts: Vec<usize> = self.nodes.iter().map(on).collect();
            let (most, fewest) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            assert!(most - fewest <= 1, "{} is spread {counts:?}", service.spec.name);
        }
    }

    fn updates(&self) -> Vec<String> {
        let show = |service: &std::sync::Arc<Service>| format!("{}: {:?}", service.spec.name, service.update);
        self.cluster.store.services().map(show).collect()
    }

    /// Mends everything; then all has to come to rest.
    fn end(&mut self) {
        self.cluster.loss = 0;
        for node in self.nodes.clone() {
            self.cluster.resume(node);
            self.cluster.update_node(node, |spec| spec.availability = Availability::Active).unwrap();
        }
        self.until_terminal();
        self.pass(Duration::from_secs(30));
        assert!(self.cluster.store.services().all(|service| is_terminal(service)), "{:?}", self.updates());
        self.settled();
        for id in self.services.clone() {
            self.check_end(id);
        }
        // A good image at the end is served by every task, whatever was before.
        self.version += 1;
        for service in 0..self.services.len() {
            let image = Image::Good.publish(&mut self.cluster, self.version);
            self.update(service, |spec| spec.task.container.image = image);
        }
        self.until_terminal();
        self.pass(Duration::from_secs(30));
        for id in self.services.clone() {
            let service = self.service(id);
            let state = service.update.as_ref().map(|update| update.state);
            let none = self.wanted(&service) == 0;
            assert!(none || state == Some(UpdateState::Completed), "{}: {state:?}", service.spec.name);
            let live = self.cluster.live(id);
            assert!(live.iter().all(|task| task.spec.container.image == service.spec.task.container.image));
            assert_eq!(self.cluster.running(id), self.wanted(&service), "{}", service.spec.name);
        }
        self.cluster.check_assignments();
    }

    /// Every node is Ready.
    fn settled(&mut self) {
        let ready = |cluster: &VirtualCluster| {
            cluster.store.nodes().all(|node| node.status.state == NodeState::Ready)
        };
        assert!(self.cluster.run_until(LONG, ready).is_some(), "every node is back");
    }

    fn wanted(&self, service: &Service) -> usize {
        match service.spec.mode {
            ServiceMode::Replicated { replicas } => usize::try_from(replicas).unwrap(),
            _ => self.nodes.len(),
        }
    }

    /// What an update or rollback ended as shows in the tasks. With an image that does not run, tasks that follow
    /// one another, and old ones that wait for them, may be there.
    fn check_end(&self, id: ServiceId) {
        let service = self.service(id);
        let live = self.cluster.live(id);
        let stuck = |task: &Task| task.status.state < TaskState::Assigned;
        assert!(!live.iter().any(stuck), "{}: every task has a node", service.spec.name);
        let good = service.spec.task.container.image.starts_with("good");
        let state = service.update.as_ref().map(|update| update.state);
        let done = matches!(state, None | Some(UpdateState::Completed | UpdateState::RollbackCompleted));
        if !(done && good) {
            return;
        }
        let (old, new) = (|task: &Task| task.spec.force_update, service.spec.task.force_update);
        let image = &service.spec.task.container.image;
        let is_new = |task: &Task| task.spec.container.image == *image && old(task) == new;
        let all = live.iter().all(|task| is_new(task) && serves(task));
        let shown: Vec<_> =
            live.iter().map(|task| (task.name(), task.spec_version, task.status.state)).collect();
        assert!(
            all,
            "{}: {state:?}, and not every task serves as the spec says: {shown:?}",
            service.spec.name
        );
        let place = |task: &Task| (task.slot, task.node.filter(|_| task.slot == 0));
        let places: BTreeSet<_> = live.iter().map(place).collect();
        assert_eq!(places.len(), live.len(), "{}: one live task a place", service.spec.name);
        assert_eq!(live.len(), self.wanted(&service), "{}: {:?}", service.spec.name, service.update);
    }
}
