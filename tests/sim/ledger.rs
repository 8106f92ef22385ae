//! What must never happen, looked for after every step from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_core::id::{NetworkId, ServiceId, TaskId};
use mesh_core::object::TaskState;
use mesh_core::port::{Port, Protocol, PublishMode};
use mesh_core::store::{Change, Store};
use mesh_raft::members::Members;

/// A promise that was broken.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    #[error("managers {one} and {other} both lead in term {term}")]
    TwoLeaders { term: u64, one: u64, other: u64 },
    #[error("manager {manager} has another store at entry {index} than manager {other} had")]
    Diverged { index: u64, manager: u64, other: u64 },
    #[error("manager {manager} leads without entry {acked}, which was acknowledged (it has {applied})")]
    Forgotten { manager: u64, acked: u64, applied: u64 },
    #[error(
        "a read begun after entry {acked} was acknowledged was answered at {applied} by manager {manager}"
    )]
    StaleRead { manager: u64, acked: u64, applied: u64 },
    #[error("{what} was acknowledged and is not there")]
    Lost { what: String },
    #[error("task {task} went back from {from:?} to {to:?}")]
    Backwards { task: TaskId, from: TaskState, to: TaskState },
    #[error("{what} was given to {one} and to {other}")]
    Twice { what: String, one: String, other: String },
    #[error("manager {manager} stopped: {reason}")]
    Stopped { manager: u64, reason: String },
    #[error("something panicked; its words are above")]
    Panic,
    #[error("manager {manager} knows other members at entry {index} than manager {other} did")]
    Members { index: u64, manager: u64, other: u64 },
    #[error("nobody leads for {seconds} s while a quorum is up")]
    NoLeader { seconds: u64 },
    #[error("the managers are between two configurations for {seconds} s while a quorum is up")]
    Joint { seconds: u64 },
    #[error("no rest after the faults ended: {what}")]
    NoRest { what: String },
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Ledger {
    leaders: BTreeMap<u64, u64>,
    digests: BTreeMap<u64, ([u8; 32], u64)>,
    /// The last entry that a manager acknowledged in each term.
    acked: BTreeMap<u64, u64>,
    /// Who belonged to the group at each entry, and who said so.
    members: BTreeMap<u64, (Members, u64)>,
    vnis: BTreeMap<u32, NetworkId>,
    endpoints: BTreeMap<u32, TaskId>,
}

impl Ledger {
    /// The last entry whose proposer was told that it is committed.
    pub fn acked(&self) -> u64 {
        self.acked.values().copied().max().unwrap_or(0)
    }

    /// A proposer was told so by a manager in `term`.
    pub fn acknowledge(&mut self, term: u64, index: u64) {
        let acked = self.acked.entry(term).or_default();
        *acked = index.max(*acked);
    }

    /// `manager` is leader in `term` by raft's own word.
    pub fn leads(&mut self, manager: u64, term: u64) -> Result<(), Violation> {
        let one = *self.leaders.entry(term).or_insert(manager);
        if one == manager { Ok(()) } else { Err(Violation::TwoLeaders { term, one, other: manager }) }
    }

    /// `manager` leads in `term` and takes writes, with a store up to `applied`. It has everything that was
    /// acknowledged in its term and before; of later ones a leader that is cut off cannot know.
    pub fn serves(&self, manager: u64, term: u64, applied: u64) -> Result<(), Violation> {
        let acked = self.acked.range(..=term).map(|(_, index)| *index).max().unwrap_or(0);
        if applied >= acked { Ok(()) } else { Err(Violation::Forgotten { manager, acked, applied }) }
    }

    /// `manager` has applied entry `index`, and its store is now `store`.
    pub fn applied(&mut self, manager: u64, index: u64, store: &Store) -> Result<(), Violation> {
        let digest = store.digest();
        let (first, other) = *self.digests.entry(index).or_insert((digest, manager));
        if first != digest {
            return Err(Violation::Diverged { index, manager, other });
        }
        self.numbers(store)?;
        claims(store)
    }

    /// `manager` has applied entry `index`, and knows these members. One that waits to be taken in has none.
    pub fn members(&mut self, manager: u64, index: u64, members: &Members) -> Result<(), Violation> {
        if index == 0 {
            return Ok(());
        }
        let (first, other) = self.members.entry(index).or_insert_with(|| (members.clone(), manager));
        if first == members { Ok(()) } else { Err(Violation::Members { index, manager, other: *other }) }
    }

    /// VNIs and endpoint ids belong to one object for ever.
    fn numbers(&mut self, store: &Store) -> Result<(), Violation> {
        for network in store.networks() {
            let one = *self.vnis.entry(network.vni.0).or_insert(network.id);
            once(format!("VNI {}", network.vni.0), &one, &network.id)?;
        }
        for task in store.tasks() {
            for endpoint in &task.endpoints {
                let one = *self.endpoints.entry(endpoint.id.0).or_insert(task.id);
                once(format!("endpoint id {}", endpoint.id.0), &one, &task.id)?;
            }
        }
        Ok(())
    }
}

/// `manager` answers a read that began when `acked` was.
pub fn answers(manager: u64, acked: u64, applied: u64) -> Result<(), Violation> {
    if applied >= acked { Ok(()) } else { Err(Violation::StaleRead { manager, acked, applied }) }
}

/// What one entry changed.
pub fn changed(changes: &[Change]) -> Result<(), Violation> {
    for change in changes {
        let Change::Task(delta) = change else { continue };
        let (Some(old), Some(new)) = (&delta.old, &delta.new) else { continue };
        for (from, to) in [(old.status.state, new.status.state), (old.desired_state, new.desired_state)] {
            if to < from {
                return Err(Violation::Backwards { task: new.id, from, to });
            }
        }
    }
    Ok(())
}

fn once<T: PartialEq + std::fmt::Display>(what: String, one: &T, other: &T) -> Result<(), Violation> {
    if one == other {
        return Ok(());
    }
    Err(Violation::Twice { what, one: one.to_string(), other: other.to_string() })
}

/// Addresses and ports belong to one object at a time. Read from the objects, not from the store's indexes.
pub fn claims(store: &Store) -> Result<(), Violation> {
    let mut addresses: BTreeMap<(NetworkId, IpAddr), String> = BTreeMap::new();
    let mut claim =
        |network, address, owner: String| match addresses.insert((network, address), owner.clone()) {
            Some(one) => Err(Violation::Twice { what: format!("address {address}"), one, other: owner }),
            None => Ok(()),
        };
    let mut ports: BTreeMap<(Port, Protocol), ServiceId> = BTreeMap::new();
    for network in store.networks() {
        claim(network.id, network.gateway, format!("the gateway of {}", network.spec.name))?;
    }
    for service in store.services() {
        for (network, address) in &service.endpoint.vips {
            claim(*network, *address, format!("service {}", service.id))?;
        }
        let published = service.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Ingress);
        for port in published {
            let one = *ports.entry((port.published, port.protocol)).or_insert(service.id);
            once(format!("port {}/{}", port.published, port.protocol), &one, &service.id)?;
        }
    }
    for task in store.tasks().filter(|task| task.status.state <= TaskState::Running) {
        for endpoint in &task.endpoints {
            claim(endpoint.network, endpoint.address, format!("task {}", task.id))?;
        }
    }
    Ok(())
}

/// What a client was told exists, and has not asked to remove since.
#[derive(Debug, Default)]
pub struct Expected {
    services: BTreeMap<ServiceId, String>,
    networks: BTreeMap<NetworkId, String>,
    removed: BTreeSet<u128>,
}

impl Expected {
    pub fn service(&mut self, id: ServiceId, name: String) {
        self.services.insert(id, name);
    }

    pub fn network(&mut self, id: NetworkId, name: String) {
        self.networks.insert(id, name);
    }

    /// A removal was asked for; how it ended does not matter.
    pub fn may_go(&mut self, bits: u128) {
        self.removed.insert(bits);
    }

    pub fn check(&self, store: &Store) -> Result<(), Violation> {
        for (id, name) in &self.services {
            if store.service(*id).is_none() && !self.removed.contains(&id.bits()) {
                return Err(Violation::Lost { what: format!("service {name} ({id})") });
            }
        }
        for (id, name) in &self.networks {
            if store.network(*id).is_none() && !self.removed.contains(&id.bits()) {
                return Err(Violation::Lost { what: format!("network {name} ({id})") });
            }
        }
        Ok(())
    }
}
