//! Probing a task: a command inside it, or a request inside its network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_core::port::Port;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::pipe2;
use tokio::net::TcpSocket;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ExecStdio, NativeRuntime, spawn};
use crate::error::RuntimeError;
use crate::health::{Probe, ProbeOutcome};
use crate::state::{Record, TaskDir};

/// Most bytes of a command's output that are kept; the rest is read and dropped.
const OUTPUT_MAX: usize = 4096;

impl NativeRuntime {
    /// Probes a running task once. A probe that takes longer than `limit` has failed; a command is killed
    /// then, with everything it started. Nothing of a command outlives its end either. One probe at a time.
    pub async fn probe(
        &self,
        task: &mesh_core::id::TaskId,
        probe: &Probe,
        limit: Duration,
    ) -> Result<ProbeOutcome, RuntimeError> {
        let entry = self.running(*task)?;
        match probe {
            Probe::Http { port, path } => Ok(http(&entry.record.prepared.netns, *port, path, limit).await),
            Probe::Exec(_) | Probe::Shell(_) => {
                let dir = self.inner.places.dir(*task);
                command(&self.inner.config.exe, &dir, &entry.record, probe, limit).await
            }
        }
    }
}

fn late(limit: Duration) -> ProbeOutcome {
    failed(format!("Health check exceeded timeout ({limit:?})"))
}

fn failed(output: String) -> ProbeOutcome {
    ProbeOutcome { healthy: false, output }
}

async fn http(netns: &Path, port: Port, path: &str, limit: Duration) -> ProbeOutcome {
    match timeout(limit, get(netns, port, path)).await {
        Ok(Ok(status)) => {
            let healthy = (200..400).contains(&status.as_u16());
            ProbeOutcome { healthy, output: format!("GET {path} on port {port}: {status}") }
        }
        Ok(Err(error)) => failed(format!("GET {path} on port {port}: {error}")),
        Err(_) => late(limit),
    }
}

async fn get(netns: &Path, port: Port, path: &str) -> io::Result<StatusCode> {
    let socket = TcpSocket::from_std_stream(TcpStream::from(socket_in(netns).await?));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.get()));
    let stream = socket.connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("user-agent", "meshd-health")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answered = async { sender.send_request(request).await.map(|response| response.status()) };
    tokio::select! {
        status = answered => status.map_err(io::Error::other),
        // It ends before the answer only when that does not come.
        Err(error) = connection => Err(io::Error::other(error)),
    }
}

/// A TCP socket that belongs to the namespace. A thread that ends at once goes there for it: no other code
/// ever runs in the task's network.
async fn socket_in(netns: &Path) -> io::Result<OwnedFd> {
    let (made, socket) = oneshot::channel();
    let netns = netns.to_owned();
    std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        // A probe that was given up wants it no more.
        let _unwanted = made.send(make_socket(&netns));
    })?;
    socket.await.unwrap_or_else(|_| Err(io::Error::other("the thread that makes a socket panicked")))
}

fn make_socket(netns: &Path) -> io::Result<OwnedFd> {
    setns(std::fs::File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}

async fn command(
    exe: &Path,
    dir: &TaskDir,
    record: &Record,
    probe: &Probe,
    limit: Duration,
) -> Result<ProbeOutcome, RuntimeError> {
    let argv = probe.command().unwrap_or_default();
    // What an earlier daemon began may be running still.
    record.cgroup.kill_probe()?;
    let io = |doing| RuntimeError::io(doing, dir.path());
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from).map_err(io("make a pipe for"))?;
    let mut output = Output::new(read).map_err(io("read a probe's output of"))?;
    let stdio = ExecStdio {
        stdin: Stdio::null(),
        stdout: write.try_clone().map_err(io("make a pipe for"))?.into(),
        stderr: write.into(),
    };
    let exited = timeout(limit, spawn::inside(exe, "probe", dir, &argv, stdio));
    let exited = tokio::select! {
        exited = exited => exited,
        never = output.fill() => match never {},
    };
    record.cgroup.kill_probe()?;
    let text = output.finish();
    match exited {
        Ok(code) => Ok(judge(probe, code?, text)),
        Err(_) => Ok(late(limit)),
    }
}

fn judge(probe: &Probe, code: i32, text: String) -> ProbeOutcome {
    let no_shell = code == 127 && text.starts_with(crate::shim::EXEC_FAILED);
    let output = match (probe, text.as_str()) {
        (Probe::Shell(_), _) if no_shell => {
            "the image has no /bin/sh: give a program (CMD) or a probe over HTTP".to_owned()
        }
        (_, "") => format!("exit status {code}"),
        _ => text,
    };
    ProbeOutcome { healthy: code == 0, output }
}

/// The beginning of what a command writes.
struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, kept: Vec::new() })
    }

    /// Reads for ever, so that no writer waits.
    async fn fill(&mut self) -> std::convert::Infallible {
        while self.pipe.readable().await.is_ok() && self.take().is_ok() {}
        std::future::pending().await
    }

    /// Takes what is there; an error when nothing more will come.
    fn take(&mut self) -> io::Result<()> {
        let mut piece = [0; OUTPUT_MAX];
        loop {
            match self.pipe.try_read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let room = OUTPUT_MAX.saturating_sub(self.kept.len()).min(length);
                    self.kept.extend_from_slice(&piece[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// What was kept, on one line.
    fn finish(mut self) -> String {
        let _end = self.take();
        let text = String::from_utf8_lossy(&self.kept);
        text.split(char::is_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_is_not_there_is_told_apart_from_a_command_that_is_not() {
        let shell = Probe::Shell("nonsense".to_owned());
        let missing =
            judge(&shell, 127, "exec failed: exec: \"/bin/sh\": no such file or directory".to_owned());
        assert!(missing.output.starts_with("the image has no /bin/sh"), "{missing:?}");
        let unknown = judge(&shell, 127, "sh: nonsense: not found".to_owned());
        assert_eq!(unknown, ProbeOutcome { healthy: false, output: "sh: nonsense: not found".to_owned() });
    }

    #[test]
    fn only_status_0_is_healthy() {
        let probe = Probe::Exec(vec!["x".to_owned()]);
        assert!(judge(&probe, 0, String::new()).healthy);
        for code in [1, 2, 125, 137] {
            let outcome = judge(&probe, code, String::new());
            assert_eq!(outcome, failed(format!("exit status {code}")));
        }
    }
}
