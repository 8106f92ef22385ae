//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624), as both sides compute it.
//!
//! Sums are over 16-bit words in the byte order of memory, so they can be stored without swapping.

/// Folds a sum to 16 bits and complements it: the value of a checksum field.
#[inline(always)]
pub const fn finish(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits above")]
    let folded = sum as u16;
    !folded
}

/// Adds the words of `bytes` to a sum; a last odd byte counts as followed by zero. At most 65,535 words go
/// into one sum before it is folded.
#[inline(always)]
pub fn add(mut sum: u32, bytes: &[u8]) -> u32 {
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        sum += u32::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    match words.remainder() {
        [last] => sum + u32::from(u16::from_ne_bytes([*last, 0])),
        _ => sum,
    }
}

/// The checksum after a 16-bit word that it covers changed (RFC 1624, equation 3).
#[inline(always)]
pub const fn replace(check: u16, from: u16, to: u16) -> u16 {
    finish((!check) as u32 + (!from) as u32 + to as u32)
}

/// Sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293 section 3.1); addresses as they lie in the
/// packet, `length` that of header and payload, host byte order.
#[inline(always)]
pub fn pseudo(src: [u8; 4], dst: [u8; 4], protocol: u8, length: u16) -> u32 {
    let sum = add(add(0, &src), &dst);
    let sum = sum + u32::from(u16::from(protocol).to_be());
    sum + u32::from(length.to_be())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header of RFC 1071's successors' favourite example: 192.168.0.1 to 192.168.0.199, UDP, 115 bytes.
    const HEADER: [u8; 20] =
        [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];

    #[test]
    fn of_a_known_header() {
        assert_eq!(finish(add(0, &HEADER)).to_ne_bytes(), [0xb8, 0x61]);
    }

    #[test]
    fn an_odd_byte_counts_as_high() {
        assert_eq!(add(0, &[1, 2, 3]), add(0, &[1, 2, 3, 0]));
    }

    #[test]
    fn replaced_word_equals_a_new_sum() {
        let before = finish(add(0, &HEADER));
        let mut changed = HEADER;
        changed[18..20].copy_from_slice(&[0x12, 0x34]);
        let from = u16::from_ne_bytes([HEADER[18], HEADER[19]]);
        let to = u16::from_ne_bytes([0x12, 0x34]);
        assert_eq!(replace(before, from, to), finish(add(0, &changed)));
    }

    #[test]
    fn pseudo_header_of_udp() {
        let sum = pseudo([10, 0, 0, 1], [10, 0, 0, 2], 17, 8);
        assert_eq!(sum, add(0, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 8]));
    }
}
