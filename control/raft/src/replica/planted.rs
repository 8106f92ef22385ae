//! Mistakes that can be planted in a replica, to see that a simulation finds them. In builds for tests alone.

use mesh_core::object::Meta;
use mesh_core::store::{Change, Claim, Conflict, Delta, Expect, Object, Store, Transaction, Write};

use super::Replica;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A leader answers reads for as long as by its own ticks nobody else can lead.
    LeaseReads,
    /// A new configuration counts as soon as it is applied: the old one's majority is not asked.
    NoJoint,
    /// A service is made though its address belongs to another.
    UncheckedClaims,
}

impl Replica {
    /// From here on it makes this mistake.
    pub fn plant(&mut self, mistake: Mistake) {
        match mistake {
            Mistake::LeaseReads => self.node.lease_reads(),
            Mistake::NoJoint => self.node.skip_joint(),
            Mistake::UncheckedClaims => self.state.unchecked = true,
        }
    }
}

/// What `transaction` makes of a store that would not have it.
pub(super) fn apply_unchecked(
    store: &mut Store,
    index: u64,
    transaction: &Transaction,
    conflict: Conflict,
) -> Result<Vec<Change>, Conflict> {
    let [Write::Put { object: Object::Service(service), expect: Expect::New }] =
        transaction.writes.as_slice()
    else {
        return Err(conflict);
    };
    let is_address = matches!(conflict, Conflict::Taken { what: Claim::Address(..), .. });
    if !is_address || store.service(service.id).is_some() {
        return Err(conflict);
    }
    let mut service = mesh_core::object::Service::clone(service);
    let at = transaction.at;
    service.meta = Meta { version: index, created_version: index, created_at: at, updated_at: at };
    let changes = vec![Change::Service(Delta { old: None, new: Some(std::sync::Arc::new(service)) })];
    store.replay(index, &changes);
    Ok(changes)
}
