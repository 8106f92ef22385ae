//! What a cluster should be like, and which steps leave it a quorum.

use std::collections::{BTreeMap, BTreeSet};

/// What a node is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Out,
    Worker,
    Manager,
}

/// What may happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Promote(u8),
    Demote(u8),
    Join(u8, Place),
    Leave(u8),
    /// `node rm --force`.
    Remove(u8),
    /// Its daemon ends by SIGKILL.
    Kill(u8),
    Start(u8),
}

/// Most managers.
const MANAGERS: usize = 5;

/// The nodes, by number.
#[derive(Debug, Clone)]
pub struct Model(BTreeMap<u8, Node>);

#[derive(Debug, Clone, Copy)]
struct Node {
    place: Place,
    up: bool,
}

impl Model {
    pub fn new(nodes: u8, managers: u8) -> Self {
        let place = |node| if node <= managers { Place::Manager } else { Place::Worker };
        Self((1..=nodes).map(|node| (node, Node { place: place(node), up: true })).collect())
    }

    pub fn place(&self, node: u8) -> Place {
        self.0[&node].place
    }

    pub fn is_up(&self, node: u8) -> bool {
        self.0[&node].up
    }

    pub fn managers_up(&self) -> Vec<u8> {
        let up = self.0.iter().filter(|(_, node)| node.up && node.place == Place::Manager);
        up.map(|(number, _)| *number).collect()
    }

    pub fn members(&self) -> BTreeSet<(u8, Place)> {
        let members = self.0.iter().filter(|(_, node)| node.place != Place::Out);
        members.map(|(number, node)| (*number, node.place)).collect()
    }

    fn managers(&self) -> usize {
        self.0.values().filter(|node| node.place == Place::Manager).count()
    }

    fn has_quorum(&self) -> bool {
        2 * self.managers_up().len() > self.managers()
    }

    /// The steps that can be taken now and leave a quorum.
    pub fn steps(&self) -> Vec<Vec<Step>> {
        let numbers: Vec<u8> = self.0.keys().copied().collect();
        let kinds: [fn(u8) -> Step; 8] = [
            Step::Promote,
            Step::Demote,
            |node| Step::Join(node, Place::Worker),
            |node| Step::Join(node, Place::Manager),
            Step::Leave,
            Step::Remove,
            Step::Kill,
            Step::Start,
        ];
        let allowed = |kind: fn(u8) -> Step| {
            numbers.iter().map(|node| kind(*node)).filter(|step| self.allows(*step)).collect::<Vec<_>>()
        };
        kinds.into_iter().map(allowed).filter(|steps| !steps.is_empty()).collect()
    }

    fn allows(&self, step: Step) -> bool {
        let room = self.managers() < MANAGERS;
        let fits = match step {
            Step::Promote(node) => room && self.is(node, Place::Worker) && self.is_up(node),
            Step::Demote(node) => self.is(node, Place::Manager),
            Step::Join(node, place) => {
                (room || place == Place::Worker) && self.is(node, Place::Out) && self.is_up(node)
            }
            Step::Leave(node) => !self.is(node, Place::Out) && self.is_up(node),
            Step::Remove(node) => !self.is(node, Place::Out),
            Step::Kill(node) => self.is_up(node) && !self.is(node, Place::Out),
            Step::Start(node) => !self.is_up(node),
        };
        let mut after = self.clone();
        after.take(step);
        fits && after.has_quorum()
    }

    fn is(&self, node: u8, place: Place) -> bool {
        self.place(node) == place
    }

    pub fn take(&mut self, step: Step) {
        let (number, place, up) = match step {
            Step::Promote(node) => (node, Some(Place::Manager), None),
            Step::Demote(node) => (node, Some(Place::Worker), None),
            Step::Join(node, place) => (node, Some(place), None),
            Step::Leave(node) | Step::Remove(node) => (node, Some(Place::Out), None),
            Step::Kill(node) => (node, None, Some(false)),
            Step::Start(node) => (node, None, Some(true)),
        };
        let node = self.0.get_mut(&number).unwrap();
        node.place = place.unwrap_or(node.place);
        node.up = up.unwrap_or(node.up);
    }
}

/// splitmix64 (Steele, Lea, Flood 2014).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn under(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    /// One of `items`, of which there must be one.
    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.under(items.len())].clone()
    }
}

#[test]
fn walks_keep_a_quorum_and_meet_every_kind_of_step() {
    for seed in 0..20 {
        let (mut model, mut rng) = (Model::new(6, 3), Rng::new(seed));
        let mut met = BTreeSet::new();
        for _ in 0..100 {
            let kind = rng.pick(&model.steps());
            let step = rng.pick(&kind);
            model.take(step);
            assert!(model.has_quorum(), "{step:?} leads to {model:?}");
            assert!((1..=MANAGERS).contains(&model.managers()), "{model:?}");
            met.insert(format!("{step:?}").split('(').next().unwrap().to_owned());
        }
        assert_eq!(met.len(), 7, "seed {seed}");
    }
}
