//! Names as the tables are indexed by them: wire form (RFC 1035 section 3.1) without the root, in lower case.
//!
//! Wire form and not text, because a label may hold a dot: the one label `tasks.web` is not the name of two.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// The longest name in wire form, the root's byte left out (RFC 1035 section 2.3.4).
const KEY_MAX: usize = 254;
const LABEL_MAX: usize = 63;

/// A name to look up. Equal names have equal bytes, whatever their case.
#[derive(Clone)]
pub struct Key {
    length: u8,
    bytes: [u8; KEY_MAX],
}

impl Key {
    const EMPTY: Self = Self { length: 0, bytes: [0; KEY_MAX] };

    /// The key of a name from the wire. `None` when it is longer than a name can be.
    pub fn of(name: &Name) -> Option<Self> {
        Self::from_labels(name.iter())
    }

    /// The key of a name as text, with or without a trailing dot. `None` when it is no name.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        Self::from_labels(text.split('.').map(str::as_bytes))
    }

    fn from_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut key = Self::EMPTY;
        labels.map(|label| key.push(label)).collect::<Option<()>>()?;
        Some(key)
    }

    fn push(&mut self, label: &[u8]) -> Option<()> {
        let start = usize::from(self.length);
        let end = start + 1 + label.len();
        if label.is_empty() || label.len() > LABEL_MAX || end > KEY_MAX {
            return None;
        }
        self.bytes[start] = u8::try_from(label.len()).ok()?;
        for (to, from) in self.bytes[start + 1..end].iter_mut().zip(label) {
            *to = from.to_ascii_lowercase();
        }
        self.length = u8::try_from(end).ok()?;
        Some(())
    }

    /// Wire form in lower case, without the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The labels, the leftmost first.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: self.as_bytes() }
    }

    /// The name without its last label, and that label; both in wire form. `None` for fewer than two labels.
    pub fn split_last(&self) -> Option<(&[u8], &[u8])> {
        let all = self.as_bytes();
        let last = self.labels().last()?;
        let rest = all.len().checked_sub(last.len() + 1)?;
        (rest > 0).then(|| all.split_at(rest))
    }

    /// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for, when it is a whole address.
    pub fn reverse_address(&self) -> Option<IpAddr> {
        let mut labels = self.labels();
        match self.labels().count() {
            6 => {
                let mut octets = [0_u8; 4];
                for octet in octets.iter_mut().rev() {
                    *octet = decimal(labels.next()?)?;
                }
                labels.ends_with(b"in-addr").then(|| Ipv4Addr::from(octets).into())
            }
            34 => {
                let mut address = 0_u128;
                for place in 0..32 {
                    address |= u128::from(nibble(labels.next()?)?) << (4 * place);
                }
                labels.ends_with(b"ip6").then(|| Ipv6Addr::from(address).into())
            }
            _ => None,
        }
    }
}

/// Writes the name as people do, for logs.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.labels().try_for_each(|label| write!(f, "{}.", label.escape_ascii()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The labels of a [`Key`], without their lengths.
#[derive(Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl Labels<'_> {
    fn ends_with(mut self, kind: &[u8]) -> bool {
        self.next() == Some(kind) && self.next() == Some(b"arpa") && self.next().is_none()
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(label)
    }
}

/// A decimal octet as `in-addr.arpa` writes it: no sign and no leading zero.
fn decimal(label: &[u8]) -> Option<u8> {
    let plain = label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label.first() != Some(&b'0'));
    plain.then(|| std::str::from_utf8(label).ok()?.parse().ok())?
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [letter @ b'a'..=b'f'] => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn case_and_trailing_dot_do_not_matter() {
        assert_eq!(key("Web.Net.").as_bytes(), b"\x03web\x03net");
        assert_eq!(key("web.net").as_bytes(), key("WEB.NET").as_bytes());
        let name = Name::from_ascii("Web.NET.").unwrap();
        assert_eq!(Key::of(&name).unwrap().as_bytes(), b"\x03web\x03net");
        assert!(Key::of(&Name::root()).unwrap().as_bytes().is_empty());
    }

    #[test]
    fn a_dot_inside_a_label_is_no_border() {
        let one = Name::from_labels([b"tasks.web".as_slice()]).unwrap();
        assert_ne!(Key::of(&one).unwrap().as_bytes(), key("tasks.web").as_bytes());
    }

    #[test]
    fn what_is_no_name_has_no_key() {
        for text in ["", "..", "a..b", ".a", &"x".repeat(64), &vec!["x".repeat(63); 4].join(".")] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_last_label_comes_off() {
        assert_eq!(key("tasks.web.net").split_last(), Some((&b"\x05tasks\x03web"[..], &b"\x03net"[..])));
        assert_eq!(key("web").split_last(), None);
    }

    #[test]
    fn reverse_names() {
        let address = |text: &str| key(text).reverse_address();
        assert_eq!(address("4.3.2.10.IN-ADDR.arpa"), Some("10.2.3.4".parse().unwrap()));
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(address(six), Some("2001:db8::1".parse().unwrap()));
        for no in [
            "3.2.10.in-addr.arpa",
            "256.3.2.10.in-addr.arpa",
            "04.3.2.10.in-addr.arpa",
            "+4.3.2.10.in-addr.arpa",
            "4.3.2.10.in-addr.example",
            "5.4.3.2.10.in-addr.arpa",
            "in-addr.arpa",
        ] {
            assert_eq!(address(no), None, "{no}");
        }
    }

    proptest! {
        #[test]
        fn addresses_read_back(v4: u32, v6: u128) {
            for address in [IpAddr::from(Ipv4Addr::from(v4)), IpAddr::from(Ipv6Addr::from(v6))] {
                let key = Key::of(&Name::from(address)).unwrap();
                prop_assert_eq!(key.reverse_address(), Some(address));
            }
        }

        #[test]
        fn any_text_is_taken_or_refused(text: String) {
            if let Some(key) = Key::parse(&text) {
                prop_assert_eq!(key.labels().map(|label| label.len() + 1).sum::<usize>(), key.as_bytes().len());
            }
        }
    }
}
