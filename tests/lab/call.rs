//! One request to a node's API with a limit of time, and what is known of it afterwards.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

/// What became of a request.
#[derive(Debug)]
#[expect(dead_code, reason = "errors are shown when a test fails")]
pub enum Said {
    /// It was answered. The body is null where it is no JSON.
    Answer { status: u16, body: Value },
    /// Nobody was there to take it.
    Unsent(io::Error),
    /// It was sent and not answered in time: it may have been done, or be done later.
    Unknown(io::Error),
}

/// Sends one request over a connection of its own.
pub fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>, limit: Duration) -> Said {
    let deadline = Instant::now() + limit;
    let mut stream = match connect(socket, limit) {
        Ok(stream) => stream,
        Err(error) => return Said::Unsent(error),
    };
    match exchange(&mut stream, method, path, body, deadline) {
        Ok(answer) => parse(&answer),
        Err(error) => Said::Unknown(error),
    }
}

/// The backlog of a stopped daemon may be full, which holds up a connection as long as its send limit.
fn connect(path: &Path, limit: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn exchange(
    stream: &mut Socket,
    method: &str,
    path: &str,
    body: Option<&Value>,
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: mesh\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 16_384]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            length => answer.extend_from_slice(&piece[..length]),
        }
    }
}

fn parse(answer: &[u8]) -> Said {
    let text = String::from_utf8_lossy(answer);
    let cut = || io::Error::other(format!("no whole answer: {text:?}"));
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Said::Unknown(cut()) };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(status) if length.is_none_or(|length| length == body.len()) => {
            Said::Answer { status, body: serde_json::from_str(body).unwrap_or_default() }
        }
        _ => Said::Unknown(cut()),
    }
}

#[test]
fn an_answer_that_was_cut_off_leaves_the_outcome_unknown() {
    let whole = b"HTTP/1.0 201 Created\r\ncontent-length: 8\r\n\r\n{\"ID\":1}";
    assert!(matches!(parse(whole), Said::Answer { status: 201, body } if body["ID"] == 1));
    for length in [0, 10, whole.len() - 1] {
        assert!(matches!(parse(&whole[..length]), Said::Unknown(_)), "{length}");
    }
}
