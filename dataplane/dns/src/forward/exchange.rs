//! One question to one upstream: UDP first, without EDNS if it does not speak it, TCP if the answer is cut.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::serialize::binary::DecodeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::message::{Request, UDP_MAX};

/// Time that one upstream has for an answer.
const UDP_TIME: Duration = Duration::from_secs(2);
/// Time for the answer over TCP, connecting included.
const TCP_TIME: Duration = Duration::from_secs(2);

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It did not answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The network said no.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What came of it.
        error: io::Error,
    },
    /// Its answer over TCP cannot be read.
    #[error("unreadable answer: {0}")]
    Decode(#[from] DecodeError),
    /// The question cannot be written.
    #[error("question cannot be encoded: {0}")]
    Encode(#[from] ProtoError),
    /// Its answer over TCP is to something else.
    #[error("the answer is not to the question")]
    Mismatch,
}

fn io(doing: &'static str) -> impl FnOnce(io::Error) -> ExchangeError {
    move |error| ExchangeError::Io { doing, error }
}

/// Asks one upstream.
pub async fn ask(upstream: SocketAddr, request: &Request) -> Result<Message, ExchangeError> {
    let mut message = over_udp(upstream, &question(request, true)).await?;
    let code = message.metadata.response_code;
    if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) && message.edns.is_none() {
        message = over_udp(upstream, &question(request, false)).await?;
    }
    if message.metadata.truncation {
        message = over_tcp(upstream, &question(request, true)).await?;
    }
    Ok(message)
}

/// The question as we ask it: with an identifier of our own.
fn question(request: &Request, edns: bool) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = request.metadata.checking_disabled;
    message.add_query(Query::query(request.query.name.clone(), request.query.query_type));
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX);
        edns.set_dnssec_ok(request.edns.is_some_and(|edns| edns.dnssec_ok));
        message.set_edns(edns);
    }
    message
}

/// Whether this answers the question: forged answers have to guess the identifier and our port. Servers that
/// do not know EDNS may answer FORMERR without the question (RFC 6891 section 7).
fn answers(question: &Message, message: &Message) -> bool {
    let bare = message.queries.is_empty() && message.metadata.response_code == ResponseCode::FormErr;
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == question.metadata.id
        && (bare || message.queries == question.queries)
}

async fn over_udp(upstream: SocketAddr, question: &Message) -> Result<Message, ExchangeError> {
    let exchange = async {
        let socket = UdpSocket::bind((any_like(upstream), 0)).await.map_err(io("open a UDP socket"))?;
        socket.connect(upstream).await.map_err(io("connect over UDP"))?;
        socket.send(&question.to_vec()?).await.map_err(io("send over UDP"))?;
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(io("receive over UDP"))?;
            // What cannot be read or is to another question may be forged: the right one may still come.
            if let Ok(message) = Message::from_vec(&buffer[..length])
                && answers(question, &message)
            {
                return Ok(message);
            }
        }
    };
    timeout(UDP_TIME, exchange).await.map_err(|_| ExchangeError::TimedOut(UDP_TIME))?
}

async fn over_tcp(upstream: SocketAddr, question: &Message) -> Result<Message, ExchangeError> {
    let exchange = async {
        let mut stream = TcpStream::connect(upstream).await.map_err(io("connect over TCP"))?;
        let packet = question.to_vec()?;
        let length = u16::try_from(packet.len()).map_err(|_| ExchangeError::Mismatch)?;
        let framed = [&length.to_be_bytes()[..], &packet].concat();
        stream.write_all(&framed).await.map_err(io("send over TCP"))?;
        let length = stream.read_u16().await.map_err(io("receive over TCP"))?;
        let mut packet = vec![0; usize::from(length)];
        stream.read_exact(&mut packet).await.map_err(io("receive over TCP"))?;
        let message = Message::from_vec(&packet)?;
        if answers(question, &message) { Ok(message) } else { Err(ExchangeError::Mismatch) }
    };
    timeout(TCP_TIME, exchange).await.map_err(|_| ExchangeError::TimedOut(TCP_TIME))?
}

/// The unspecified address of the same family.
fn any_like(upstream: SocketAddr) -> IpAddr {
    if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
