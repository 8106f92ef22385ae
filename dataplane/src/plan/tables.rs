//! Content of the maps.
//!
//! Entries of the plain maps are compared one by one. A frontend is compared by its set of backends: where the
//! set lies in the array, and the turn it takes, are found here and kept as long as they are good.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Instant;

use mesh_abi::Be16;
use mesh_abi::map::TURNS_LEN;
use mesh_abi::net::{DnsClient, Endpoint, Frontend, Local, NodeConfig, Peer, TaskPort};

use super::wanted::{Balanced, DesiredTables};
use crate::desired::{EndpointId, Protocol, Vni};
use crate::slices::{Full, Slice, Slices};

/// Key of an entry in one of the plain maps, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The node itself.
    Config,
    /// Another node.
    Peer(Ipv4Addr),
    /// A task's interface, by its number.
    Port(u32),
    /// An endpoint by network and address.
    Endpoint(Vni, Ipv4Addr),
    /// An endpoint by its number.
    Backend(EndpointId),
    /// An address of this node.
    Local(Ipv4Addr),
    /// Who asks the DNS server.
    DnsClient(Ipv4Addr),
}

/// Value of an entry in one of the plain maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The node itself.
    Config(NodeConfig),
    /// Another node.
    Peer(Peer),
    /// A task's interface.
    Port(TaskPort),
    /// An endpoint, in either map.
    Endpoint(Endpoint),
    /// An address of this node.
    Local(Local),
    /// Who asks the DNS server.
    DnsClient(DnsClient),
}

/// Key of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKey {
    /// A virtual address in a network.
    Vip(Vni, Ipv4Addr),
    /// A published port on an address of this node.
    Published(Ipv4Addr, u16, Protocol),
}

/// A frontend as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its entry.
    pub entry: Frontend,
    /// What its slice holds.
    pub backends: Vec<EndpointId>,
}

impl Placed {
    /// The slice that the entry points to.
    pub fn slice(&self) -> Slice {
        Slice { offset: self.entry.offset, len: self.entry.count }
    }

    fn serves(&self, wanted: &Balanced) -> bool {
        self.backends == wanted.backends
            && self.entry.service == wanted.service
            && self.entry.target.get() == wanted.target
    }
}

/// What the maps hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Entries of the plain maps.
    pub entries: BTreeMap<Key, Value>,
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey, Placed>,
}

/// One step on the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableOperation {
    /// Write an entry.
    Put(Key, Value),
    /// Write the backends into their slice, and the frontend's entry then.
    PutFrontend(FrontendKey, Placed),
    /// Take a frontend out.
    DeleteFrontend(FrontendKey),
    /// Take an entry out.
    Delete(Key),
}

/// No frontend more fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The array of backends is full.
    #[error(transparent)]
    Backends(#[from] Full),
    /// There are more frontends than turns.
    #[error("no more than {TURNS_LEN} virtual addresses and published ports fit on a node")]
    Frontends,
}

/// The operations from `from` to `to`: first what new things need, frontends last; then frontends that are
/// gone, and last what they needed. Slices that `from` uses must be taken in `slices`; those that are let go
/// are given back.
pub fn tables(
    from: &Tables,
    to: &DesiredTables,
    slices: &mut Slices,
    now: Instant,
) -> Result<Vec<TableOperation>, NoRoom> {
    let mut operations = Vec::new();
    let changed = to.entries.iter().filter(|(key, value)| from.entries.get(key) != Some(value));
    operations.extend(changed.map(|(key, value)| TableOperation::Put(*key, *value)));

    let mut turns = Turns::new(from);
    for (key, wanted) in &to.frontends {
        let there = from.frontends.get(key);
        if there.is_some_and(|there| there.serves(wanted)) {
            continue;
        }
        let slice = slices.take(u32::try_from(wanted.backends.len()).unwrap_or(u32::MAX), now)?;
        let turn = match there {
            Some(there) => there.entry.turn,
            None => turns.take()?,
        };
        let generation = there.map_or(1, |there| there.entry.generation.wrapping_add(1));
        operations.push(TableOperation::PutFrontend(*key, place(wanted, slice, turn, generation)));
        if let Some(there) = there {
            slices.give_back(there.slice(), now);
        }
    }
    for (key, there) in &from.frontends {
        if !to.frontends.contains_key(key) {
            operations.push(TableOperation::DeleteFrontend(*key));
            slices.give_back(there.slice(), now);
        }
    }
    let gone = from.entries.keys().rev().filter(|key| !to.entries.contains_key(key));
    operations.extend(gone.map(|key| TableOperation::Delete(*key)));
    Ok(operations)
}

fn place(wanted: &Balanced, slice: Slice, turn: u32, generation: u32) -> Placed {
    let entry = Frontend {
        service: wanted.service,
        turn,
        offset: slice.offset,
        count: slice.len,
        generation,
        target: Be16::new(wanted.target),
        reserved: 0,
    };
    Placed { entry, backends: wanted.backends.clone() }
}

/// Free places in the array of turns, lowest first.
struct Turns {
    taken: BTreeSet<u32>,
    next: u32,
}

impl Turns {
    /// A frontend that stays keeps its turn; the turn of one that goes is free only in the next plan.
    fn new(from: &Tables) -> Self {
        Self { taken: from.frontends.values().map(|placed| placed.entry.turn).collect(), next: 0 }
    }

    fn take(&mut self) -> Result<u32, NoRoom> {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        if self.next >= TURNS_LEN {
            return Err(NoRoom::Frontends);
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

impl Tables {
    /// What the maps hold after the operation.
    pub fn note(&mut self, operation: &TableOperation) {
        match operation {
            TableOperation::Put(key, value) => {
                self.entries.insert(*key, *value);
            }
            TableOperation::PutFrontend(key, placed) => {
                self.frontends.insert(*key, placed.clone());
            }
            TableOperation::DeleteFrontend(key) => {
                self.frontends.remove(key);
            }
            TableOperation::Delete(key) => {
                self.entries.remove(key);
            }
        }
    }

    /// Slices in use.
    pub fn slices(&self) -> impl Iterator<Item = Slice> + '_ {
        self.frontends.values().map(Placed::slice)
    }
}
