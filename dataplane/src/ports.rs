//! Ports that the kernel must not give to outgoing connections: `net.ipv4.ip_local_reserved_ports`.
//!
//! The setting is the administrator's; the dataplane adds published ports to it and takes exactly these away
//! again. Which ones it added is kept by the caller, because it must survive the daemon.

use std::collections::BTreeSet;

/// A set of ports.
pub type Ports = BTreeSet<u16>;

/// The setting, and the dataplane's part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// What the setting should be.
    pub setting: Ports,
    /// What of it the dataplane has added.
    pub added: Ports,
}

/// Works out the setting from what it is now, what of that the dataplane added before, and the published ports.
/// A port that the administrator reserved stays, whether it is published or not.
pub fn reserve(current: &Ports, added: &Ports, published: &Ports) -> Reservation {
    let foreign: Ports = current.difference(added).copied().collect();
    Reservation {
        added: published.difference(&foreign).copied().collect(),
        setting: foreign.union(published).copied().collect(),
    }
}

/// Reads the kernel's text, `1,2,10-12`. What is no port is skipped: the kernel never writes such a thing.
pub fn read(text: &str) -> Ports {
    let mut ports = Ports::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
            ports.extend(from..=to);
        }
    }
    ports
}

/// Writes the kernel's text. An empty set is a line's end: an empty write would change nothing.
pub fn write(ports: &Ports) -> String {
    let mut ranges: Vec<String> = Vec::new();
    let mut rest = ports.iter().copied().peekable();
    while let Some(from) = rest.next() {
        let mut to = from;
        while let Some(next) = rest.next_if(|next| to.checked_add(1) == Some(*next)) {
            to = next;
        }
        ranges.push(if from == to { from.to_string() } else { format!("{from}-{to}") });
    }
    ranges.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &[u16]) -> Ports {
        list.iter().copied().collect()
    }

    #[test]
    fn text_reads_back() {
        for text in ["\n", "80\n", "80-82,443\n", "1,3,65534-65535\n"] {
            assert_eq!(write(&read(text)), text);
        }
    }

    #[test]
    fn the_administrators_ports_stay_and_ours_go() {
        let first = reserve(&ports(&[22, 8080]), &ports(&[]), &ports(&[8080, 9090]));
        assert_eq!(first, Reservation { setting: ports(&[22, 8080, 9090]), added: ports(&[9090]) });
        let changed_by_hand = ports(&[8080, 9090, 5000]);
        let second = reserve(&changed_by_hand, &first.added, &ports(&[7070]));
        assert_eq!(second, Reservation { setting: ports(&[5000, 7070, 8080]), added: ports(&[7070]) });
        let left = reserve(&second.setting, &second.added, &ports(&[]));
        assert_eq!(left, Reservation { setting: ports(&[5000, 8080]), added: ports(&[]) });
    }
}
