//! Numbers that flows tell their services by.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::DesiredState;

/// Service names and their numbers. A number is made from the name alone, so that a restarted daemon, and
/// every other one, gives the same; where two names meet, the later one in the alphabet takes the next number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceNumbers {
    by_name: BTreeMap<String, u32>,
    by_number: BTreeMap<u32, String>,
}

impl ServiceNumbers {
    /// Numbers for all services of a state.
    pub fn of(state: &DesiredState) -> Self {
        let vips = state.vips.iter().map(|vip| vip.service.as_str());
        let names: BTreeSet<&str> =
            vips.chain(state.published.iter().map(|port| port.service.as_str())).collect();
        Self::of_names(names, fnv1a)
    }

    fn of_names(names: BTreeSet<&str>, hash: impl Fn(&str) -> u32) -> Self {
        let mut numbers = Self::default();
        for name in names {
            let mut number = hash(name).max(1);
            while numbers.by_number.contains_key(&number) {
                number = number.wrapping_add(1).max(1);
            }
            numbers.by_name.insert(name.to_owned(), number);
            numbers.by_number.insert(number, name.to_owned());
        }
        numbers
    }

    /// The service's number; 0 for an unknown one.
    pub fn number(&self, service: &str) -> u32 {
        self.by_name.get(service).copied().unwrap_or(0)
    }

    /// The service with this number.
    pub fn name(&self, number: u32) -> Option<&str> {
        self.by_number.get(&number).map(String::as_str)
    }
}

/// FNV-1a, 32 bits (draft-eastlake-fnv).
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!((fnv1a(""), fnv1a("a"), fnv1a("foobar")), (0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968));
    }

    #[test]
    fn names_that_meet_are_told_apart_and_zero_is_never_given() {
        let numbers = ServiceNumbers::of_names(BTreeSet::from(["a", "b", "c"]), |_| u32::MAX);
        assert_eq!(["a", "b", "c"].map(|name| numbers.number(name)), [u32::MAX, 1, 2]);
        assert_eq!((numbers.name(1), numbers.name(7), numbers.number("d")), (Some("b"), None, 0));
    }
}
