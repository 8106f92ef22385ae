//! Changing the replicated store by what it says: decided anew whenever the store has moved on in between.

use mesh_core::store::{Conflict, Store, Transaction};
use mesh_raft::{ProposeError, Raft};

/// How often a change is decided anew before it is given up. Each time somebody else got further.
const TRIES: usize = 10;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Unmade<E> {
    /// What decides says no.
    #[error("{0}")]
    Refused(E),
    /// The store moved on each time; the last conflict.
    #[error("{0}")]
    Moved(Conflict),
    /// Raft did not take it, or does not say.
    #[error("{0}")]
    Propose(ProposeError),
}

/// Proposes what `decide` makes of the store, and returns when that is applied here; `None` is nothing to do.
///
/// It decides on the store as it is applied here: whoever must not be refused by an old one has a quorum read it
/// ([`Raft::read`]) before.
pub async fn amend<E>(
    raft: &Raft,
    decide: impl Fn(&Store) -> Result<Option<Transaction>, E>,
) -> Result<(), Unmade<E>> {
    let mut tried = 0;
    loop {
        let Some(transaction) = decide(&raft.store()).map_err(Unmade::Refused)? else { return Ok(()) };
        tried += 1;
        match raft.propose(transaction).await {
            Ok(_) => return Ok(()),
            Err(ProposeError::Conflict(_)) if tried < TRIES => {}
            Err(ProposeError::Conflict(conflict)) => return Err(Unmade::Moved(conflict)),
            Err(error) => return Err(Unmade::Propose(error)),
        }
    }
}
