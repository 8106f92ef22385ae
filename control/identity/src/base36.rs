//! Base36 of byte strings of fixed length, read as one big-endian number and padded with zeros on the left.

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `bytes` as exactly `width` digits, most significant first. `width` must have room for them.
pub(crate) fn encode(bytes: &[u8], width: usize) -> String {
    let mut rest = bytes.to_vec();
    let mut text = vec![b'0'; width];
    for place in text.iter_mut().rev() {
        *place = DIGITS[usize::from(divide(&mut rest))];
    }
    text.into_iter().map(char::from).collect()
}

/// Divides the number by 36 in place and returns the remainder.
fn divide(number: &mut [u8]) -> u8 {
    let mut remainder = 0u32;
    for byte in number.iter_mut() {
        let value = remainder * 256 + u32::from(*byte);
        *byte = u8::try_from(value / 36).unwrap_or(u8::MAX);
        remainder = value % 36;
    }
    u8::try_from(remainder).unwrap_or(0)
}

/// The `N` bytes that `text` stands for; `None` when a character is no digit or the number is too large.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut number = [0u8; N];
    for character in text.bytes() {
        let mut carry = match character {
            b'0'..=b'9' => u32::from(character - b'0'),
            b'a'..=b'z' => u32::from(character - b'a') + 10,
            _ => return None,
        };
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = value.to_be_bytes()[3];
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        for bytes in [[0u8; 16], [255; 16], *b"0123456789abcdef"] {
            let text = encode(&bytes, 25);
            assert_eq!(text.len(), 25);
            assert_eq!(decode::<16>(&text), Some(bytes));
        }
        assert_eq!(encode(&[35], 2), "0z");
        assert_eq!(encode(&[36], 2), "10");
    }

    #[test]
    fn refuses_other_characters_and_too_large_numbers() {
        assert_eq!(decode::<1>("73"), Some([255]));
        assert_eq!(decode::<1>("74"), None);
        assert_eq!(decode::<16>("A"), None);
        assert_eq!(decode::<16>("-"), None);
    }
}
