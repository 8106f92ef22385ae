//! Names in the order in which people count: `n2` before `n10`, as docker's lists have them.

use std::cmp::Ordering;
use std::iter;

/// Runs of digits by their numbers and before everything else, the rest by bytes.
pub fn natural(one: &str, other: &str) -> Ordering {
    pieces(one).cmp(pieces(other))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    /// Of numbers without their leading zeros, of any size, the shorter is the smaller; of equal ones it is that
    /// with fewer zeros.
    Number { length: usize, digits: &'a [u8], zeros: usize },
    /// Anything else.
    Byte(u8),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text.as_bytes();
    iter::from_fn(move || {
        let piece;
        (piece, rest) = first(rest)?;
        Some(piece)
    })
}

fn first(text: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let (&byte, behind) = text.split_first()?;
    if !byte.is_ascii_digit() {
        return Some((Piece::Byte(byte), behind));
    }
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, behind) = text.split_at(end);
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    let digits = &number[zeros..];
    Some((Piece::Number { length: digits.len(), digits, zeros }, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_counted() {
        for ordered in [
            &["n1", "n2", "n10"][..],
            &["web", "web1", "web2", "web10", "web10a", "weba"],
            &["", "0", "00", "1", "01", "a"],
            &["key", "key.v2", "key.v9", "key.v10"],
            &["a2b1", "a2b3", "a10b2", "a-1"],
            &["x99999999999999999999998", "x99999999999999999999999", "x100000000000000000000000"],
        ] {
            let mut sorted = ordered.to_vec();
            sorted.reverse();
            sorted.sort_by(|one, other| natural(one, other));
            assert_eq!(sorted, ordered);
        }
        assert_eq!(natural("n10", "n10"), Ordering::Equal);
    }
}
