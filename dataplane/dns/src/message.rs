//! Questions from the wire and answers to it, on top of hickory's encoding. Nothing that arrives panics: what
//! cannot be read is answered FORMERR when there is somebody to answer, and dropped when there is not.

use hickory_proto::ProtoError;
use hickory_proto::op::{
    DEFAULT_MAX_PAYLOAD_LEN, Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query,
    ResponseCode,
};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use crate::key::Key;

/// The longest answer over UDP: what everybody's path carries without fragments (DNS flag day 2020).
pub const UDP_MAX: u16 = DEFAULT_MAX_PAYLOAD_LEN;

/// The longest answer over UDP to one who does not speak EDNS (RFC 1035 section 2.3.4).
const PLAIN_MAX: u16 = 512;

/// Bytes of an OPT record without options.
const OPT_LENGTH: u16 = 11;

/// The first of the types that ask for transfers and other things that are no records (RFC 6895), after
/// which only ANY is a question that we answer.
const META_TYPES: std::ops::RangeInclusive<u16> = 249..=254;

/// One question of a client.
#[derive(Debug, Clone)]
pub struct Request {
    /// Identifier, opcode and flags as they came.
    pub metadata: Metadata,
    /// The question, its name in the client's spelling.
    pub query: Query,
    /// The name to look up.
    pub key: Key,
    /// What the client said of EDNS.
    pub edns: Option<RequestEdns>,
}

/// The parts of a client's OPT record (RFC 6891) that answers depend on.
#[derive(Debug, Clone, Copy)]
pub struct RequestEdns {
    /// Bytes of UDP that the client takes.
    pub payload: u16,
    /// It wants DNSSEC records too.
    pub dnssec_ok: bool,
}

impl From<&Edns> for RequestEdns {
    fn from(edns: &Edns) -> Self {
        Self { payload: edns.max_payload(), dnssec_ok: edns.flags().dnssec_ok }
    }
}

/// Why a packet is no question that is looked up.
#[derive(Debug)]
pub enum Rejected {
    /// Nothing to answer to: too short, or itself an answer.
    Silent,
    /// Answered with this code.
    Reply(Box<Refusal>),
}

/// An answer that holds nothing but a code.
#[derive(Debug)]
pub struct Refusal {
    /// Identifier, opcode and flags as they came.
    pub metadata: Metadata,
    /// The question, when it could be read.
    pub query: Option<Query>,
    /// The code.
    pub code: ResponseCode,
    /// What the client said of EDNS.
    pub edns: Option<RequestEdns>,
}

impl Request {
    /// Reads a packet.
    pub fn parse(packet: &[u8]) -> Result<Self, Rejected> {
        let mut decoder = BinDecoder::new(packet);
        let Header { metadata, counts } = Header::read(&mut decoder).map_err(|_| Rejected::Silent)?;
        if metadata.message_type == MessageType::Response {
            return Err(Rejected::Silent);
        }
        if metadata.op_code != OpCode::Query {
            return Err(refuse(metadata, None, ResponseCode::NotImp, None));
        }
        let form_error = || refuse(metadata, None, ResponseCode::FormErr, None);
        if counts.queries != 1 || counts.answers != 0 || counts.authorities != 0 {
            return Err(form_error());
        }
        let query = Query::read(&mut decoder).map_err(|_| form_error())?;
        let key = Key::of(&query.name).ok_or_else(form_error)?;
        let edns = read_edns(&mut decoder, counts.additionals).ok_or_else(form_error)?;
        let code = unsupported(&query, edns.as_ref());
        let edns = edns.as_ref().map(RequestEdns::from);
        match code {
            Some(code) => Err(refuse(metadata, Some(query), code, edns)),
            None => Ok(Self { metadata, query, key, edns }),
        }
    }

    /// The longest answer that the client takes over UDP.
    pub fn udp_limit(&self) -> u16 {
        self.edns.map_or(PLAIN_MAX, |edns| edns.payload.clamp(PLAIN_MAX, UDP_MAX))
    }
}

fn refuse(
    metadata: Metadata,
    query: Option<Query>,
    code: ResponseCode,
    edns: Option<RequestEdns>,
) -> Rejected {
    Rejected::Reply(Box::new(Refusal { metadata, query, code, edns }))
}

/// `None`: malformed. `Some(None)`: the client does not speak EDNS.
#[allow(clippy::option_option)]
fn read_edns(decoder: &mut BinDecoder<'_>, additionals: u16) -> Option<Option<Edns>> {
    if additionals == 0 {
        return Some(None);
    }
    let (_, edns, _) = Message::read_records(decoder, usize::from(additionals), true, OpCode::Query).ok()?;
    Some(edns)
}

fn unsupported(query: &Query, edns: Option<&Edns>) -> Option<ResponseCode> {
    if edns.is_some_and(|edns| edns.version() > 0) {
        Some(ResponseCode::BADVERS)
    } else if query.query_class != DNSClass::IN {
        Some(ResponseCode::Refused)
    } else if META_TYPES.contains(&u16::from(query.query_type)) {
        Some(ResponseCode::NotImp)
    } else if query.query_type == RecordType::OPT {
        Some(ResponseCode::FormErr)
    } else {
        None
    }
}

/// What an answer says, apart from the question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Body<'a> {
    /// Code of the answer.
    pub code: ResponseCode,
    /// It comes from our own table.
    pub authoritative: bool,
    /// An upstream has validated it.
    pub authentic: bool,
    /// Answer section.
    pub answers: &'a [Record],
    /// Authority section.
    pub authorities: &'a [Record],
    /// Additional section, without the OPT record.
    pub additionals: &'a [Record],
}

impl Body<'_> {
    /// An answer without records.
    pub fn code(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

/// Writes an answer into `out`, at most `limit` bytes of it. What does not fit is left out from the end, and
/// the TC bit says so.
pub fn encode(request: &Request, body: Body<'_>, limit: u16, out: &mut Vec<u8>) {
    let mut metadata = answer_to(&request.metadata, body.code);
    metadata.authoritative = body.authoritative;
    metadata.authentic_data = body.authentic;
    write_or_fail(metadata, Some(&request.query), body, request.edns, limit, out);
}

/// Writes an answer that holds nothing but a code.
pub fn encode_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    let metadata = answer_to(&refusal.metadata, refusal.code);
    let body = Body::code(refusal.code);
    write_or_fail(metadata, refusal.query.as_ref(), body, refusal.edns, PLAIN_MAX, out);
}

fn answer_to(question: &Metadata, code: ResponseCode) -> Metadata {
    let mut metadata = Metadata::response_from_request(question);
    metadata.recursion_available = true;
    metadata.response_code = code;
    metadata
}

fn write_or_fail(
    metadata: Metadata,
    query: Option<&Query>,
    body: Body<'_>,
    edns: Option<RequestEdns>,
    limit: u16,
    out: &mut Vec<u8>,
) {
    out.clear();
    if let Err(error) = write(metadata, query, body, edns, limit, out) {
        tracing::warn!(%error, id = metadata.id, "an answer cannot be encoded");
        out.clear();
        out.extend(metadata.id.to_be_bytes());
        out.extend([0x80, 0x80 | ResponseCode::ServFail.low(), 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

fn write(
    mut metadata: Metadata,
    query: Option<&Query>,
    body: Body<'_>,
    edns: Option<RequestEdns>,
    limit: u16,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    let mut encoder = BinEncoder::new(out);
    let place = encoder.place::<Header>()?;
    query.map_or(Ok(()), |query| query.emit(&mut encoder))?;
    // The OPT record's room is kept, so that a cut answer still says that we speak EDNS.
    encoder.set_max_size(if edns.is_some() { limit.saturating_sub(OPT_LENGTH) } else { limit });
    let mut section = |records: &[Record]| emit_section(&mut encoder, records, &mut metadata.truncation);
    let (answers, authorities, additionals) =
        (section(body.answers)?, section(body.authorities)?, section(body.additionals)?);
    encoder.set_max_size(limit);
    if let Some(edns) = edns {
        opt(body.code, edns).emit(&mut encoder)?;
    }
    let counts = HeaderCounts {
        queries: u16::from(query.is_some()),
        answers,
        authorities,
        additionals: additionals + u16::from(edns.is_some()),
    };
    place.replace(&mut encoder, Header { metadata, counts })
}

/// Writes as many of the records as fit; none once something before them was left out.
fn emit_section(encoder: &mut BinEncoder<'_>, records: &[Record], cut: &mut bool) -> Result<u16, ProtoError> {
    if *cut {
        return Ok(0);
    }
    let written = match encoder.emit_all(records.iter()) {
        Ok(count) => count,
        Err(ProtoError::NotAllRecordsWritten { count, .. }) => {
            *cut = true;
            count
        }
        Err(error) => return Err(error),
    };
    u16::try_from(written).map_err(|_| ProtoError::Message("more than 65,535 records in a section"))
}

/// The DO bit is copied (RFC 3225 section 3).
fn opt(code: ResponseCode, client: RequestEdns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_MAX).set_rcode_high(code.high()).set_dnssec_ok(client.dnssec_ok);
    edns
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
