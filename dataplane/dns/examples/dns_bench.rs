//! CPU time of the server for each question about an own name, at 1,000 names, and how long answers take.
//!
//! `cargo run --release -p mesh-dns --example dns_bench [SECONDS]`

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use mesh_dns::client::{DnsControl, Launch};
use mesh_dns::table::{Client, Table, Zone};

type Failure = Box<dyn Error + Send + Sync>;

const NAMES: u16 = 1000;
/// Questions on the way at once, as many tasks ask independently of each other.
const WINDOW: usize = 32;
/// Clock ticks a second in /proc (proc(5), `USER_HZ`).
const TICKS: f64 = 100.0;
const SERVE: &str = "serve";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == SERVE).is_some() {
        return mesh_dns::server::main(args);
    }
    let seconds = args.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    match tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(bench(seconds)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(seconds: u64) -> Result<(), Failure> {
    let directory = std::env::temp_dir().join(format!("dns-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let listen = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let (control, _) = DnsControl::adopt_or_spawn(&launch(&directory, listen)?).await?;
    control.publish(&table()).await?;
    let pid = control.pid();
    let result =
        tokio::task::spawn_blocking(move || measure(listen, pid, Duration::from_secs(seconds))).await?;
    control.exit().await?;
    control.gone().await;
    std::fs::remove_dir_all(directory)?;
    println!("{}", result?);
    Ok(())
}

fn launch(directory: &Path, listen: SocketAddr) -> std::io::Result<Launch> {
    Ok(Launch {
        exe: std::env::current_exe()?,
        subcommand: vec![SERVE.into()],
        netns: None,
        listen,
        control: directory.join("control"),
        state: directory.join("state"),
        log: directory.join("log"),
    })
}

fn name(number: u16) -> String {
    format!("service-{number}")
}

fn table() -> Table {
    let address = |number: u16| vec![IpAddr::from(Ipv4Addr::from(0x0a00_0100 + u32::from(number)))];
    let names = (0..NAMES).map(|number| (name(number), address(number))).collect();
    let zone = Zone { network: "bench".to_owned(), names, pointers: BTreeMap::new() };
    Table {
        version: 1,
        clients: BTreeMap::from([(Ipv4Addr::LOCALHOST, Client { zones: vec![1], internal: true })]),
        zones: BTreeMap::from([(1, zone)]),
        upstreams: Vec::new(),
    }
}

fn questions() -> Result<Vec<Vec<u8>>, Failure> {
    let packet = |number| {
        let mut message = Message::new(number, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(format!("{}.", name(number)))?, RecordType::A));
        Ok(message.to_vec()?)
    };
    (0..NAMES).map(packet).collect()
}

/// User and system time that a process has used.
fn cpu_time(pid: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("malformed stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).ok_or("short stat")?.parse::<f64>().map_err(Failure::from);
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

fn measure(server: SocketAddr, pid: u32, time: Duration) -> Result<String, Failure> {
    let questions = questions()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut sent: Vec<Instant> = vec![Instant::now(); questions.len()];
    let (mut next, mut answered, mut times, mut buffer) = (0_usize, 0_u32, Vec::new(), [0; 512]);
    let (start, cpu_before) = (Instant::now(), cpu_time(pid)?);
    let mut ask = |sent: &mut Vec<Instant>| {
        let number = next % questions.len();
        next += 1;
        sent[number] = Instant::now();
        socket.send(&questions[number])
    };
    for _ in 0..WINDOW {
        ask(&mut sent)?;
    }
    while start.elapsed() < time {
        let length = socket.recv(&mut buffer)?;
        let number = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
        assert!(length > questions[number].len(), "an answer without a record");
        times.push(sent[number].elapsed());
        answered += 1;
        ask(&mut sent)?;
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_time(pid)? - cpu_before);
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_micros();
    let count = f64::from(answered);
    Ok(format!(
        "{:.0} questions/s, {:.2} µs CPU each; with {WINDOW} on the way: p50 {} µs, p99 {} µs",
        count / elapsed,
        cpu / count * 1e6,
        at(50),
        at(99)
    ))
}
