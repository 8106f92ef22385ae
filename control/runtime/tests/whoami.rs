//! The program of the built-in images as a process on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nothing that is waited for here takes long; this only ends a test that would hang.
const LIMIT: Duration = Duration::from_secs(20);

fn whoami(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-shim"));
    command.arg("whoami").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Server {
    child: Child,
    tcp: SocketAddr,
    udp: SocketAddr,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut command = whoami(&[&["--port", "0", "--report-version", "7"], args].concat());
        command.env("MESH_TASK_ID", "thetask").env("MESH_NODE_HOSTNAME", "n1");
        let mut child = command.spawn().expect("spawn");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let port = |key: &str| {
            let mut words = line.split_whitespace().skip_while(|word| *word != key);
            let address: SocketAddr = words.nth(1).expect("address").parse().expect("address");
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        };
        let (tcp, udp) = (port("tcp"), port("udp"));
        Self { child, tcp, udp }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        stream
    }

    /// Status, headers and body.
    fn request(&self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = self.connect();
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let headers = headers.replace('\n', "\r\n");
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: me\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )
        .and_then(|()| stream.write_all(body))
        .expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the end of the stream, not a reset");
        split(&answer)
    }

    fn terminate(&self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("pid")), Signal::SIGTERM).expect("kill");
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("wait")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn split(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).expect("status").parse().expect("number");
    (status, head, answer[end + 4..].to_vec())
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).expect("text")
}

#[test]
fn it_tells_who_answers_and_whom_it_saw() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /some/path?x=1 HTTP/1.1\r\nHost: web:80\r\nConnection: close\r\n\r\n")
        .expect("send");
    let client = stream.local_addr().expect("address");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read");
    let (status, _, body) = split(&answer);
    assert_eq!(status, 200);
    let lines = text(&body);
    for line in [
        "version=7",
        "task=thetask",
        "node=n1",
        &format!("client={client}"),
        "host=web:80",
        "path=/some/path",
    ] {
        assert!(lines.lines().any(|other| other == line), "{line} in {lines}");
    }
    let (_, head, body) = server.request("GET /\nAccept: application/json\n", b"");
    assert!(head.contains("content-type: application/json"), "{head}");
    let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&json["task"], &json["version"]), (&"thetask".into(), &"7".into()));
}

#[test]
fn it_moves_bytes_each_way() {
    let server = Server::start(&[]);
    let (status, head, body) = server.request("GET /bytes?n=10000000", b"");
    assert_eq!((status, body.len()), (200, 10_000_000));
    assert!(head.contains("content-length: 10000000"), "{head}");
    let (status, _, body) = server.request("POST /upload", &vec![1; 10_000_000]);
    assert_eq!(status, 200);
    assert!(text(&body).contains("bytes=10000000\n"));
    assert_eq!(server.request("GET /bytes?n=many", b"").0, 400);
    assert_eq!(server.request("GET /stream?seconds=no", b"").0, 400);
}

#[test]
fn health_is_as_asked() {
    let healthy = Server::start(&[]);
    assert_eq!(healthy.request("GET /healthz", b"").0, 200);
    let failing = Server::start(&["--fail-health"]);
    assert_eq!(failing.request("GET /healthz", b"").0, 503);
    assert_eq!(failing.request("GET /", b"").0, 200);
    let later = Server::start(&["--fail-health-after", "1h"]);
    assert_eq!(later.request("GET /healthz", b"").0, 200);
    let turned = Server::start(&["--fail-health-after", "0s"]);
    assert_eq!(turned.request("GET /healthz", b"").0, 503);
}

#[test]
fn health_is_as_it_was_told() {
    let server = Server::start(&["--fail-health"]);
    for status in [200, 503, 302, 404] {
        assert_eq!(server.request(&format!("POST /healthz?status={status}"), b"").0, 200);
        assert_eq!(server.request("GET /healthz", b"").0, status);
    }
    for nonsense in ["", "?status=", "?status=100", "?status=1000", "?status=bad"] {
        assert_eq!(server.request(&format!("POST /healthz{nonsense}"), b"").0, 400, "{nonsense}");
    }
    assert_eq!(server.request("GET /healthz", b"").0, 404);
}

#[test]
fn datagrams_are_answered_from_where_they_were_sent_to() {
    let server = Server::start(&[]);
    for host in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.set_read_timeout(Some(LIMIT)).expect("timeout");
        // Connected: the kernel refuses an answer from any other address.
        socket.connect(SocketAddr::from((host, server.udp.port()))).expect("connect");
        socket.send(b"payload").expect("send");
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("an answer");
        let answer = text(&buffer[..length]);
        let client = socket.local_addr().expect("address");
        assert!(
            answer.contains("task=thetask\n") && answer.contains(&format!("client={client}\n")),
            "{answer}"
        );
        assert!(answer.ends_with("\npayload"), "{answer}");
    }
}

#[test]
fn sigterm_ends_it_after_what_it_serves() {
    let mut server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"GET /stream?seconds=1&interval=20ms HTTP/1.1\r\nHost: me\r\n\r\n").expect("send");
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).expect("the beginning");
    answer.truncate(length);
    let mut idle = server.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: me\r\n\r\n").expect("send");
    let mut first = [0; 1024];
    assert!(idle.read(&mut first).expect("an answer") > 0);

    server.terminate();
    assert_eq!(idle.read(&mut first).expect("a proper end, not a reset"), 0, "idle connections are closed");
    stream.read_to_end(&mut answer).expect("a proper end, not a reset");
    let whole = text(&answer);
    assert!(whole.ends_with("0\r\n\r\n"), "the last chunk arrived: {whole}");
    assert!(whole.contains("n=30\n"), "{whole}");
    assert_eq!(server.wait().code(), Some(0));
    assert!(TcpStream::connect(server.tcp).is_err(), "nobody listens");
}

/// Sends one request and reads its answer, which fits one segment.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: me\r\n\r\n").expect("send");
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).expect("an answer, not a reset");
    String::from_utf8_lossy(&answer[..length]).to_lowercase()
}

#[test]
fn a_client_with_an_open_connection_hears_that_its_next_request_is_the_last() {
    let mut server = Server::start(&[]);
    let (mut busy, mut late) = (server.connect(), server.connect());
    assert!(!ask(&mut busy).contains("connection: close") && ask(&mut late).contains("ok"));
    server.terminate();
    let mut answer = ask(&mut busy);
    while !answer.contains("connection: close") {
        // The signal is on its way.
        answer = ask(&mut busy);
    }
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert_eq!(busy.read(&mut [0; 16]).expect("a proper end"), 0);
    // What a client sends before it has seen the end is not answered with a reset.
    assert_eq!(late.peek(&mut [0; 16]).expect("a proper end"), 0);
    assert_eq!(ask(&mut late), "");
    drop((busy, late));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn it_fails_as_asked() {
    let status = |args: &[&str]| whoami(args).output().expect("run").status.code();
    assert_eq!(status(&["--port", "0", "--fail-start", "--start-delay", "1ms"]), Some(1));
    assert_eq!(status(&["--port", "0", "--exit-after", "1ms", "--exit-code", "3"]), Some(3));
    assert_eq!(status(&["--bad"]), Some(64));
    assert_eq!(status(&["get", "https://x/"]), Some(1));
    assert_eq!(status(&["--help"]), Some(0));
    let from_environment = whoami(&["--port", "0"]).env("WHOAMI_FAIL_START", "true").output().expect("run");
    assert_eq!(from_environment.status.code(), Some(1));
}

#[test]
fn its_client_counts_failures() {
    let server = Server::start(&[]);
    let run = |args: &[&str]| {
        let output = whoami(args).output().expect("run");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let url = format!("http://{}", server.tcp);
    let (code, out) = run(&["get", "-n", "3", &url]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(out.lines().filter(|line| line.contains("task=thetask")).count(), 3);
    assert!(out.ends_with("requests=3 ok=3 failed=0 tasks=1\n"), "{out}");
    let (code, out) = run(&["get", &format!("{url}/bytes?n=5000")]);
    assert!(code == Some(0) && out.contains("bytes=5000"), "{out}");
    let (code, out) = run(&["get", "--upload", "5000", &format!("{url}/upload")]);
    assert!(code == Some(0) && out.contains("bytes=5000"), "{out}");
    let (code, out) = run(&["get", "--udp", "-n", "2", &server.udp.to_string()]);
    assert!(code == Some(0) && out.ends_with("requests=2 ok=2 failed=0 tasks=1\n"), "{out}");
    let (code, out) = run(&["get", &format!("{url}/bytes?n=x")]);
    assert!(code == Some(1) && out.contains("1 400 "), "{out}");
    let (code, out) = run(&["get", "--timeout", "50ms", &format!("{url}/stream")]);
    assert!(code == Some(1) && out.contains("no answer in time"), "{out}");
    drop(server);
    let (code, out) = run(&["get", "-n", "2", &url]);
    assert!(code == Some(1) && out.ends_with("requests=2 ok=0 failed=2 tasks=0\n"), "{out}");
}
