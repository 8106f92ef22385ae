//! Connections that live on: a request over each now and then, until the server ends it, then the next one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::traffic::LIMIT;

/// What one client's connections came to.
#[derive(Debug, Default)]
pub struct Long {
    pub answers: usize,
    /// Ended by the server's FIN: the task, and when that was seen.
    pub ended: Vec<(String, SystemTime)>,
    /// Requests that the server's FIN came instead of an answer to.
    pub unanswered: usize,
    pub failed: Vec<String>,
}

/// What came over a connection.
enum Heard {
    /// An answer: the task, and whether it is the last.
    Answer(String, bool),
    /// The end of the stream.
    Fin,
}

/// Keeps a connection to `to` with a request `every` so often, until `stop`.
pub fn live(to: SocketAddrV4, every: Duration, stop: &AtomicBool) -> Long {
    let (mut seen, start) = (Long::default(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let mut task = String::new();
        if let Err(error) = connection(to, every, stop, &mut seen, &mut task) {
            seen.failed.push(format!("{:?} {to} to task {task:?}: {error}", start.elapsed()));
        }
    }
    seen
}

/// One connection to its end.
fn connection(
    to: SocketAddrV4,
    every: Duration,
    stop: &AtomicBool,
    seen: &mut Long,
    task: &mut String,
) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    while !stop.load(Ordering::Relaxed) {
        write!(stream, "GET / HTTP/1.1\r\nHost: {to}\r\n\r\n")?;
        let last = match hear(&mut stream)? {
            Heard::Answer(by, last) => {
                seen.answers += 1;
                *task = by;
                last
            }
            Heard::Fin => {
                seen.unanswered += 1;
                seen.ended.push((task.clone(), SystemTime::now()));
                return Ok(());
            }
        };
        if last {
            return match hear(&mut stream)? {
                Heard::Fin => {
                    seen.ended.push((task.clone(), SystemTime::now()));
                    Ok(())
                }
                Heard::Answer(..) => Err(io::Error::other("an answer after the last")),
            };
        }
        std::thread::sleep(every);
    }
    Ok(())
}

/// Reads one answer, or the end.
fn hear(stream: &mut TcpStream) -> io::Result<Heard> {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece)? {
            0 if text.is_empty() => return Ok(Heard::Fin),
            0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("cut off after {text:?}"))),
            length => text.push_str(&String::from_utf8_lossy(&piece[..length])),
        }
        if let Some(heard) = whole(&text)? {
            return Ok(heard);
        }
    }
}

/// The answer, once it is whole.
fn whole(text: &str) -> io::Result<Option<Heard>> {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let header = |name: &str| {
        let line = head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        line.map(|(_, value)| value)
    };
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other(format!("no length: {head:?}")))?;
    if body.len() < length {
        return Ok(None);
    }
    let task = body.lines().find_map(|line| line.strip_prefix("task="));
    match task.filter(|_| head.starts_with("HTTP/1.1 200")) {
        Some(task) => Ok(Some(Heard::Answer(task.to_owned(), header("connection") == Some("close")))),
        None => Err(io::Error::other(format!("unexpected answer {text:?}"))),
    }
}
