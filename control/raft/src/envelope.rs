//! What a log entry carries: a transaction, and the number of the proposal that it answers.
//!
//! Layout: one byte of version, 16 bytes of proposal id (little endian), the transaction's own encoding.

use mesh_core::store::{DecodeError, TRANSACTION_MAX, Transaction};

/// Version that is written, and the newest that is read.
pub const VERSION: u8 = 1;

const HEAD: usize = 17;

/// The number of one proposal, unique over all nodes and all their restarts. An acknowledgement finds its
/// proposal by it: what a queue's order says is wrong as soon as a leader changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u128);

/// A transaction that fits no log entry.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is too large.
    #[error("transaction of {bytes} bytes is larger than the {limit} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// It has no encoding.
    #[error("transaction cannot be encoded: {reason}")]
    Encoding {
        /// What the encoder says.
        reason: String,
    },
}

/// A log entry that this meshd cannot apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Written by a newer meshd.
    #[error("envelope version {found} is not known here (up to {VERSION} is): upgrade this meshd")]
    UnknownVersion {
        /// Version found.
        found: u8,
    },
    /// Shorter than any entry.
    #[error("{bytes} bytes are no log entry")]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// The transaction inside does not read.
    #[error("transaction: {0}")]
    Transaction(#[from] DecodeError),
}

/// The log entry for a proposal.
pub fn encode(id: ProposalId, transaction: &Transaction) -> Result<Vec<u8>, EncodeError> {
    let body = transaction.to_bytes().map_err(|error| EncodeError::Encoding { reason: error.to_string() })?;
    if body.len() > TRANSACTION_MAX {
        return Err(EncodeError::TooLarge { bytes: body.len(), limit: TRANSACTION_MAX });
    }
    let mut entry = Vec::with_capacity(HEAD + body.len());
    entry.push(VERSION);
    entry.extend_from_slice(&id.0.to_le_bytes());
    entry.extend_from_slice(&body);
    Ok(entry)
}

/// The proposal in a log entry.
pub fn decode(entry: &[u8]) -> Result<(ProposalId, Transaction), EnvelopeError> {
    match entry.first() {
        Some(&VERSION) => {}
        Some(&found) => return Err(EnvelopeError::UnknownVersion { found }),
        None => return Err(EnvelopeError::TooShort { bytes: 0 }),
    }
    let Some((id, body)) = entry[1..].split_first_chunk::<16>() else {
        return Err(EnvelopeError::TooShort { bytes: entry.len() });
    };
    Ok((ProposalId(u128::from_le_bytes(*id)), Transaction::from_bytes(body)?))
}

#[cfg(test)]
mod tests {
    use mesh_core::time::Timestamp;

    use super::*;

    #[test]
    fn a_proposal_reads_back() {
        let transaction = Transaction { at: Timestamp(7), writes: Vec::new() };
        let entry = encode(ProposalId(9), &transaction).expect("encodes");
        assert_eq!(decode(&entry), Ok((ProposalId(9), transaction)));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let entry = encode(ProposalId(9), &Transaction::default()).expect("encodes");
        let newer = [&[2], &entry[1..]].concat();
        assert_eq!(decode(&newer), Err(EnvelopeError::UnknownVersion { found: 2 }));
        assert_eq!(decode(&[]), Err(EnvelopeError::TooShort { bytes: 0 }));
        assert_eq!(decode(&entry[..5]), Err(EnvelopeError::TooShort { bytes: 5 }));
        assert!(matches!(decode(&entry[..HEAD]), Err(EnvelopeError::Transaction(_))));
    }
}
