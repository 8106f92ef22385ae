//! Corner cases of addresses and sizes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::harness::{Lab, RunningTask, bin};
use crate::ingress::on;
use crate::names::addresses;
use crate::traffic::{get, whoami, whoami_udp};

/// A connection from a given local port, which several may share as long as they go to different places.
fn connect_from(port: u16, to: SocketAddrV4) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
    socket.connect_timeout(&SocketAddr::V4(to).into(), Duration::from_secs(2)).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream
}

fn ask(stream: &mut TcpStream) -> String {
    write!(stream, "GET / HTTP/1.1\r\nHost: mesh\r\n\r\n").unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn one_client_port_to_two_nodes_with_one_backend_keeps_both_connections() {
    let lab = Lab::up("remap", 3);
    lab.ctl(&["service", "create", "--name", "web", "-p", "8080:80", "mesh/whoami:1"]).ok();
    let backend = lab.running("web")[0].node;
    for first in 1..=3u8 {
        for second in (1..=3).filter(|second| *second != first) {
            let (a, b) = (on(first, 8080), on(second, 8080));
            let port = 20_000 + 100 * u16::from(first) + u16::from(second);
            lab.client(|| {
                let (mut one, mut two) = (connect_from(port, a), connect_from(port, b));
                for round in 0..5 {
                    for (name, stream) in [("first", &mut one), ("second", &mut two)] {
                        let answer = ask(stream);
                        assert!(
                            answer.starts_with("HTTP/1.1 200"),
                            "{name} {round} (backend on n{backend}): {answer}"
                        );
                        assert!(answer.contains("client=192.0.2.200"), "{answer}");
                    }
                }
            });
        }
    }
}

#[test]
fn tasks_on_different_nodes_exchange_ping_udp_and_ten_megabytes_each_way() {
    let lab = Lab::up("sizes", 2);
    lab.ctl(&["network", "create", "-d", "overlay", "app"]).ok();
    lab.ctl(&[
        "service",
        "create",
        "--name",
        "web",
        "--network",
        "app",
        "-p",
        "8080:80",
        "--mode",
        "global",
        "mesh/whoami:1",
    ])
    .ok();
    let tasks = lab.running("web");
    for (here, there) in [(&tasks[0], &tasks[1]), (&tasks[1], &tasks[0])] {
        lab.inside_task(here.node, &here.id, || {
            let peer = addresses(&there_name(&lab, there));
            let to = SocketAddrV4::new(peer[0], 80);
            assert_eq!(whoami(to).unwrap()["task"], there.id);
            assert_eq!(whoami_udp(to).unwrap()["task"], there.id);
            assert_eq!(download(to), TEN_MEGABYTES);
            assert_eq!(upload(to), TEN_MEGABYTES);
            assert!(ping(peer[0], 1_422), "a ping of 1,422 bytes with DF passes");
            assert!(!ping(peer[0], 1_423), "one byte more does not fit into the overlay's 1,450");
        });
    }
    for node in 1..=2 {
        let to = on(node, 8080);
        assert_eq!(lab.client(|| download(to)), TEN_MEGABYTES, "from the client through n{node}");
        assert_eq!(lab.client(|| upload(to)), TEN_MEGABYTES, "from the client through n{node}");
    }
}

const TEN_MEGABYTES: usize = 10_000_000;

fn there_name(lab: &Lab, task: &RunningTask) -> String {
    let node = task.value["NodeID"].as_str().unwrap();
    assert!(lab.name().starts_with("sizes"));
    format!("web.{node}.{}", task.id)
}

fn download(from: SocketAddrV4) -> usize {
    get(from, &format!("/bytes?n={TEN_MEGABYTES}")).unwrap().len()
}

/// Sends ten megabytes and answers how many the server counted.
fn upload(to: SocketAddrV4) -> usize {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "POST /upload HTTP/1.1\r\nHost: mesh\r\nConnection: close\r\nContent-Length: {TEN_MEGABYTES}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&vec![b'x'; TEN_MEGABYTES]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    body.lines().find_map(|line| line.strip_prefix("bytes=")).unwrap().parse().unwrap()
}

/// One ICMP echo of `size` payload bytes that must not be fragmented.
fn ping(to: Ipv4Addr, size: u16) -> bool {
    let (to, size) = (to.to_string(), size.to_string());
    let whoami = ["whoami", "ping", &to, "-s", &size, "--df", "-n", "1"];
    Command::new(bin().join("meshd")).args(whoami).output().unwrap().status.success()
}
