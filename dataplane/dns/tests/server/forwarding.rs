//! Names that are not ours.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::time::Instant;

use crate::support::*;

fn silent(_: &Message, _: bool) -> Option<Message> {
    None
}

fn failing(question: &Message, _: bool) -> Option<Message> {
    Some(reply(question, ResponseCode::ServFail))
}

/// Cuts every answer over UDP.
fn long(question: &Message, tcp: bool) -> Option<Message> {
    let mut reply = reply(question, ResponseCode::NoError);
    reply.metadata.truncation = !tcp;
    let name = &question.queries[0].name;
    let record = |last| Record::from_rdata(name.clone(), 60, RData::A(A([198, 51, 100, last].into())));
    if tcp {
        reply.add_answers((0..100).map(record));
    }
    Some(reply)
}

/// A server from before EDNS.
fn no_edns(question: &Message, tcp: bool) -> Option<Message> {
    if question.edns.is_none() { found(question, tcp) } else { Some(reply(question, ResponseCode::FormErr)) }
}

/// Answers to an identifier that was not asked with.
fn forged(question: &Message, tcp: bool) -> Option<Message> {
    let mut wrong = found(question, tcp)?;
    wrong.metadata.id = wrong.metadata.id.wrapping_add(1);
    Some(wrong)
}

#[tokio::test]
async fn answers_are_remembered() {
    let (place, upstream) = (Place::new(), Upstream::start(found).await);
    let control = place.serving(&table(1, 3, &[upstream.address])).await;
    let asks = place.asks(CLIENT);
    for name in ["example.com.", "EXAMPLE.com.", "single.", "single."] {
        let (code, found) = asks.addresses(name).await;
        assert_eq!((code, found), (ResponseCode::NoError, vec!["192.0.2.80".parse().unwrap()]), "{name}");
    }
    assert_eq!(upstream.count(), (2, 0), "each name once");
    let answer = asks.udp(&question("example.com.", RecordType::A)).await;
    assert!(!answer.metadata.authoritative && answer.metadata.recursion_available);
    // Over TCP it is the same cache, and another type is another question.
    assert_eq!(asks.tcp(&question("example.com.", RecordType::A)).await.answers.len(), 1);
    asks.udp(&question("example.com.", RecordType::TXT)).await;
    assert_eq!(upstream.count(), (3, 0));
    let stats = control.stats().await.unwrap();
    assert_eq!((stats.forwarded, stats.cached), (3, 4));
    // With other upstreams nothing of the former is remembered.
    let other = Upstream::start(found).await;
    control.publish(&table(2, 3, &[other.address])).await.unwrap();
    asks.addresses("example.com.").await;
    assert_eq!(other.count(), (1, 0));
}

#[tokio::test]
async fn names_that_do_not_exist_are_remembered_too() {
    let (place, upstream) = (Place::new(), Upstream::start(nothing).await);
    place.serving(&table(1, 3, &[upstream.address])).await;
    for _ in 0..3 {
        let answer = place.asks(CLIENT).udp(&question("nosuch.example.", RecordType::A)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.authorities.len(), 1, "the SOA record lets the client remember as well");
    }
    assert_eq!(upstream.count(), (1, 0));
}

#[tokio::test]
async fn a_dead_or_failing_upstream_costs_no_time() {
    for behaviour in [silent as Behaviour, failing, forged] {
        let (bad, good) = (Upstream::start(behaviour).await, Upstream::start(found).await);
        let place = Place::new();
        place.serving(&table(1, 3, &[bad.address, good.address])).await;
        let start = Instant::now();
        assert_eq!(place.asks(CLIENT).addresses("example.com.").await.1.len(), 1);
        assert!(start.elapsed().as_millis() < 1900, "{:?}", start.elapsed());
        // The first one may be called off before it has seen the question.
        assert!(bad.count().0 <= 1 && good.count() == (1, 0));
    }
}

#[tokio::test]
async fn the_third_upstream_is_asked_when_the_first_two_know_nothing() {
    let (bad, worse) = (Upstream::start(failing).await, Upstream::start(failing).await);
    let good = Upstream::start(found).await;
    let place = Place::new();
    place.serving(&table(1, 3, &[bad.address, worse.address, good.address])).await;
    assert_eq!(place.asks(CLIENT).addresses("example.com.").await.1.len(), 1);
}

#[tokio::test]
async fn nobody_knows_is_servfail_and_asked_again_after_a_moment_only() {
    let (one, two) = (Upstream::start(failing).await, Upstream::start(failing).await);
    let place = Place::new();
    let control = place.serving(&table(1, 3, &[one.address, two.address])).await;
    let asks = place.asks(CLIENT);
    assert_eq!(asks.addresses("example.com.").await.0, ResponseCode::ServFail);
    assert_eq!((one.count(), two.count()), ((2, 0), (2, 0)), "two rounds");
    control.publish(&table(2, 3, &[])).await.unwrap();
    assert_eq!(asks.addresses("example.com.").await.0, ResponseCode::ServFail, "no upstream at all");
}

#[tokio::test]
async fn cut_answers_are_fetched_over_tcp() {
    let (place, upstream) = (Place::new(), Upstream::start(long).await);
    place.serving(&table(1, 3, &[upstream.address])).await;
    let asks = place.asks(CLIENT);
    let cut = asks.udp(&question("big.example.", RecordType::A)).await;
    assert!(cut.metadata.truncation && !cut.answers.is_empty());
    let whole = asks.tcp(&question("big.example.", RecordType::A)).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
    assert_eq!(upstream.count(), (1, 1));
}

#[tokio::test]
async fn upstreams_without_edns_are_asked_without_it() {
    let (place, upstream) = (Place::new(), Upstream::start(no_edns).await);
    place.serving(&table(1, 3, &[upstream.address])).await;
    assert_eq!(place.asks(CLIENT).addresses("example.com.").await.1.len(), 1);
    assert_eq!(upstream.count(), (2, 0));
}

#[tokio::test]
async fn own_names_are_answered_while_a_client_waits_for_upstreams_in_hundreds() {
    let (place, upstream) = (Place::new(), Upstream::start(silent).await);
    let control = place.serving(&table(1, 3, &[upstream.address])).await;
    let socket = tokio::net::UdpSocket::bind((CLIENT, 0)).await.unwrap();
    for number in 0..400 {
        let packet = question(&format!("n{number}.example."), RecordType::A).to_vec().unwrap();
        socket.send_to(&packet, place.launch.listen).await.unwrap();
    }
    let start = Instant::now();
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1);
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
    // What is beyond the limit of one client is told so at once.
    let mut buffer = [0; 512];
    for _ in 0..144 {
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(control.stats().await.unwrap().limited, 144);
}
