//! A client of the Engine API that keeps its connection and costs little: it shares the machine with what is
//! measured.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// An open connection.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, when the status says that it was done.
    pub fn json(&self) -> io::Result<Value> {
        if !(200..300).contains(&self.status) {
            let words = String::from_utf8_lossy(&self.body);
            return Err(io::Error::other(format!("status {}: {words}", self.status)));
        }
        if self.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&self.body)?) }
    }
}

impl Client {
    pub fn open(socket: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.ask("POST", path, &body.to_string())
    }

    pub fn delete(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("DELETE", path, "")
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: mesh\r\nContent-Type: application/json\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP answer: {first:?}")))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", "chunked")) => chunked = true,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = Vec::new();
        if chunked {
            while self.chunk(&mut body)? {}
        } else {
            self.take(length, &mut body)?;
        }
        Ok(Answer { status, body })
    }

    /// Appends a chunk; false when it was the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let length = u64::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
        self.take(length, body)?;
        self.line()?;
        Ok(length > 0)
    }

    fn take(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let read = (&mut self.stream).take(length).read_to_end(body)?;
        if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
