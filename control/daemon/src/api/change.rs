//! From a request to a committed transaction.

use mesh_core::id::Entropy;
use mesh_core::store::{Store, Transaction};

use super::backend::{Ledger, LedgerError};
use super::error::ApiError;
use crate::entropy::SystemEntropy;

/// How often a request is decided anew because others changed the store first. Each time somebody else got
/// further, so this many in a row means that something is wrong.
const ATTEMPTS: usize = 64;

/// Decides with `decide` and commits what it says; decides anew when the store moved on in between. An update
/// whose author named a version is refused by `decide` itself when that is stale.
///
/// The first decision rests on the store as it is applied here, which costs nothing: a leader acknowledges
/// nothing before it is applied there, and what was decided on an older store conflicts. A refusal has no such
/// check, so it is only given on a store that a quorum says is the newest.
pub async fn commit<T>(
    ledger: &dyn Ledger,
    mut decide: impl FnMut(&Store, &mut dyn Entropy) -> Result<(T, Transaction), ApiError> + Send,
) -> Result<T, ApiError> {
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        let fast = (attempt == 0).then(|| decide(&ledger.store(), &mut SystemEntropy).ok()).flatten();
        let (value, transaction) = match fast {
            Some(decided) => decided,
            None => decide(&ledger.read().await?, &mut SystemEntropy)?,
        };
        match ledger.propose(transaction).await {
            Ok(_) => return Ok(value),
            Err(LedgerError::Conflict(conflict)) => last = Some(conflict.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    let message = last.map_or_else(String::new, |conflict| format!(" ({conflict})"));
    Err(ApiError::Cluster {
        message: format!("others changed the same objects{message}: try again"),
        retry: true,
    })
}
