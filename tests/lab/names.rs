//! Asking the mesh's DNS as a task does.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 53, 53), 53);

/// Addresses of a name; empty when there are none (NXDOMAIN, no data, or nobody upstream to ask).
#[track_caller]
pub fn addresses(name: &str) -> Vec<Ipv4Addr> {
    let (code, answers) = ask(name, 1);
    let expected = [0, 2, 3];
    assert!(expected.contains(&code), "{name}: response code {code}");
    answers.iter().filter_map(|data| <[u8; 4]>::try_from(data.as_slice()).ok()).map(Ipv4Addr::from).collect()
}

/// Asks for records of `kind` (RFC 1035 section 3.2.2): response code and the records' data.
#[track_caller]
pub fn ask(name: &str, kind: u16) -> (u8, Vec<Vec<u8>>) {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.bytes());
    }
    question.push(0);
    question.extend(kind.to_be_bytes());
    question.extend([0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.connect(SERVER).unwrap();
    socket.send(&question).unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).unwrap_or_else(|error| panic!("no answer for {name}: {error}"));
    parse(&answer[..length], question.len())
}

fn parse(answer: &[u8], mut at: usize) -> (u8, Vec<Vec<u8>>) {
    let count = u16::from_be_bytes([answer[6], answer[7]]);
    let mut data = Vec::new();
    for _ in 0..count {
        // An owner name: labels up to an empty one or a pointer (section 4.1.4).
        while answer[at] != 0 && answer[at] < 0xc0 {
            at += 1 + usize::from(answer[at]);
        }
        at += if answer[at] == 0 { 1 } else { 2 };
        let length = usize::from(u16::from_be_bytes([answer[at + 8], answer[at + 9]]));
        data.push(answer[at + 10..at + 10 + length].to_vec());
        at += 10 + length;
    }
    (answer[3] & 0x0f, data)
}
