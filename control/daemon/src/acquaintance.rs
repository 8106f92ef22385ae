//! Where managers answer, as far as this node knows. There is one list, and several sources of it: what the
//! cluster assigns is the whole truth of its time; what else the node hears is added until the cluster speaks
//! again.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mesh_raft::Members;
use tokio::sync::watch;

/// Addresses that are kept at most: nobody can fill a node's memory with them.
const MOST: usize = 32;

/// The managers that a node knows; clones are the same list.
#[derive(Debug, Clone)]
pub struct Acquaintance {
    known: watch::Sender<Vec<SocketAddr>>,
}

impl Acquaintance {
    /// Begins with what was known before.
    pub fn new(known: Vec<SocketAddr>) -> Self {
        Self { known: watch::Sender::new(known) }
    }

    /// The list as it changes.
    pub fn watch(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.known.subscribe()
    }

    /// The list.
    pub fn now(&self) -> Vec<SocketAddr> {
        self.known.borrow().clone()
    }

    /// These are the managers. An empty list says nothing.
    pub fn assign(&self, managers: Vec<SocketAddr>) {
        if !managers.is_empty() {
            self.replace(|_| managers);
        }
    }

    /// These are managers, too: they are asked first.
    pub fn hear(&self, managers: &[SocketAddr]) {
        self.replace(|known| {
            let new = managers.iter().filter(|manager| !known.contains(manager));
            let mut all: Vec<SocketAddr> = new.chain(known).copied().collect();
            all.truncate(MOST);
            all
        });
    }

    fn replace(&self, next: impl FnOnce(&[SocketAddr]) -> Vec<SocketAddr>) {
        self.known.send_if_modified(|known| {
            let next = next(known);
            let changed = *known != next;
            *known = next;
            changed
        });
    }

    /// Hears of the `members` of raft's group as they come, but for this node itself at `own`, until raft ends. A
    /// manager that was away finds the others by what its own state says, whatever it had been assigned.
    pub async fn follow(self, mut members: watch::Receiver<Members>, own: SocketAddr) {
        let mut met = BTreeSet::from([own]);
        loop {
            let addrs: Vec<SocketAddr> =
                members.borrow_and_update().iter().filter_map(|(_, member)| member.addr).collect();
            // Once each: the cluster may have said meanwhile that one is a manager no longer.
            self.hear(&addrs.into_iter().filter(|addr| met.insert(*addr)).collect::<Vec<_>>());
            if members.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u8) -> SocketAddr {
        ([192, 0, 2, number], 2377).into()
    }

    #[test]
    fn what_is_heard_is_added_until_the_cluster_says_who_manages() {
        let known = Acquaintance::new(vec![addr(1), addr(2)]);
        let mut watch = known.watch();
        known.hear(&[addr(2), addr(3)]);
        assert_eq!(known.now(), [addr(3), addr(1), addr(2)]);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        known.hear(&[addr(1)]);
        known.assign(Vec::new());
        assert!(!watch.has_changed().unwrap(), "nothing new");
        known.assign(vec![addr(4)]);
        assert_eq!(known.now(), [addr(4)]);
    }

    #[test]
    fn the_list_does_not_grow_for_ever() {
        let known = Acquaintance::new(vec![addr(200)]);
        (0..100).for_each(|number| known.hear(&[addr(number)]));
        assert_eq!(known.now().len(), MOST);
        assert_eq!(known.now()[0], addr(99), "the last that was heard of");
    }
}
