//! What a node's set would have for a digest now, without making the set: nodes in the same networks share the
//! larger part, so that a thousand of them that come back at once cost little more than one.

use std::collections::{BTreeMap, BTreeSet};

use super::view::{self, Others};
use crate::id::{NetworkId, NodeId};
use crate::store::Store;

/// Digests of the parts that nodes have alike, as of one log entry.
#[derive(Debug, Default)]
pub(super) struct Digests {
    index: u64,
    common: BTreeMap<BTreeSet<NetworkId>, [u8; 32]>,
}

impl Digests {
    /// [`crate::assignment::AssignmentSet::digest`] of all that the node is told.
    pub(super) fn of(&mut self, store: &Store, node: NodeId, others: &Others) -> [u8; 32] {
        if self.index != store.index() {
            *self = Self { index: store.index(), ..Self::default() };
        }
        let networks = view::visible_networks(store, node);
        let made = |networks: &BTreeSet<NetworkId>| view::common(store, networks).common_digest();
        let common = *self.common.entry(networks).or_insert_with_key(made);
        view::own(store, node, others).digest_over(common, others.digest)
    }
}
