//! What this crate's tests share: directories that go away, transactions, and a group of replicas whose
//! network is a queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh_core::id::NodeId;
use mesh_core::object::{Node as NodeObject, NodeState, NodeStatus};
use mesh_core::store::{Expect, Object, Store, Transaction, Write};
use mesh_core::time::Timestamp;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use crate::disk::{MemoryDisk, Saved};
use crate::envelope::{self, ProposalId};
use crate::members::{ChangeOutcome, ChangeRefused, MemberChange};
use crate::node::{Input, Refused};
use crate::replica::{Driver, Effects, FlushError, Outcome, Outlet, ReadId, Replica, Settings, genesis};

/// A directory that goes with its owner.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mesh-raft-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("raft.redb")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes the node object `number`, which must not be there yet.
pub(crate) fn put(number: u128) -> Transaction {
    let addr = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
    let node = NodeObject {
        id: NodeId::from_bits(number),
        meta: mesh_core::object::Meta::default(),
        spec: mesh_core::spec::NodeSpec::default(),
        description: mesh_core::object::NodeDescription::default(),
        status: NodeStatus { state: NodeState::Unknown, message: String::new(), addr, data_path_addr: addr },
        issuer: [0; 32],
        manager: None,
    };
    let object = Object::Node(Arc::new(node));
    Transaction { at: Timestamp(1), writes: vec![Write::Put { object, expect: Expect::New }] }
}

pub(crate) fn has(store: &Store, number: u128) -> bool {
    store.node(NodeId::from_bits(number)).is_some()
}

/// The disk that each of `voters` begins with.
pub(crate) fn first_disk(node: u64, voters: &[u64]) -> Saved {
    genesis(node, voters, &Store::default()).expect("an empty store")
}

/// What came out of one replica.
#[derive(Default)]
pub(crate) struct Seen {
    pub messages: Vec<Message>,
    pub outcomes: Vec<(ProposalId, Outcome)>,
    pub reads: Vec<ReadId>,
    pub applied: Vec<(u64, bool)>,
    pub changes: Vec<(ProposalId, ChangeOutcome)>,
}

impl Outlet for Seen {
    fn send(&mut self, messages: Vec<Message>) {
        self.messages.extend(messages);
    }

    fn settle(&mut self, _replica: &Replica, effects: Effects) {
        self.applied.extend(effects.committed.iter().map(|entry| (entry.index, entry.replaced)));
        self.outcomes.extend(effects.outcomes);
        self.reads.extend(effects.reads);
        self.changes.extend(effects.changes);
    }
}

/// One replica with its disk.
pub(crate) struct Member {
    pub driver: Driver,
    pub disk: MemoryDisk,
    pub seen: Seen,
}

impl Member {
    pub fn flush(&mut self) -> Result<(), FlushError> {
        self.driver.flush(&mut self.disk, &mut self.seen)
    }

    pub fn replica(&self) -> &Replica {
        self.driver.replica()
    }
}

/// Replicas and the messages between them.
pub(crate) struct Group {
    pub members: BTreeMap<u64, Member>,
    pub settings: Settings,
    /// Nobody hears these, nor do they hear anybody.
    pub isolated: BTreeSet<u64>,
    /// Messages of these kinds are lost.
    pub lost: Vec<MessageType>,
    /// Every message that arrived.
    pub trace: Vec<String>,
    queue: VecDeque<Message>,
    proposals: u128,
}

impl Group {
    pub fn new(voters: &[u64], settings: Settings) -> Self {
        let mut group = Self {
            members: BTreeMap::new(),
            settings,
            isolated: BTreeSet::new(),
            lost: Vec::new(),
            trace: Vec::new(),
            queue: VecDeque::new(),
            proposals: 0,
        };
        for id in voters {
            group.start(first_disk(*id, voters));
        }
        group.deliver();
        group
    }

    pub fn start(&mut self, saved: Saved) {
        let disk = MemoryDisk::create(saved.clone());
        let id = saved.node;
        let driver = Driver::new(Replica::new(saved, self.settings).expect("a sound disk"));
        self.members.insert(id, Member { driver, disk, seen: Seen::default() });
    }

    /// A power cut, and back.
    pub fn restart(&mut self, id: u64) {
        let mut member = self.members.remove(&id).expect("a member");
        self.settings.seed += 1;
        self.start(member.disk.crash());
        self.deliver();
    }

    pub fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).expect("a member")
    }

    /// Delivers until nothing is on its way.
    pub fn deliver(&mut self) {
        self.deliver_some(usize::MAX);
    }

    /// Delivers this many messages, if there are as many.
    pub fn deliver_some(&mut self, count: usize) {
        for _ in 0..count {
            for member in self.members.values_mut() {
                member.flush().expect("a sound disk");
                self.queue.extend(member.seen.messages.drain(..));
            }
            let Some(message) = self.queue.pop_front() else { return };
            let cut = self.isolated.contains(&message.to) || self.isolated.contains(&message.from);
            if cut || self.lost.contains(&message.get_msg_type()) {
                continue;
            }
            self.trace.push(format!("{message:?}"));
            let to = message.to;
            if let Some(member) = self.members.get_mut(&to) {
                let taken = member.driver.replica_mut().step(Input::Message(Box::new(message)));
                assert!(!matches!(taken, Err(Refused::Stalled)));
            }
        }
    }

    pub fn tick(&mut self, ticks: usize) {
        for _ in 0..ticks {
            for member in self.members.values_mut() {
                member.driver.replica_mut().step(Input::Tick).expect("ticks are taken");
            }
            self.deliver();
        }
    }

    /// The leader of those that hear each other, once there is one.
    pub fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            self.tick(1);
            let leads = |(id, member): (&u64, &Member)| {
                (!self.isolated.contains(id) && member.replica().leads()).then_some(*id)
            };
            if let Some(leader) = self.members.iter().find_map(leads) {
                return leader;
            }
        }
        panic!("no leader within 200 ticks");
    }

    /// Hands a transaction to a member; nothing is delivered yet.
    pub fn propose(&mut self, at: u64, transaction: &Transaction) -> Result<ProposalId, Refused> {
        self.proposals += 1;
        let id = ProposalId(self.proposals);
        let entry = envelope::encode(id, transaction).expect("encodes");
        self.member(at).driver.replica_mut().propose(id, entry).map(|()| id)
    }

    /// A transaction that is committed when this returns.
    pub fn commit(&mut self, at: u64, transaction: &Transaction) {
        let id = self.propose(at, transaction).expect("the leader takes it");
        self.deliver();
        let outcome = self.outcome(at, id);
        assert!(matches!(outcome, Some(Outcome::Committed(_))), "{outcome:?}");
    }

    /// Asks a member for a change of the members; nothing is delivered yet.
    pub fn change(
        &mut self,
        at: u64,
        change: MemberChange,
        force: bool,
    ) -> Result<ProposalId, ChangeRefused> {
        self.proposals += 1;
        let id = ProposalId(self.proposals);
        self.member(at).driver.replica_mut().change(id, change, force).map(|()| id)
    }

    /// A change that is made when this returns.
    pub fn make(&mut self, at: u64, change: MemberChange) {
        let id = self.change(at, change, false).expect("the leader takes it");
        self.deliver();
        // Raft sends the entry that leaves the joint configuration with the next heartbeat.
        self.tick(5);
        assert!(self.member(at).seen.changes.contains(&(id, ChangeOutcome::Made)), "{change:?}");
    }

    pub fn outcome(&mut self, at: u64, id: ProposalId) -> Option<Outcome> {
        let outcomes = &self.member(at).seen.outcomes;
        outcomes.iter().find(|(found, _)| *found == id).map(|(_, outcome)| outcome.clone())
    }

    pub fn role(&self, id: u64) -> StateRole {
        self.members[&id].replica().standing().role
    }

    /// Every member has applied the same and has the same store.
    pub fn assert_equal(&self) {
        let mut states = self
            .members
            .values()
            .map(|member| (member.replica().applied(), member.replica().store().digest()));
        let first = states.next().expect("a member");
        assert!(states.all(|state| state == first));
    }
}
