//! The reader of the ring buffer.

use std::io;
use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use mesh_abi::record::{Event, FlowRecord as Raw};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::{FlowEvent, FlowPath, FlowRecord};
use crate::kernel;
use crate::node::Applied;
use crate::plan::ServiceNumbers;

/// Records taken in one go before others get their turn.
const BATCH: usize = 256;

/// Starts the task that hands every record to `records`. It ends when it is aborted.
pub fn spawn_reader(
    ring: RingBuf<MapData>,
    applied: watch::Receiver<Applied>,
    records: broadcast::Sender<FlowRecord>,
) -> io::Result<JoinHandle<()>> {
    let mut ring = kernel::watch_ring(ring)?;
    Ok(tokio::spawn(async move {
        while let Ok(mut ready) = ring.readable_mut().await {
            let services = Arc::clone(&applied.borrow().services);
            let mut taken = 0;
            while taken < BATCH
                && let Some(item) = ready.get_inner_mut().next()
            {
                taken += 1;
                // Nobody listening is no error.
                read(&item, &services).map(|record| records.send(record).ok());
            }
            if taken < BATCH {
                ready.clear_ready();
            } else {
                tokio::task::yield_now().await;
            }
        }
    }))
}

/// Reads a record; `None` for one that this version does not know.
fn read(bytes: &[u8], services: &ServiceNumbers) -> Option<FlowRecord> {
    let raw = decode(bytes)?;
    let event = match raw.event {
        number if number == Event::New as u8 => FlowEvent::New,
        number if number == Event::Closed as u8 => FlowEvent::Closed,
        _ => return None,
    };
    let path = FlowPath {
        protocol: super::protocol(raw.protocol)?,
        kind: super::kind(raw.kind)?,
        network: super::network(raw.vni),
        client: super::source(&raw.original),
        frontend: super::destination(&raw.original),
        backend: super::destination(&raw.translated),
        endpoint: raw.backend,
        service: services.name(raw.service).map(str::to_owned),
        ingress_node: super::node(raw.node),
    };
    Some(FlowRecord { at: raw.at, event, path })
}

/// Field by field, because a ring buffer's item is bytes: the layout is that of [`Raw`].
fn decode(bytes: &[u8]) -> Option<Raw> {
    let (words, rest) = bytes.as_chunks::<4>();
    if words.len() * 4 < size_of::<Raw>() || !rest.is_empty() {
        return None;
    }
    let word = |index: usize| u32::from_ne_bytes(words[index]);
    let big = |index: usize| mesh_abi::Be32::from_raw(word(index));
    let port = |index: usize, half: usize| {
        let bytes = words[index];
        mesh_abi::Be16::from_raw(u16::from_ne_bytes([bytes[half * 2], bytes[half * 2 + 1]]))
    };
    let tuple = |at: usize| mesh_abi::conntrack::Tuple {
        src: big(at),
        dst: big(at + 1),
        sport: port(at + 2, 0),
        dport: port(at + 2, 1),
    };
    let [protocol, event, kind, _] = words[12];
    Some(Raw {
        at: u64::from_ne_bytes([
            words[0][0],
            words[0][1],
            words[0][2],
            words[0][3],
            words[1][0],
            words[1][1],
            words[1][2],
            words[1][3],
        ]),
        original: tuple(2),
        translated: tuple(5),
        vni: word(8),
        backend: word(9),
        service: word(10),
        node: big(11),
        protocol,
        event,
        kind,
        reserved: [0; 5],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Protocol;
    use crate::flow::FlowKind;

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend([192, 0, 2, 200, 192, 0, 2, 11, 0x9c, 0x40, 0x1f, 0x90]);
        bytes.extend([192, 0, 2, 200, 10, 0, 0, 3, 0x9c, 0x40, 0, 80]);
        for word in [mesh_abi::tunnel::INGRESS_VNI, 42, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([192, 0, 2, 11]);
        bytes.extend([6, 1, 3, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_record_is_read_as_the_programs_write_it() {
        let read = read(&record(), &ServiceNumbers::default()).unwrap();
        assert_eq!((read.at, read.event), (7, FlowEvent::New));
        let path = read.path;
        assert_eq!((path.protocol, path.kind, path.network), (Protocol::Tcp, FlowKind::Published, None));
        assert_eq!(path.client.to_string(), "192.0.2.200:40000");
        assert_eq!(path.frontend.to_string(), "192.0.2.11:8080");
        assert_eq!(path.backend.to_string(), "10.0.0.3:80");
        assert_eq!((path.endpoint, path.ingress_node), (42, Some([192, 0, 2, 11].into())));
    }

    #[test]
    fn what_is_unknown_or_cut_off_is_skipped() {
        let mut unknown = record();
        unknown[49] = 9;
        assert_eq!(read(&unknown, &ServiceNumbers::default()), None);
        assert_eq!(read(&record()[..40], &ServiceNumbers::default()), None);
    }
}
