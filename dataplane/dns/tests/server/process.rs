//! The server's life: found again, restarted, replaced, ended.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use mesh_dns::client::{ControlError, DnsControl, Origin, SpawnError, spawn_server};
use mesh_dns::frame::{Frame, Identity, LIFECYCLE, Lifecycle, LifecycleReply};
use nix::sys::signal::{Signal, kill};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::support::*;

/// Resolves when this is so. For what the kernel tells nobody.
async fn until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, look).await.unwrap();
}

async fn wait_for_file(path: &Path) {
    until(|| path.exists()).await;
}

/// Whether every thread of a process is stopped: the signal reaches one after the other.
fn is_stopped(pid: u32) -> bool {
    let stat =
        |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| stat(thread.unwrap()).contains(") T "))
}

#[tokio::test]
async fn a_running_server_is_adopted_with_its_table() {
    let place = Place::new();
    let (first, origin) = place.server().await;
    assert_eq!(origin, Origin::Started);
    assert_eq!(place.asks(CLIENT).addresses("web.").await.0, ResponseCode::ServFail, "no table yet");
    assert_eq!(first.publish(&table(4, 3, &[])).await.unwrap().version, 4);
    drop(first);
    let (second, origin) = place.server().await;
    assert_eq!((origin, place.processes()), (Origin::Adopted, vec![second.pid()]));
    assert_eq!(second.stats().await.unwrap().table_version, 4);
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1);
}

#[tokio::test]
async fn it_leads_a_session_outlives_hangups_and_ends_on_sigterm() {
    let place = Place::new();
    let control = place.serving(&table(1, 3, &[])).await;
    let pid = pid_of(control.pid());
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid);
    let mode = std::fs::metadata(&place.launch.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    kill(pid, Signal::SIGHUP).unwrap();
    assert_eq!(control.stats().await.unwrap().table_version, 1);
    kill(pid, Signal::SIGTERM).unwrap();
    timeout(PATIENCE, control.gone()).await.unwrap();
    assert!(matches!(control.stats().await, Err(ControlError::Gone)));
    let again = DnsControl::connect(&place.launch.control).await;
    assert!(matches!(again, Err(ControlError::Connect { .. })), "{again:?}");
}

#[tokio::test]
async fn a_server_that_was_killed_answers_again_from_its_file() {
    let place = Place::new();
    let control = place.serving(&table(9, 3, &[])).await;
    wait_for_file(&place.launch.state).await;
    kill(pid_of(control.pid()), Signal::SIGKILL).unwrap();
    timeout(PATIENCE, control.gone()).await.unwrap();
    let (control, origin) = place.server().await;
    assert_eq!(origin, Origin::Started);
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1);
    assert_eq!(control.stats().await.unwrap().table_version, 9);
}

#[tokio::test]
async fn a_corrupt_file_is_named_and_kept_aside() {
    let place = Place::new();
    let control = place.serving(&table(1, 3, &[])).await;
    wait_for_file(&place.launch.state).await;
    kill(pid_of(control.pid()), Signal::SIGTERM).unwrap();
    timeout(PATIENCE, control.gone()).await.unwrap();
    let mut bytes = std::fs::read(&place.launch.state).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&place.launch.state, &bytes).unwrap();
    let (control, _) = place.server().await;
    assert_eq!(place.asks(CLIENT).addresses("web.").await.0, ResponseCode::ServFail, "nothing is made up");
    let aside = place.directory.join("dns.state.corrupt-1");
    assert_eq!(std::fs::read(&aside).unwrap(), bytes);
    let log = place.log();
    assert!(log.contains(place.launch.state.to_str().unwrap()) && log.contains("checksum"), "{log}");
    control.publish(&table(2, 3, &[])).await.unwrap();
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1);
}

#[tokio::test]
async fn one_that_cannot_listen_says_where_it_tells_why() {
    let mut place = Place::new();
    let taken = std::net::TcpListener::bind(place.launch.listen).unwrap();
    let refused = DnsControl::adopt_or_spawn(&place.launch).await.unwrap_err();
    assert!(matches!(&refused, ControlError::Spawn(SpawnError::Ended { .. })), "{refused}");
    assert!(place.log().contains(&format!("listen on {} (tcp)", place.launch.listen)), "{}", place.log());
    drop(taken);
    place.launch.netns = Some(place.directory.join("no-such-netns"));
    assert!(DnsControl::adopt_or_spawn(&place.launch).await.is_err());
    assert!(place.log().contains("no-such-netns"), "{}", place.log());
}

/// Asks without a pause until told to stop; returns how often, and fails on the first answer that is missing
/// or wrong.
async fn ask_without_end(asks: Asks, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    let question = question("web.", RecordType::A);
    while !stop.load(Ordering::Relaxed) {
        let answer: Message = asks.udp(&question).await;
        assert_eq!(answer.answers.len(), 1, "{answer}");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_the_server_loses_no_question() {
    let place = Place::new();
    let mut control = place.serving(&table(1, 3, &[])).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask_without_end(place.asks(CLIENT), Arc::clone(&stop), Arc::clone(&count))))
        .collect();
    for _ in 0..5 {
        let before = count.load(Ordering::Relaxed);
        let pid = spawn_server(&place.launch).await.unwrap();
        timeout(PATIENCE, control.gone()).await.unwrap();
        control = DnsControl::connect(&place.launch.control).await.unwrap();
        assert_eq!(control.pid(), pid);
        assert!(count.load(Ordering::Relaxed) > before, "questions were asked meanwhile");
    }
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.unwrap();
    }
    let connection = place.asks(CLIENT).tcp(&question("web.", RecordType::A)).await;
    assert_eq!(connection.answers.len(), 1);
    assert!(place.log().contains("took over from the running server"));
}

#[tokio::test]
async fn one_that_listens_elsewhere_is_replaced() {
    let mut place = Place::new();
    let former = place.serving(&table(1, 3, &[])).await;
    let old = place.asks(CLIENT);
    place.launch.listen = Place::new().launch.listen;
    let (control, origin) = place.server().await;
    assert_eq!(origin, Origin::Started);
    timeout(PATIENCE, former.gone()).await.unwrap();
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1, "from the saved table");
    let closed = timeout(PATIENCE, async { while old.try_connect().await.is_ok() {} }).await;
    assert!(closed.is_ok(), "the former address still answers");
    assert_eq!(control.identity().listen, place.launch.listen);
}

#[tokio::test]
async fn one_that_hangs_is_replaced() {
    let place = Place::new();
    let former = place.serving(&table(1, 3, &[])).await;
    wait_for_file(&place.launch.state).await;
    kill(pid_of(former.pid()), Signal::SIGSTOP).unwrap();
    until(|| is_stopped(former.pid())).await;
    let (control, origin) = place.server().await;
    assert_eq!(origin, Origin::Started);
    assert_ne!(control.pid(), former.pid());
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1);
}

#[tokio::test]
async fn frames_of_another_release_are_told_so() {
    let place = Place::new();
    place.server().await;
    let mut stream = UnixStream::connect(&place.launch.control).await.unwrap();
    stream.write_all(&Frame::encode(99, &7_u32).unwrap()).await.unwrap();
    let answer = Frame::read(&mut stream).await.unwrap().unwrap();
    assert_eq!(answer.protocol, LIFECYCLE);
    assert_eq!(answer.decode::<LifecycleReply>().unwrap(), LifecycleReply::Unsupported);
    stream.write_all(&Frame::encode(LIFECYCLE, &200_u8).unwrap()).await.unwrap();
    let answer = Frame::read(&mut stream).await.unwrap().unwrap();
    assert_eq!(answer.decode::<LifecycleReply>().unwrap(), LifecycleReply::Unsupported);
    stream.write_all(&Frame::encode(LIFECYCLE, &Lifecycle::Hello).unwrap()).await.unwrap();
    let answer = Frame::read(&mut stream).await.unwrap().unwrap();
    assert!(matches!(answer.decode().unwrap(), LifecycleReply::Hello(Identity { .. })));
}

/// A server of another release, as far as a client can see: it greets with another protocol.
async fn other_release(listener: tokio::net::UnixListener, identity: Identity) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        while let Ok(Some(frame)) = Frame::read(&mut stream).await {
            let (reply, last) = match frame.decode::<Lifecycle>() {
                Ok(Lifecycle::Hello) => (LifecycleReply::Hello(identity.clone()), false),
                Ok(Lifecycle::Exit) => (LifecycleReply::Exiting, true),
                _ => (LifecycleReply::Unsupported, false),
            };
            stream.write_all(&Frame::encode(LIFECYCLE, &reply).unwrap()).await?;
            if last {
                return Ok(());
            }
        }
    }
}

#[tokio::test]
async fn an_incompatible_server_is_asked_to_end_and_replaced() {
    let place = Place::new();
    let listener = tokio::net::UnixListener::bind(&place.launch.control).unwrap();
    let identity = Identity { protocol: 77, pid: 1, listen: "127.0.0.9:1".parse().unwrap(), netns: 0 };
    let former = tokio::spawn(other_release(listener, identity));
    let refused = DnsControl::connect(&place.launch.control).await.unwrap_err();
    assert!(matches!(refused, ControlError::Incompatible { protocol: 77, .. }), "{refused}");
    let (control, origin) = place.server().await;
    assert_eq!(origin, Origin::Started);
    timeout(PATIENCE, former).await.unwrap().unwrap().unwrap();
    control.publish(&table(1, 3, &[])).await.unwrap();
    assert_eq!(place.asks(CLIENT).addresses("web.").await.1.len(), 1);
}
