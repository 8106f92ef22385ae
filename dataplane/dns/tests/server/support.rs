//! A server process with its files, clients that ask it, and upstreams that count.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mesh_dns::client::{DnsControl, Launch, Origin};
use mesh_dns::table::{Client, Table, Zone};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The first client's address; it sees the zone of [`table`].
pub const CLIENT: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another client, all of whose networks are internal.
pub const INTERNAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Nobody that the table knows.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// More than any answer takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory and a port of one test; ends the servers it started and removes its files.
pub struct Place {
    pub directory: PathBuf,
    pub launch: Launch,
}

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mesh-dns-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let launch = Launch {
            exe: env!("CARGO_BIN_EXE_mesh-dns-server").into(),
            subcommand: Vec::new(),
            netns: None,
            listen: free_address(),
            control: directory.join("dns.sock"),
            state: directory.join("dns.state"),
            log: directory.join("dns.log"),
        };
        Self { directory, launch }
    }

    pub async fn server(&self) -> (DnsControl, Origin) {
        match DnsControl::adopt_or_spawn(&self.launch).await {
            Ok(started) => started,
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }

    /// A server that answers from this table.
    pub async fn serving(&self, table: &Table) -> DnsControl {
        let (control, _) = self.server().await;
        control.publish(table).await.unwrap();
        control
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.launch.log).unwrap_or_default()
    }

    pub fn asks(&self, from: Ipv4Addr) -> Asks {
        Asks { server: self.launch.listen, from }
    }

    /// Processes that run with this place's control socket.
    pub fn processes(&self) -> Vec<u32> {
        let socket = self.launch.control.as_os_str().as_encoded_bytes();
        let runs_here = |pid: &u32| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|argument| argument == socket)
        };
        let names = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).filter(runs_here).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.processes() {
            kill(pid_of(pid), Signal::SIGKILL).ok();
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

pub fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap())
}

/// An address whose port is free for UDP and TCP now, below those that the kernel gives to clients, so that
/// nobody takes it by chance before it is used.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from((CLIENT, 20_000 + u16::try_from(number % 10_000).unwrap()));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// One network with a service of `tasks` tasks, a VIP, and these upstreams.
pub fn table(version: u64, tasks: u8, upstreams: &[SocketAddr]) -> Table {
    let address = |last: u8| IpAddr::from([10, 0, 1, last]);
    let zone = Zone {
        network: "front".to_owned(),
        names: BTreeMap::from([
            ("web".to_owned(), vec![address(2)]),
            ("tasks.web".to_owned(), (0..tasks).map(|task| address(3 + task)).collect()),
        ]),
        pointers: BTreeMap::from([(address(3), "web.1.abc".to_owned())]),
    };
    Table {
        version,
        clients: BTreeMap::from([
            (CLIENT, Client { zones: vec![1], internal: false }),
            (INTERNAL, Client { zones: vec![1], internal: true }),
        ]),
        zones: BTreeMap::from([(1, zone)]),
        upstreams: upstreams.to_vec(),
    }
}

pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

/// A client at one address.
#[derive(Clone, Copy)]
pub struct Asks {
    server: SocketAddr,
    from: Ipv4Addr,
}

impl Asks {
    /// The packet's answer over UDP, as bytes.
    pub async fn packet(self, packet: &[u8]) -> Vec<u8> {
        let socket = tokio::net::UdpSocket::bind((self.from, 0)).await.unwrap();
        socket.send_to(packet, self.server).await.unwrap();
        let mut buffer = [0; 4096];
        let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(from, self.server);
        buffer[..length].to_vec()
    }

    pub async fn udp(self, question: &Message) -> Message {
        let answer = Message::from_vec(&self.packet(&question.to_vec().unwrap()).await).unwrap();
        assert_eq!((answer.metadata.id, &answer.queries), (question.metadata.id, &question.queries));
        answer
    }

    pub async fn connect(self) -> TcpStream {
        self.try_connect().await.unwrap()
    }

    pub async fn try_connect(self) -> std::io::Result<TcpStream> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        socket.connect(self.server).await
    }

    pub async fn tcp(self, question: &Message) -> Message {
        let mut stream = self.connect().await;
        over(&mut stream, question).await
    }

    /// The answer's code and addresses.
    pub async fn addresses(self, name: &str) -> (ResponseCode, Vec<IpAddr>) {
        addresses(&self.udp(&question(name, RecordType::A)).await)
    }
}

pub async fn over(stream: &mut TcpStream, question: &Message) -> Message {
    let packet = question.to_vec().unwrap();
    stream.write_u16(packet.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&packet).await.unwrap();
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

pub fn addresses(message: &Message) -> (ResponseCode, Vec<IpAddr>) {
    let found = message.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    (message.metadata.response_code, found)
}

/// How a fake upstream answers; `None` for not at all. The flag is true over TCP.
pub type Behaviour = fn(&Message, bool) -> Option<Message>;

/// A fake upstream that counts.
pub struct Upstream {
    pub address: SocketAddr,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
}

impl Upstream {
    pub async fn start(behaviour: Behaviour) -> Self {
        let address = free_address();
        let socket = tokio::net::UdpSocket::bind(address).await.unwrap();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let upstream = Self { address, udp: Arc::default(), tcp: Arc::default() };
        tokio::spawn(Self::answer_udp(socket, behaviour, Arc::clone(&upstream.udp)));
        tokio::spawn(Self::answer_tcp(listener, behaviour, Arc::clone(&upstream.tcp)));
        upstream
    }

    async fn answer_udp(socket: tokio::net::UdpSocket, behaviour: Behaviour, count: Arc<AtomicUsize>) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = behaviour(&Message::from_vec(&buffer[..length]).unwrap(), false) {
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        }
    }

    async fn answer_tcp(listener: tokio::net::TcpListener, behaviour: Behaviour, count: Arc<AtomicUsize>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut packet).await.unwrap();
            if let Some(answer) = behaviour(&Message::from_vec(&packet).unwrap(), true) {
                let answer = answer.to_vec().unwrap();
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    }

    /// Questions so far, over UDP and TCP.
    pub fn count(&self) -> (usize, usize) {
        (self.udp.load(Ordering::SeqCst), self.tcp.load(Ordering::SeqCst))
    }
}

pub fn reply(question: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.response_code = code;
    reply.add_queries(question.queries.clone());
    reply
}

/// Answers with one address for every name.
pub fn found(question: &Message, _: bool) -> Option<Message> {
    let mut reply = reply(question, ResponseCode::NoError);
    let name = question.queries[0].name.clone();
    reply.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 80].into()))));
    Some(reply)
}

/// Knows no name, and says so for a minute.
pub fn nothing(question: &Message, _: bool) -> Option<Message> {
    let mut reply = reply(question, ResponseCode::NXDomain);
    let name = |text| Name::from_ascii(text).unwrap();
    let soa = SOA::new(name("ns.example."), name("host.example."), 1, 2, 3, 4, 60);
    reply.add_authority(Record::from_rdata(name("example."), 60, RData::SOA(soa)));
    Some(reply)
}
