//! Own names, over the wire.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::support::*;

#[tokio::test]
async fn own_names_never_reach_an_upstream() {
    let (place, upstream) = (Place::new(), Upstream::start(found).await);
    let control = place.serving(&table(1, 3, &[upstream.address])).await;
    let asks = place.asks(CLIENT);
    let start = Instant::now();
    for kind in [RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS] {
        for name in ["web.", "WEB.Front.", "tasks.web.", "tasks.web.front."] {
            let answer = asks.udp(&question(name, kind)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name} {kind}");
            assert!(answer.metadata.authoritative);
            assert_eq!(!answer.answers.is_empty(), kind == RecordType::A, "{name} {kind}");
        }
    }
    assert!(start.elapsed() < mesh_dns_upstream_time(), "answered at once: {:?}", start.elapsed());
    assert_eq!(upstream.count(), (0, 0));
    let stats = control.stats().await.unwrap();
    assert_eq!((stats.queries, stats.own, stats.forwarded), (20, 20, 0));
    assert_eq!((stats.table_version, stats.clients, stats.names), (1, 2, 2));
}

/// Less than the time that one upstream has: whoever waited for one took longer.
fn mesh_dns_upstream_time() -> std::time::Duration {
    std::time::Duration::from_millis(1900)
}

#[tokio::test]
async fn addresses_pointers_and_who_may_ask() {
    let place = Place::new();
    place.serving(&table(1, 3, &[])).await;
    let asks = place.asks(CLIENT);
    assert_eq!(asks.addresses("web.").await, (ResponseCode::NoError, vec!["10.0.1.2".parse().unwrap()]));
    let (_, first) = asks.addresses("tasks.web.").await;
    let (_, second) = asks.addresses("tasks.web.").await;
    assert_eq!((first.len(), second.len()), (3, 3));
    assert_eq!(first[1], second[0], "the next one comes first");
    let pointer = asks.udp(&question("3.1.0.10.in-addr.arpa.", RecordType::PTR)).await;
    let RData::PTR(name) = &pointer.answers[0].data else { panic!("no PTR record: {pointer}") };
    assert_eq!(name.to_ascii(), "web.1.abc.");
    assert_eq!(place.asks(STRANGER).addresses("web.").await.0, ResponseCode::Refused);
    let internal = place.asks(INTERNAL);
    assert_eq!(internal.addresses("web.").await.1.len(), 1);
    assert_eq!(internal.addresses("nosuch.").await.0, ResponseCode::NXDomain);
    assert_eq!(internal.addresses("example.com.").await.0, ResponseCode::NXDomain);
}

#[tokio::test]
async fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    let place = Place::new();
    place.serving(&table(1, 200, &[])).await;
    let asks = place.asks(CLIENT);
    let plain = question("tasks.web.", RecordType::A);
    for (question, limit) in
        [(plain.clone(), 512), (with_edns(plain.clone(), 1000), 1000), (with_edns(plain.clone(), 4096), 1232)]
    {
        let answer = asks.packet(&question.to_vec().unwrap()).await;
        assert!(answer.len() <= limit && answer.len() + 16 > limit, "{} of {limit}", answer.len());
        let answer = hickory_proto::op::Message::from_vec(&answer).unwrap();
        assert!(answer.metadata.truncation);
        assert_eq!(answer.edns.is_some(), question.edns.is_some());
    }
    let whole = asks.tcp(&plain).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[tokio::test]
async fn a_connection_takes_several_questions_and_ends_on_nonsense() {
    let place = Place::new();
    place.serving(&table(1, 3, &[])).await;
    let mut stream = place.asks(CLIENT).connect().await;
    for _ in 0..3 {
        assert_eq!(over(&mut stream, &question("web.", RecordType::A)).await.answers.len(), 1);
    }
    // Longer than a question can be: the connection is closed, not waited on.
    stream.write_u16(u16::MAX).await.unwrap();
    let end = timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let place = Place::new();
    let control = place.serving(&table(1, 3, &[])).await;
    let asks = place.asks(CLIENT);
    let web = question("web.", RecordType::A);
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut stream = asks.connect().await;
        over(&mut stream, &web).await;
        open.push(stream);
    }
    let end = timeout(PATIENCE, asks.connect().await.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(place.asks(INTERNAL).tcp(&web).await.answers.len(), 1, "others are not hurt");
    assert_eq!(control.stats().await.unwrap().limited, 1);
}

#[tokio::test]
async fn malformed_packets_are_answered_or_dropped_and_hurt_nobody() {
    let place = Place::new();
    let control = place.serving(&table(1, 3, &[])).await;
    let asks = place.asks(CLIENT);
    let code = |answer: &[u8]| answer[3] & 0x0f;
    let whole = question("web.", RecordType::A).to_vec().unwrap();
    let format_error = asks.packet(&whole[..whole.len() - 2]).await;
    assert_eq!((&format_error[..2], code(&format_error)), (&whole[..2], 1));
    let mut status = whole.clone();
    status[2] |= 2 << 3;
    assert_eq!(code(&asks.packet(&status).await), 4);
    let mut loops = whole.clone();
    loops[12..14].copy_from_slice(&[0xc0, 12]);
    assert_eq!(code(&asks.packet(&loops).await), 1);
    // An answer is not answered, and neither is what has no header: the next question's answer is the first.
    let socket = tokio::net::UdpSocket::bind((CLIENT, 0)).await.unwrap();
    let mut response = whole.clone();
    response[2] |= 0x80;
    for packet in [&response, &whole[..5], &[][..], &whole] {
        socket.send_to(packet, place.launch.listen).await.unwrap();
    }
    let mut buffer = [0; 512];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((&buffer[..2], code(&buffer[..length])), (&whole[..2], 0));
    assert_eq!(control.stats().await.unwrap().malformed, 6);
}
