//! A snapshot's message cut in parts, so that no frame between managers is large, and put together again.
//!
//! Parts of one transfer come in order on one stream. Each names the digest of the whole; nothing is handed on
//! before it holds.

use protobuf::Message as _;
use raft::eraftpb::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Most bytes that a part carries.
pub const PART_BYTES: usize = 1 << 20;

/// The largest message that is cut or put together.
pub const MAX_WHOLE_BYTES: usize = 1 << 30;

/// What surrounds a part's bytes, at most.
const OVERHEAD: usize = 128;

/// Why parts are refused. What was gathered of the transfer is dropped: the sender begins again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The message is larger than any may be.
    #[error("snapshot message of {bytes} bytes refused: the limit is {MAX_WHOLE_BYTES}")]
    TooLarge {
        /// Its size, as said or found.
        bytes: u64,
    },
    /// It does not read.
    #[error("part of {bytes} bytes refused: {reason}")]
    Malformed {
        /// Size of what arrived.
        bytes: usize,
        /// What the parser says.
        reason: String,
    },
    /// It is not the one that follows.
    #[error("part at byte {found} where {wanted} was expected")]
    OutOfOrder {
        /// Where it begins.
        found: u64,
        /// Where it should.
        wanted: u64,
    },
    /// The whole is not what was sent.
    #[error("a snapshot of {bytes} bytes arrived changed: its digest does not hold")]
    Changed {
        /// Its size.
        bytes: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Part<'a> {
    transfer: u64,
    /// Where it begins in the whole.
    at: u64,
    whole: u64,
    digest: [u8; 32],
    bytes: &'a [u8],
}

/// The parts of `message`, in order. `transfer` must differ from that of the transfer before on the stream.
pub fn cut(
    message: &Message,
    transfer: u64,
) -> Result<impl Iterator<Item = Result<Vec<u8>, PartError>> + use<>, PartError> {
    let size = u64::from(message.compute_size());
    if size > MAX_WHOLE_BYTES as u64 {
        return Err(PartError::TooLarge { bytes: size });
    }
    let whole = message
        .write_to_bytes()
        .map_err(|error| PartError::Malformed { bytes: 0, reason: error.to_string() })?;
    let digest: [u8; 32] = Sha256::digest(&whole).into();
    let mut at = 0;
    Ok(std::iter::from_fn(move || {
        let bytes = whole.get(at..whole.len().min(at + PART_BYTES)).filter(|bytes| !bytes.is_empty())?;
        let part = Part { transfer, at: at as u64, whole: whole.len() as u64, digest, bytes };
        at += bytes.len();
        let malformed =
            |error: postcard::Error| PartError::Malformed { bytes: bytes.len(), reason: error.to_string() };
        Some(postcard::to_stdvec(&part).map_err(malformed))
    }))
}

/// Puts the parts that come on one stream together.
#[derive(Debug, Default)]
pub struct Gatherer {
    transfer: u64,
    digest: [u8; 32],
    bytes: Vec<u8>,
}

impl Gatherer {
    /// Takes a part; the message, when it was the last. Memory is taken for what has come, not for what was
    /// promised.
    pub fn take(&mut self, part: &[u8]) -> Result<Option<Message>, PartError> {
        let taken = self.gather(part);
        if !matches!(taken, Ok(None)) {
            self.bytes = Vec::new();
        }
        taken
    }

    fn gather(&mut self, part: &[u8]) -> Result<Option<Message>, PartError> {
        let malformed = |reason: String| PartError::Malformed { bytes: part.len(), reason };
        if part.len() > PART_BYTES + OVERHEAD {
            return Err(malformed("it is too large".to_owned()));
        }
        let Part { transfer, at, whole, digest, bytes } =
            postcard::from_bytes(part).map_err(|error| malformed(error.to_string()))?;
        if whole > MAX_WHOLE_BYTES as u64 {
            return Err(PartError::TooLarge { bytes: whole });
        }
        if at == 0 {
            // The sender began again.
            (self.transfer, self.digest, self.bytes) = (transfer, digest, Vec::new());
        }
        let wanted = self.bytes.len() as u64;
        if (transfer, digest) != (self.transfer, self.digest) || at != wanted || bytes.is_empty() {
            return Err(PartError::OutOfOrder { found: at, wanted });
        }
        self.bytes.extend_from_slice(bytes);
        let size = self.bytes.len() as u64;
        if size < whole {
            return Ok(None);
        }
        let found: [u8; 32] = Sha256::digest(&self.bytes).into();
        if size != whole || found != digest {
            return Err(PartError::Changed { bytes: size });
        }
        Message::parse_from_bytes(&self.bytes).map(Some).map_err(|error| malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        let mut message = Message { to: 2, from: 1, term: 3, ..Message::default() };
        message.set_msg_type(raft::eraftpb::MessageType::MsgSnapshot);
        message.mut_snapshot().data = vec![7; bytes].into();
        message
    }

    fn parts(bytes: usize, transfer: u64) -> Vec<Vec<u8>> {
        cut(&message(bytes), transfer).expect("small").map(|part| part.expect("encodes")).collect()
    }

    fn gather(gatherer: &mut Gatherer, parts: &[Vec<u8>]) -> Result<Option<Message>, PartError> {
        parts.iter().map(|part| gatherer.take(part)).last().expect("a part")
    }

    #[test]
    fn what_is_cut_is_put_together_and_no_part_is_large() {
        for bytes in [0, 1, PART_BYTES, 3 * PART_BYTES + 17] {
            let parts = parts(bytes, 1);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES + OVERHEAD));
            assert_eq!(parts.len(), bytes / PART_BYTES + 1);
            assert_eq!(gather(&mut Gatherer::default(), &parts), Ok(Some(message(bytes))));
        }
    }

    #[test]
    fn a_sender_may_begin_again_and_nothing_is_mixed() {
        let (first, second) = (parts(3 * PART_BYTES, 1), parts(2 * PART_BYTES, 2));
        let mut gatherer = Gatherer::default();
        assert_eq!(gather(&mut gatherer, &first[..2]), Ok(None));
        assert_eq!(gather(&mut gatherer, &second), Ok(Some(message(2 * PART_BYTES))));
        assert_eq!(gatherer.take(&first[0]), Ok(None));
        assert!(matches!(gatherer.take(&second[1]), Err(PartError::OutOfOrder { .. })));
        assert!(matches!(gatherer.take(&first[1]), Err(PartError::OutOfOrder { wanted: 0, .. })));
        assert_eq!(gatherer.take(&first[0]), Ok(None));
        assert!(matches!(gatherer.take(&first[2]), Err(PartError::OutOfOrder { .. })), "one is missing");
    }

    #[test]
    fn a_changed_bit_is_never_handed_on() {
        let parts = parts(2 * PART_BYTES, 1);
        for (place, byte) in [(0, 20), (0, 500), (1, 20), (1, 60), (2, 2), (2, 20), (2, 50)] {
            let mut changed = parts.clone();
            changed[place][byte] ^= 4;
            let mut gatherer = Gatherer::default();
            let arrived =
                changed.iter().map(|part| gatherer.take(part)).any(|taken| matches!(taken, Ok(Some(_))));
            assert!(!arrived, "part {place}, byte {byte}");
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let mut gatherer = Gatherer::default();
        assert!(matches!(gatherer.take(&[0xff; 9]), Err(PartError::Malformed { .. })));
        let large = vec![0; PART_BYTES + OVERHEAD + 1];
        assert!(matches!(gatherer.take(&large), Err(PartError::Malformed { .. })));
        let part = Part { transfer: 1, at: 0, whole: u64::MAX, digest: [0; 32], bytes: &[1] };
        let part = postcard::to_stdvec(&part).expect("encodes");
        assert_eq!(gatherer.take(&part), Err(PartError::TooLarge { bytes: u64::MAX }));
    }
}
