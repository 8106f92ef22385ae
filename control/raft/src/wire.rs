//! Messages between managers as bytes. The transport carries them as they are; what they mean is raft's.

pub mod parts;

use protobuf::Message as _;
use raft::eraftpb::Message;

/// The largest message that is sent or taken. Snapshots travel inside a message.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It is larger than any message may be.
    #[error("raft message of {bytes} bytes refused: the limit is {MAX_MESSAGE_BYTES}")]
    TooLarge {
        /// Size of what arrived.
        bytes: usize,
    },
    /// It does not parse.
    #[error("raft message of {bytes} bytes refused: {source}")]
    Malformed {
        /// Size of what arrived.
        bytes: usize,
        /// What the parser says.
        source: protobuf::ProtobufError,
    },
}

/// The bytes of `message`.
pub fn encode(message: &Message) -> Result<Vec<u8>, WireError> {
    let bytes = usize::try_from(message.compute_size()).unwrap_or(usize::MAX);
    if bytes > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge { bytes });
    }
    message.write_to_bytes().map_err(|source| WireError::Malformed { bytes, source })
}

/// The message in `bytes`; the size is checked before anything is read.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    let size = bytes.len();
    if size > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge { bytes: size });
    }
    Message::parse_from_bytes(bytes).map_err(|source| WireError::Malformed { bytes: size, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let mut message = Message { to: 2, from: 1, term: 3, index: 4, ..Message::default() };
        message.mut_entries().push(raft::eraftpb::Entry { data: vec![1, 2, 3].into(), ..Default::default() });
        let bytes = encode(&message).expect("encodes");
        assert_eq!(decode(&bytes).expect("decodes"), message);
    }

    /// RUSTSEC-2024-0437: groups inside groups once overflowed the stack of protobuf's parser.
    #[test]
    fn a_message_nested_a_million_deep_is_refused() {
        // Field 100, which no message has.
        const START_GROUP: [u8; 2] = [0xa3, 0x06];
        const LENGTH: [u8; 2] = [0xa2, 0x06];
        assert!(matches!(decode(&START_GROUP.repeat(1_000_000)), Err(WireError::Malformed { .. })));
        let mut nested = Vec::new();
        for _ in 0..1_000 {
            let mut outer = LENGTH.to_vec();
            outer.extend(varint(nested.len()));
            outer.append(&mut nested);
            nested = outer;
        }
        // Lengths inside lengths of an unknown field are bytes, not messages: nothing recurses.
        assert!(decode(&nested).is_ok());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(matches!(decode(&[0xff; 40]), Err(WireError::Malformed { .. })));
        assert!(matches!(decode(&vec![0; MAX_MESSAGE_BYTES + 1]), Err(WireError::TooLarge { .. })));
    }

    fn varint(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(value & 0x7f).expect("7 bits");
            value >>= 7;
            if value == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }
}
