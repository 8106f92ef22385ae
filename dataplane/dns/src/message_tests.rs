//! Packets in, packets out.

use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData};
use proptest::prelude::*;

use super::*;
use crate::forward::Said;

fn query(name: &str) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

fn edns(payload: u16, version: u8) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(version);
    edns
}

/// The code that a packet is refused with; `None` when it is dropped.
fn refusal(message: &Message) -> Option<u16> {
    match Request::parse(&message.to_vec().unwrap()) {
        Ok(request) => panic!("taken: {request:?}"),
        Err(Rejected::Silent) => None,
        Err(Rejected::Reply(refusal)) => {
            let mut out = Vec::new();
            encode_refusal(&refusal, &mut out);
            let reply = Message::from_vec(&out).unwrap();
            assert_eq!(reply.metadata.id, 0x1234);
            assert_eq!(reply.metadata.message_type, MessageType::Response);
            Some(reply.metadata.response_code.into())
        }
    }
}

fn records(count: u8) -> Vec<Record> {
    let record =
        |last| Record::from_rdata(Name::from_ascii("web.").unwrap(), 1, RData::A(A([10, 0, 0, last].into())));
    (0..count).map(record).collect()
}

fn encoded(request: &Request, count: u8, limit: u16) -> (usize, Message) {
    let answers = records(count);
    let mut out = vec![0xff; 3];
    encode(request, Body { authoritative: true, answers: &answers, ..Body::default() }, limit, &mut out);
    (out.len(), Message::from_vec(&out).unwrap())
}

#[test]
fn what_is_not_served_is_refused_with_the_right_code() {
    let change = |change: &dyn Fn(&mut Message)| {
        let mut message = query("web.");
        change(&mut message);
        refusal(&message)
    };
    // As numbers, because 16 is BADVERS and BADSIG.
    let code = |code: ResponseCode| Some(u16::from(code));
    assert_eq!(change(&|m| m.metadata.op_code = OpCode::Status), code(ResponseCode::NotImp));
    assert_eq!(change(&|m| m.metadata.op_code = OpCode::Notify), code(ResponseCode::NotImp));
    assert_eq!(change(&|m| m.queries.clear()), code(ResponseCode::FormErr));
    assert_eq!(change(&|m| m.queries.push(m.queries[0].clone())), code(ResponseCode::FormErr));
    assert_eq!(change(&|m| m.answers = records(1)), code(ResponseCode::FormErr));
    assert_eq!(change(&|m| m.queries[0].query_class = DNSClass::CH), code(ResponseCode::Refused));
    assert_eq!(change(&|m| m.queries[0].query_type = RecordType::AXFR), code(ResponseCode::NotImp));
    assert_eq!(change(&|m| m.queries[0].query_type = RecordType::OPT), code(ResponseCode::FormErr));
    assert_eq!(change(&|m| m.edns = Some(edns(1232, 1))), code(ResponseCode::BADVERS));
    assert_eq!(change(&|m| m.metadata.message_type = MessageType::Response), None);
    assert!(matches!(Request::parse(&[0; 11]), Err(Rejected::Silent)));
    let cut = query("web.").to_vec().unwrap();
    assert!(matches!(Request::parse(&cut[..cut.len() - 1]), Err(Rejected::Reply(_))));
}

#[test]
fn answers_echo_the_question_and_the_flags() {
    let request = Request::parse(&query("WeB.").to_vec().unwrap()).unwrap();
    let (_, reply) = encoded(&request, 2, 512);
    assert_eq!(reply.queries[0].name.to_ascii(), "WeB.");
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
    assert!(reply.metadata.authoritative && !reply.metadata.truncation);
    assert_eq!((reply.metadata.id, reply.answers.len(), reply.edns), (0x1234, 2, None));
}

#[test]
fn answers_keep_to_what_the_client_takes() {
    let mut signed = query("web.");
    signed.edns = Some(edns(1232, 0));
    for dnssec_ok in [false, true] {
        signed.edns.as_mut().unwrap().set_dnssec_ok(dnssec_ok);
        let (_, reply) = encoded(&Request::parse(&signed.to_vec().unwrap()).unwrap(), 1, 1232);
        assert_eq!(reply.edns.unwrap().flags().dnssec_ok, dnssec_ok);
    }
    for (payload, limit) in [(None, 512), (Some(100), 512), (Some(900), 900), (Some(65_000), 1232)] {
        let mut message = query("web.");
        message.edns = payload.map(|payload| edns(payload, 0));
        let request = Request::parse(&message.to_vec().unwrap()).unwrap();
        assert_eq!(request.udp_limit(), limit);
        let (length, reply) = encoded(&request, 200, limit);
        assert!(length <= usize::from(limit), "{length} > {limit}");
        assert!(length + 16 > usize::from(limit), "as many as fit: {length} of {limit}");
        assert!(reply.metadata.truncation);
        assert_eq!(reply.edns.is_some(), payload.is_some());
        let (_, whole) = encoded(&request, 200, u16::MAX);
        assert!(!whole.metadata.truncation);
        assert_eq!(whole.answers.len(), 200);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        check(&bytes)?;
    }

    /// Near misses reach further into the parser than noise does.
    #[test]
    fn damaged_questions_are_taken_or_refused(
        damage in prop::collection::vec((0_usize..64, any::<u8>()), 1..6),
        cut in 0_usize..64,
    ) {
        let mut message = query("tasks.web.");
        message.edns = Some(edns(1232, 0));
        let mut bytes = message.to_vec().unwrap();
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 8));
        check(&bytes)?;
    }
}

/// An answer as upstreams send it, with every section filled.
fn upstream_answer() -> Message {
    use hickory_proto::rr::rdata::{CNAME, MX, NULL, SOA, TXT};
    let name = |text| Name::from_ascii(text).unwrap();
    let record = |data| Record::from_rdata(name("tasks.web."), 60, data);
    let mut message = query("tasks.web.");
    message.metadata.message_type = MessageType::Response;
    message.add_answers([
        record(RData::CNAME(CNAME(name("alias.example.")))),
        record(RData::MX(MX::new(10, name("mail.alias.example.")))),
        record(RData::TXT(TXT::new(vec!["some text".to_owned()]))),
        record(RData::Unknown { code: RecordType::Unknown(65280), rdata: NULL::with(vec![1, 2, 3]) }),
    ]);
    message.add_answers(records(3));
    let soa = SOA::new(name("ns.example."), name("host.example."), 1, 2, 3, 4, 60);
    message.add_authority(record(RData::SOA(soa)));
    message.add_additionals(records(2));
    message.set_edns(edns(1232, 0));
    message
}

#[test]
fn an_upstream_answer_is_sent_on_whole() {
    let request = Request::parse(&query("tasks.web.").to_vec().unwrap()).unwrap();
    let upstream = Message::from_vec(&upstream_answer().to_vec().unwrap()).unwrap();
    let mut out = Vec::new();
    encode(&request, Said::from(upstream.clone()).body(), u16::MAX, &mut out);
    let sent = Message::from_vec(&out).unwrap();
    assert_eq!(sent.answers, upstream.answers);
    assert_eq!((sent.authorities, sent.additionals), (upstream.authorities, upstream.additionals));
    assert_eq!((sent.edns, sent.metadata.authoritative), (None, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_damaged_upstream_answer_is_sent_on_or_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = upstream_answer().to_vec().unwrap();
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
        }
        if let Ok(message) = Message::from_vec(&bytes) {
            let request = Request::parse(&query("tasks.web.").to_vec().unwrap()).unwrap();
            let mut out = Vec::new();
            encode(&request, Said::from(message).body(), 512, &mut out);
            prop_assert!(out.len() <= 512 && out[2] & 0x80 != 0);
        }
    }
}

/// Whatever comes out is an answer to what came in, with its identifier.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut out = Vec::new();
    match Request::parse(bytes) {
        Ok(request) => encode(&request, Body::code(ResponseCode::ServFail), request.udp_limit(), &mut out),
        Err(Rejected::Reply(refusal)) => encode_refusal(&refusal, &mut out),
        Err(Rejected::Silent) => return Ok(()),
    }
    prop_assert_eq!(&out[..2], &bytes[..2]);
    prop_assert!(out[2] & 0x80 != 0);
    prop_assert!(Message::from_vec(&out).is_ok());
    Ok(())
}
