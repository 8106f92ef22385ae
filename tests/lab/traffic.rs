//! Requests as clients make them: one connection each, short time limits, nothing retried.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::RwLock;
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

/// Makes requests at `rate` a second, in turn to each of `targets`, until `stop`.
pub fn load(targets: &[SocketAddrV4], rate: u32, stop: &AtomicBool) -> Load {
    load_places(&Places::new(targets.iter().copied()), rate, stop)
}

/// Where requests may go just now. Who takes a place away waits for the requests that are on their way there.
#[derive(Debug, Default)]
pub struct Places(RwLock<Vec<SocketAddrV4>>);

impl Places {
    pub fn new(places: impl IntoIterator<Item = SocketAddrV4>) -> Self {
        Self(RwLock::new(places.into_iter().collect()))
    }

    pub fn remove(&self, place: SocketAddrV4) {
        self.0.write().unwrap().retain(|other| *other != place);
    }

    pub fn add(&self, place: SocketAddrV4) {
        self.0.write().unwrap().push(place);
    }

    /// Makes one request to the place whose turn it is, while none is taken away.
    fn ask(&self, turn: usize) -> Result<Duration, String> {
        let places = self.0.read().unwrap();
        let to = places[turn % places.len()];
        let asked = Instant::now();
        whoami(to).map(|_| asked.elapsed()).map_err(|error| format!("{to}: {error}"))
    }
}

/// Makes requests at `rate` a second, in turn to each of `places`, until `stop`. A request that is late is made
/// at once, so that a stall is not passed over.
pub fn load_places(places: &Places, rate: u32, stop: &AtomicBool) -> Load {
    let (start, mut seen) = (Instant::now(), Load::default());
    let gap = Duration::from_secs(1) / rate;
    for (number, turn) in (0u32..).zip(0..) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep((start + gap * number).saturating_duration_since(Instant::now()));
        match places.ask(turn) {
            Ok(took) => {
                seen.done += 1;
                seen.late += usize::from(took > Duration::from_millis(900));
            }
            Err(error) => seen.failed.push(format!("{:?} {error}", start.elapsed())),
        }
    }
    seen
}

/// Every one of `loads` went without a failure. Answers how many requests there were.
#[track_caller]
pub fn flawless(loads: &[Load]) -> usize {
    let failed: Vec<&String> = loads.iter().flat_map(|load| &load.failed).collect();
    let done: usize = loads.iter().map(|load| load.done).sum();
    assert!(
        failed.is_empty(),
        "{} of {done} requests failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    println!("{done} requests, {} of them late", loads.iter().map(|load| load.late).sum::<usize>());
    done
}
