//! Requests as clients make them: one connection each, short time limits, nothing retried.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one request may take.
pub const LIMIT: Duration = Duration::from_secs(2);

/// What whoami answered: its `key=value` lines.
pub type Answer = BTreeMap<String, String>;

fn parse(body: &str) -> Answer {
    body.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// One HTTP request over a connection of its own.
pub fn get(to: SocketAddrV4, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    request(&mut stream, to, path)
}

/// One HTTP request over an open connection, which the server closes after it.
pub fn request(stream: &mut TcpStream, to: SocketAddrV4, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("unexpected answer {answer:?}"))),
    }
}

pub fn whoami(to: SocketAddrV4) -> io::Result<Answer> {
    get(to, "/").map(|body| parse(&body))
}

/// One datagram from a socket of its own, and the answer to it.
pub fn whoami_udp(to: SocketAddrV4) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(to)?;
    socket.send(b"hello")?;
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    Ok(parse(&String::from_utf8_lossy(&answer[..length])))
}

/// Makes `count` requests one after the other; each must succeed. Answers the tasks that were met.
#[track_caller]
pub fn met(count: usize, mut ask: impl FnMut() -> io::Result<Answer>) -> BTreeSet<String> {
    let answers: Vec<io::Result<Answer>> = (0..count).map(|_| ask()).collect();
    let failed: Vec<&io::Error> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(
        failed.is_empty(),
        "{} of {count} requests failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(3)]
    );
    answers.into_iter().flatten().map(|answer| answer["task"].clone()).collect()
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Load {
    pub done: usize,
    pub failed: Vec<String>,
    /// Requests that waited for a repeated SYN (a second and more).
    pub late: usize,
}

/// Makes requests at `rate` a second, in turn to each of `targets`, until `stop`. A request that is late is made
/// at once, so that a stall is not passed over.
pub fn load(targets: &[SocketAddrV4], rate: u32, stop: &AtomicBool) -> Load {
    let (start, mut seen) = (Instant::now(), Load::default());
    let gap = Duration::from_secs(1) / rate;
    for (number, to) in (0u32..).zip(targets.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep((start + gap * number).saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        match whoami(*to) {
            Ok(_) => {
                seen.done += 1;
                seen.late += usize::from(asked.elapsed() > Duration::from_millis(900));
            }
            Err(error) => seen.failed.push(format!("{:?} {to}: {error}", start.elapsed())),
        }
    }
    seen
}
