//! A stub resolver of the least kind (RFC 1035): the C library's needs files that the image does not have.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::options::{RecordType, Resolve};

const PORT: u16 = 53;
/// How long one server is waited for, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 2;
/// Largest answer over UDP; no EDNS is sent, but a larger one does no harm.
const ANSWER_MAX: usize = 4096;
const CLASS_IN: u16 = 1;
/// Compression pointers that a name may follow before it is taken for a loop.
const POINTERS_MAX: usize = 32;

impl RecordType {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ptr => 12,
            Self::Aaaa => 28,
        }
    }
}

/// An answer's code and the records of the type asked for, as text.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u8,
    truncated: bool,
    records: Vec<String>,
}

/// Prints what the name server answers; status 1 when it has no such record.
pub fn resolve(options: &Resolve) -> io::Result<ExitCode> {
    let name = match (options.kind, options.name.parse()) {
        (RecordType::Ptr, Ok(address)) => reverse(address),
        _ => options.name.clone(),
    };
    let servers = match options.server {
        Some(server) => vec![server],
        None => name_servers(&fs::read_to_string("/etc/resolv.conf")?),
    };
    let answer = ask(&servers, &name, options.kind)?;
    if answer.records.is_empty() {
        println!("{}: {}", options.name, code_text(answer.code));
        return Ok(ExitCode::FAILURE);
    }
    answer.records.iter().for_each(|record| println!("{record}"));
    Ok(ExitCode::SUCCESS)
}

fn code_text(code: u8) -> String {
    match code {
        0 => "no such record".to_owned(),
        2 => "server failure".to_owned(),
        3 => "no such name".to_owned(),
        5 => "refused".to_owned(),
        other => format!("error {other}"),
    }
}

/// The first address of a name, by `/etc/hosts` or the name server.
pub fn lookup(name: &str) -> io::Result<IpAddr> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    if let Some(address) = in_hosts(&hosts, name) {
        return Ok(address);
    }
    let servers = name_servers(&fs::read_to_string("/etc/resolv.conf")?);
    let answer = ask(&servers, name, RecordType::A)?;
    let first = answer.records.first().and_then(|record| record.parse().ok());
    first
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name}: {}", code_text(answer.code))))
}

fn in_hosts(hosts: &str, name: &str) -> Option<IpAddr> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address: Ipv4Addr = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(IpAddr::V4(address))
    })
}

fn name_servers(conf: &str) -> Vec<IpAddr> {
    let servers = conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())??.parse().ok()
    });
    servers.collect()
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            let digits = nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16));
            let labels: String = digits.flat_map(|digit| [digit, '.']).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

fn ask(servers: &[IpAddr], name: &str, kind: RecordType) -> io::Result<Answer> {
    let id = u16::try_from(RandomState::new().build_hasher().finish() & 0xffff).unwrap_or_default();
    let query = query(id, name, kind)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no nameserver in /etc/resolv.conf");
    for server in (0..ATTEMPTS).flat_map(|_| servers) {
        let server = SocketAddr::new(*server, PORT);
        match over_udp(server, &query, id, kind) {
            Ok(answer) if answer.truncated => return over_tcp(server, &query, id, kind),
            Ok(answer) => return Ok(answer),
            Err(error) => last = io::Error::new(error.kind(), format!("name server {server}: {error}")),
        }
    }
    Err(last)
}

fn over_udp(server: SocketAddr, query: &[u8], id: u16, kind: RecordType) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.send(query)?;
    let deadline = Instant::now() + TIMEOUT;
    let mut buffer = [0; ANSWER_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        // Anything else is a late answer to another question, or forged.
        if let Some(answer) = parse(&buffer[..length], id, kind) {
            return Ok(answer);
        }
    }
}

fn over_tcp(server: SocketAddr, query: &[u8], id: u16, kind: RecordType) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    parse(&answer, id, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer to the question"))
}

fn query(id: u16, name: &str, kind: RecordType) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name"));
    // One question, recursion desired.
    let mut message = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        message.push(length.ok_or_else(invalid)?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    Ok(message)
}

/// Reads an answer to question `id`; `None` for anything else.
fn parse(message: &[u8], id: u16, kind: RecordType) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let is_answer = message.get(2)? & 0x80 != 0;
    if word(0)? != id || !is_answer {
        return None;
    }
    let (truncated, code) = (message.get(2)? & 0x02 != 0, message.get(3)? & 0x0f);
    let mut at = 12;
    for _ in 0..word(4)? {
        at = name_at(message, at)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..word(6)? {
        let fixed = name_at(message, at)?.1;
        let (record_kind, length) = (word(fixed)?, usize::from(word(fixed + 8)?));
        let content = fixed + 10;
        at = content + length;
        if record_kind == kind.number() {
            records.push(record(message, content, length, kind)?);
        }
    }
    Some(Answer { code, truncated, records })
}

fn record(message: &[u8], at: usize, length: usize, kind: RecordType) -> Option<String> {
    let content = message.get(at..at + length)?;
    Some(match kind {
        RecordType::A => Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?).to_string(),
        RecordType::Aaaa => Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).to_string(),
        RecordType::Ptr => name_at(message, at)?.0,
    })
}

/// The name at an offset, and the offset behind it.
fn name_at(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut labels, mut at, mut end) = (Vec::new(), start, None);
    for _ in 0..POINTERS_MAX {
        while let length @ 1..=63 = usize::from(*message.get(at)?) {
            labels.push(String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?).into_owned());
            at += 1 + length;
        }
        let length = *message.get(at)?;
        if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at + 1)));
        }
        end = end.or(Some(at + 2));
        at = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with the question repeated and these records, their names pointing at the question's.
    fn answer(flags: [u8; 2], name: &str, kind: RecordType, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = query(7, name, kind).expect("query");
        message[2..4].copy_from_slice(&flags);
        message[7] = u8::try_from(records.len()).expect("few");
        for (number, content) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&number.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 5, 0, u8::try_from(content.len()).expect("short")]);
            message.extend_from_slice(content);
        }
        message
    }

    #[test]
    fn records_of_the_type_asked_for_are_read() {
        let cname: (u16, &[u8]) = (5, &[1, b'x', 0]);
        let message =
            answer([0x81, 0x80], "web", RecordType::A, &[cname, (1, &[10, 0, 1, 2]), (1, &[10, 0, 1, 3])]);
        let parsed = parse(&message, 7, RecordType::A).expect("answer");
        assert_eq!(parsed.records, ["10.0.1.2", "10.0.1.3"]);
        assert_eq!((parsed.code, parsed.truncated), (0, false));
        let pointer = answer(
            [0x81, 0x80],
            "2.1.0.10.in-addr.arpa",
            RecordType::Ptr,
            &[(12, &[3, b'w', b'e', b'b', 0])],
        );
        assert_eq!(parse(&pointer, 7, RecordType::Ptr).expect("answer").records, ["web"]);
    }

    #[test]
    fn codes_and_truncation_are_told() {
        let missing =
            parse(&answer([0x81, 0x83], "no", RecordType::A, &[]), 7, RecordType::A).expect("answer");
        assert_eq!((missing.code, missing.records.len()), (3, 0));
        let cut = parse(&answer([0x83, 0x80], "web", RecordType::A, &[]), 7, RecordType::A).expect("answer");
        assert!(cut.truncated);
    }

    #[test]
    fn damaged_and_foreign_messages_are_no_answer() {
        let message = answer([0x81, 0x80], "web", RecordType::A, &[(1, &[10, 0, 1, 2])]);
        assert_eq!(parse(&message, 8, RecordType::A), None, "another id");
        for length in 0..message.len() {
            assert_eq!(parse(&message[..length], 7, RecordType::A), None, "cut to {length}");
        }
        let mut looping = message.clone();
        let pointer = looping.len() - 16;
        looping[pointer + 1] = u8::try_from(pointer).expect("short");
        assert_eq!(parse(&looping, 7, RecordType::A), None, "a name that points at itself");
    }

    #[test]
    fn names_files_and_addresses() {
        assert!(query(1, "a..b", RecordType::A).is_err());
        assert!(query(1, &"x".repeat(64), RecordType::A).is_err());
        assert_eq!(
            name_servers("search a\nnameserver 169.254.53.53\noptions x\n"),
            [IpAddr::from([169, 254, 53, 53])]
        );
        let hosts = "127.0.0.1\tlocalhost\n::1 localhost\n10.0.0.9 db DB.local # web\n";
        assert_eq!(in_hosts(hosts, "db.LOCAL"), Some(IpAddr::from([10, 0, 0, 9])));
        assert_eq!(in_hosts(hosts, "web"), None);
        assert_eq!(reverse(IpAddr::from([10, 0, 1, 2])), "2.1.0.10.in-addr.arpa");
        let six = reverse("fd00::1a".parse().expect("address"));
        assert_eq!(six, format!("a.1.{}0.0.d.f.ip6.arpa", "0.".repeat(26)));
    }
}
