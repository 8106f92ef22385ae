//! How a change says what raft does not know, and how snapshots keep it.

use serde::{Deserialize, Serialize};

use super::{Known, MemberChange};
use crate::envelope::ProposalId;

/// Version of a change's context.
const VERSION: u8 = 1;

/// What a snapshot with a head begins with. A store's own encoding begins with its small version, so those
/// made before there were heads are told apart.
const MAGIC: [u8; 4] = *b"MRS\x01";

/// Bytes that say nothing of members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Written by a newer meshd.
    #[error("version {found} of a change of members is not known here: upgrade this meshd")]
    Version {
        /// Version found.
        found: u8,
    },
    /// They do not read.
    #[error("what is kept of the members does not read: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
}

/// The context of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub id: ProposalId,
    pub change: MemberChange,
}

#[derive(Serialize, Deserialize)]
struct Body {
    id: u128,
    change: MemberChange,
}

impl Note {
    pub fn encode(self) -> Result<Vec<u8>, NoteError> {
        let body = Body { id: self.id.0, change: self.change };
        postcard::to_extend(&body, vec![VERSION]).map_err(malformed)
    }

    /// `None`: raft's own change, which leaves a joint configuration.
    pub fn decode(context: &[u8]) -> Result<Option<Self>, NoteError> {
        match context {
            [] => Ok(None),
            [VERSION, body @ ..] => {
                let Body { id, change } = postcard::from_bytes(body).map_err(malformed)?;
                Ok(Some(Self { id: ProposalId(id), change }))
            }
            [found, ..] => Err(NoteError::Version { found: *found }),
        }
    }
}

/// What a snapshot's data begins with; the store follows.
pub(crate) fn head(known: &Known) -> Result<Vec<u8>, NoteError> {
    postcard::to_extend(known, MAGIC.to_vec()).map_err(malformed)
}

/// What a snapshot keeps of the members, and the rest of it.
pub(crate) fn split(data: &[u8]) -> Result<(Known, &[u8]), NoteError> {
    match data.strip_prefix(&MAGIC) {
        Some(rest) => postcard::take_from_bytes(rest).map_err(malformed),
        None => Ok((Known::default(), data)),
    }
}

// By value, as `map_err` hands it.
#[allow(clippy::needless_pass_by_value)]
fn malformed(error: postcard::Error) -> NoteError {
    NoteError::Malformed { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_an_unknown_one_is_refused() {
        let addr = "192.0.2.1:2377".parse().expect("an address");
        let note = Note { id: ProposalId(7), change: MemberChange::AddLearner { id: 2, addr } };
        let mut bytes = note.encode().expect("encodes");
        assert_eq!(Note::decode(&bytes), Ok(Some(note)));
        assert_eq!(Note::decode(&[]), Ok(None));
        assert!(matches!(Note::decode(&bytes[..3]), Err(NoteError::Malformed { .. })));
        bytes[0] = 9;
        assert_eq!(Note::decode(&bytes), Err(NoteError::Version { found: 9 }));
    }

    #[test]
    fn a_snapshot_has_a_head_or_none() {
        let known = Known { addrs: [(1, "192.0.2.1:1".parse().expect("one"))].into(), removed: [4].into() };
        let data = [head(&known).expect("encodes"), b"store".to_vec()].concat();
        assert_eq!(split(&data), Ok((known, &b"store"[..])));
        assert_eq!(split(&[1, 0, 9]), Ok((Known::default(), &[1, 0, 9][..])));
        assert!(split(b"MRS\x01\xff").is_err());
    }
}
