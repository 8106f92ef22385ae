//! A [`Table`] made ready for questions, and the lookup itself: pure, without a clock, a lock or a socket.
//!
//! Invariants: a client sees its own zones and nothing else; a name of these zones is answered here whatever
//! its type and is never [`Answer::Forward`]; an address of any zone is never asked of an upstream.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::rr::{Name, RecordType};

use crate::key::Key;
use crate::table::{Client, Table, Zone, ZoneId};

/// Seconds that answers about own names may be kept. One second, where Swarm says 600: whoever caches would
/// go on using the address of a task that is gone, and to ask again costs microseconds on the same node.
pub const OWN_TTL: u32 = 1;

/// What a question is answered with.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Addresses, each time beginning with the next one.
    Addresses(Rotation<'a>),
    /// The name of an address.
    Pointer(&'a Name),
    /// The name is ours and has no record of the type asked for.
    Empty,
    /// Not ours: an upstream knows.
    Forward,
    /// There is no such name, and nobody else is to be asked.
    NxDomain,
    /// Nobody we know asks.
    Refused,
}

/// Addresses beginning with one that changes from answer to answer.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    addresses: &'a [IpAddr],
    first: usize,
}

impl<'a> Rotation<'a> {
    /// The addresses in the order in which they are to be sent.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> + 'a {
        let (before, from) = self.addresses.split_at(self.first);
        from.iter().chain(before).copied()
    }
}

/// A name in a table that cannot be asked for, because it is no DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableName {
    /// The zone it stands in.
    pub zone: ZoneId,
    /// The text.
    pub name: String,
}

/// A table made ready.
#[derive(Debug, Default)]
pub struct Index {
    version: u64,
    clients: HashMap<Ipv4Addr, Client>,
    zones: HashMap<ZoneId, ZoneIndex>,
    addresses: HashSet<IpAddr>,
    upstreams: Arc<[SocketAddr]>,
}

#[derive(Debug, Default)]
struct ZoneIndex {
    network: Box<[u8]>,
    names: HashMap<Box<[u8]>, Entry>,
    pointers: HashMap<IpAddr, Name>,
}

#[derive(Debug, Default)]
struct Entry {
    v4: Box<[IpAddr]>,
    v6: Box<[IpAddr]>,
    turn: AtomicUsize,
}

impl Index {
    /// Makes a table ready. Names that are no DNS names are left out and returned.
    pub fn build(table: &Table) -> (Self, Vec<UnusableName>) {
        let mut unusable = Vec::new();
        let zones =
            table.zones.iter().map(|(id, zone)| (*id, ZoneIndex::build(*id, zone, &mut unusable))).collect();
        let index = Self {
            version: table.version,
            clients: table.clients.iter().map(|(address, client)| (*address, client.clone())).collect(),
            zones,
            addresses: table.zones.values().flat_map(Zone::addresses).collect(),
            upstreams: table.upstreams.as_slice().into(),
        };
        (index, unusable)
    }

    /// The table's version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whom to ask for names that are not ours.
    pub fn upstreams(&self) -> &Arc<[SocketAddr]> {
        &self.upstreams
    }

    /// How many can ask, and how many names there are.
    pub fn size(&self) -> (usize, usize) {
        (self.clients.len(), self.zones.values().map(|zone| zone.names.len()).sum())
    }

    /// Answers a question of class IN.
    pub fn lookup(&self, source: IpAddr, name: &Key, kind: RecordType) -> Answer<'_> {
        let IpAddr::V4(source) = source.to_canonical() else { return Answer::Refused };
        let Some(client) = self.clients.get(&source) else { return Answer::Refused };
        if let Some(entry) = self.entry(client, name) {
            return entry.answer(kind);
        }
        if let Some(address) = name.reverse_address()
            && self.addresses.contains(&address)
        {
            return self.pointer(client, address, kind);
        }
        if client.internal { Answer::NxDomain } else { Answer::Forward }
    }

    fn entry<'a>(&'a self, client: &'a Client, name: &Key) -> Option<&'a Entry> {
        let exact = self.seen(client).find_map(|zone| zone.names.get(name.as_bytes()));
        exact.or_else(|| {
            let (name, network) = name.split_last()?;
            self.seen(client).filter(|zone| *zone.network == *network).find_map(|zone| zone.names.get(name))
        })
    }

    fn pointer<'a>(&'a self, client: &'a Client, address: IpAddr, kind: RecordType) -> Answer<'a> {
        match self.seen(client).find_map(|zone| zone.pointers.get(&address)) {
            Some(name) if matches!(kind, RecordType::PTR | RecordType::ANY) => Answer::Pointer(name),
            Some(_) => Answer::Empty,
            None => Answer::NxDomain,
        }
    }

    fn seen<'a>(&'a self, client: &'a Client) -> impl Iterator<Item = &'a ZoneIndex> {
        client.zones.iter().filter_map(|id| self.zones.get(id))
    }
}

impl Zone {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.pointers.keys().chain(self.names.values().flatten()).copied()
    }
}

impl ZoneIndex {
    fn build(id: ZoneId, zone: &Zone, unusable: &mut Vec<UnusableName>) -> Self {
        let mut index = Self::default();
        let mut refuse = |name: &str| unusable.push(UnusableName { zone: id, name: name.to_owned() });
        match Key::parse(&zone.network).filter(|key| key.labels().count() == 1) {
            Some(key) => index.network = key.as_bytes().into(),
            None => refuse(&zone.network),
        }
        for (name, addresses) in &zone.names {
            match Key::parse(name) {
                Some(key) => drop(index.names.insert(key.as_bytes().into(), Entry::new(addresses))),
                None => refuse(name),
            }
        }
        for (address, name) in &zone.pointers {
            match Key::parse(name).and_then(|key| absolute(&key)) {
                Some(name) => drop(index.pointers.insert(*address, name)),
                None => refuse(name),
            }
        }
        index
    }
}

fn absolute(key: &Key) -> Option<Name> {
    let mut name = Name::from_labels(key.labels()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

impl Entry {
    fn new(addresses: &[IpAddr]) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(IpAddr::is_ipv4);
        Self { v4: v4.into(), v6: v6.into(), turn: AtomicUsize::new(0) }
    }

    fn answer(&self, kind: RecordType) -> Answer<'_> {
        let addresses = match kind {
            RecordType::AAAA => &self.v6,
            // RFC 8482: any one of the sets will do.
            RecordType::ANY if self.v4.is_empty() => &self.v6,
            RecordType::A | RecordType::ANY => &self.v4,
            _ => return Answer::Empty,
        };
        match addresses.len() {
            0 => Answer::Empty,
            1 => Answer::Addresses(Rotation { addresses, first: 0 }),
            count => {
                let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
                Answer::Addresses(Rotation { addresses, first })
            }
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
