//! From a packet to what is sent back: the part of the server that every transport shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{RData, Record};

use crate::index::{Answer, Index, OWN_TTL, Rotation};
use crate::message::{Body, Rejected, Request, encode, encode_refusal};
use crate::stats::{Counter, Counters};

/// Longest answer over TCP.
pub const TCP_MAX: u16 = u16::MAX;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

impl Transport {
    /// The longest answer to this question.
    pub fn limit(self, request: &Request) -> u16 {
        match self {
            Self::Udp => request.udp_limit(),
            Self::Tcp => TCP_MAX,
        }
    }
}

/// What is to be done with a packet.
#[derive(Debug)]
pub enum Step {
    /// The answer is in the buffer.
    Send,
    /// Nothing.
    Drop,
    /// Upstreams have to be asked.
    Ask(Box<Request>, Arc<[SocketAddr]>),
}

/// Answers a packet from the table, as far as it can. `None` for the table: there was never one, and nobody
/// can say yet who asks; that is SERVFAIL, which resolvers try again, not REFUSED.
pub fn answer(
    table: Option<&Index>,
    source: IpAddr,
    transport: Transport,
    packet: &[u8],
    counters: &Counters,
    out: &mut Vec<u8>,
) -> Step {
    counters.add(Counter::Queries);
    let request = match Request::parse(packet) {
        Ok(request) => request,
        Err(rejected) => return reject(&rejected, counters, out),
    };
    let limit = transport.limit(&request);
    let mut send = |counter, body: Body<'_>| {
        counters.add(counter);
        encode(&request, body, limit, out);
        Step::Send
    };
    let Some(table) = table else {
        return send(Counter::Failed, Body::code(ResponseCode::ServFail));
    };
    let own = Body { authoritative: true, ..Body::default() };
    match table.lookup(source, &request.key, request.query.query_type) {
        Answer::Addresses(list) => {
            let answers = address_records(&request.query, list);
            send(Counter::Own, Body { answers: &answers, ..own })
        }
        Answer::Pointer(name) => {
            let data = RData::PTR(PTR(name.clone()));
            let answers = [Record::from_rdata(request.query.name.clone(), OWN_TTL, data)];
            send(Counter::Own, Body { answers: &answers, ..own })
        }
        Answer::Empty => send(Counter::Own, own),
        Answer::NxDomain => send(Counter::NxDomain, Body { code: ResponseCode::NXDomain, ..own }),
        Answer::Refused => send(Counter::Refused, Body::code(ResponseCode::Refused)),
        Answer::Forward => Step::Ask(Box::new(request), Arc::clone(table.upstreams())),
    }
}

fn reject(rejected: &Rejected, counters: &Counters, out: &mut Vec<u8>) -> Step {
    counters.add(Counter::Malformed);
    match rejected {
        Rejected::Silent => Step::Drop,
        Rejected::Reply(refusal) => {
            encode_refusal(refusal, out);
            Step::Send
        }
    }
}

fn address_records(query: &Query, list: Rotation<'_>) -> Vec<Record> {
    let record = |address| {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        Record::from_rdata(query.name.clone(), OWN_TTL, data)
    };
    list.iter().map(record).collect()
}
