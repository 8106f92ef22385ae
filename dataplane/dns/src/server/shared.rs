//! What every transport works with: the table, the forwarder, the limits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hickory_proto::op::ResponseCode;

use crate::answer::{self, Step, Transport};
use crate::forward::Forwarder;
use crate::index::{Index, UnusableName};
use crate::limiter::{Limiter, Slot};
use crate::message::{Body, Request, encode};
use crate::stats::{Counter, Counters, Stats};
use crate::table::Table;

/// Questions that may wait for upstreams, in all and of one client.
const WAITING: (usize, usize) = (2048, 256);
/// TCP connections, in all and of one client.
const CONNECTIONS: (usize, usize) = (512, 32);

/// The server's state. Questions read it without a lock, except for the cache.
#[derive(Debug)]
pub struct Shared {
    table: ArcSwapOption<Index>,
    forwarder: Forwarder,
    waiting: Limiter,
    connections: Limiter,
    /// What has been done.
    pub counters: Arc<Counters>,
}

/// What is to be done with a packet.
#[derive(Debug)]
pub enum Next {
    /// The answer is in the buffer.
    Send,
    /// Nothing.
    Drop,
    /// [`Shared::ask`] will know.
    Ask(Pending),
}

/// A question that upstreams are to be asked.
#[derive(Debug)]
pub struct Pending {
    request: Box<Request>,
    upstreams: Arc<[SocketAddr]>,
    limit: u16,
    _slot: Slot,
}

impl Default for Shared {
    fn default() -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            table: ArcSwapOption::empty(),
            forwarder: Forwarder::new(Arc::clone(&counters)),
            waiting: Limiter::new(WAITING.0, WAITING.1),
            connections: Limiter::new(CONNECTIONS.0, CONNECTIONS.1),
            counters,
        }
    }
}

impl Shared {
    /// Answers from this table from now on; returns the names that are left out.
    pub fn publish(&self, table: &Table) -> Vec<UnusableName> {
        let (index, unusable) = Index::build(table);
        let index = Arc::new(index);
        let old = self.table.swap(Some(Arc::clone(&index)));
        if old.is_some_and(|old| old.upstreams() != index.upstreams()) {
            self.forwarder.forget();
        }
        unusable
    }

    /// The numbers.
    pub fn stats(&self) -> Stats {
        let table = self.table.load();
        let (clients, names) = table.as_ref().map_or((0, 0), |index| index.size());
        Stats {
            table_version: table.as_ref().map_or(0, |index| index.version()),
            clients: clients as u64,
            names: names as u64,
            ..self.counters.snapshot()
        }
    }

    /// A slot for a TCP connection of this client.
    pub fn connection(&self, source: IpAddr) -> Option<Slot> {
        let slot = self.connections.take(source);
        self.counters.add(if slot.is_some() { Counter::Connections } else { Counter::Limited });
        slot
    }

    /// Answers a packet as far as the table and the cache can.
    pub fn answer(&self, source: IpAddr, transport: Transport, packet: &[u8], out: &mut Vec<u8>) -> Next {
        let table = self.table.load();
        match answer::answer(table.as_deref(), source, transport, packet, &self.counters, out) {
            Step::Send => Next::Send,
            Step::Drop => Next::Drop,
            Step::Ask(request, upstreams) => {
                let limit = transport.limit(&request);
                self.recall(source, request, upstreams, limit, out)
            }
        }
    }

    /// From the cache, or else admits the question to those that wait for upstreams.
    fn recall(
        &self,
        source: IpAddr,
        request: Box<Request>,
        upstreams: Arc<[SocketAddr]>,
        limit: u16,
        out: &mut Vec<u8>,
    ) -> Next {
        if let Some(said) = self.forwarder.cached(&request) {
            encode(&request, said.body(), limit, out);
            return Next::Send;
        }
        let Some(slot) = self.waiting.take(source) else {
            self.counters.add(Counter::Limited);
            encode(&request, Body::code(ResponseCode::ServFail), limit, out);
            return Next::Send;
        };
        Next::Ask(Pending { request, upstreams, limit, _slot: slot })
    }

    /// Asks upstreams and writes the answer.
    pub async fn ask(&self, pending: Pending, out: &mut Vec<u8>) {
        let said = self.forwarder.ask(&pending.request, &pending.upstreams).await;
        encode(&pending.request, said.body(), pending.limit, out);
    }
}
