//! A daemon that is killed, or told to restart, takes nothing with it.

use std::io::Read;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Lab, node_name};
use crate::ingress::on;
use crate::traffic::{Load, flawless, load};

/// Reads a stream that takes `seconds` through a published port; the bytes that came before its proper end.
fn stream(to: SocketAddrV4, seconds: u64) -> std::io::Result<usize> {
    use std::io::Write;
    let mut connection = TcpStream::connect(to)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        connection,
        "GET /stream?seconds={seconds}&interval=100ms HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"
    )?;
    let (mut text, start) = (String::new(), Instant::now());
    connection.read_to_string(&mut text)?;
    let whole = start.elapsed() >= Duration::from_secs(seconds - 1) && text.ends_with("0\r\n\r\n");
    if whole {
        Ok(text.len())
    } else {
        Err(std::io::Error::other(format!("cut after {:?}", start.elapsed())))
    }
}

/// Ends each meshd in turn by `fault` under load and streams; nothing may fail and no task may move.
fn survives(name: &str, fault: &'static str) {
    let lab = Lab::up(name, 3);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "6", "-p", "8080:80", "mesh/whoami:1"])
        .ok();
    let before: Vec<_> = lab.running("web").into_iter().map(|task| (task.id, task.node, task.pid)).collect();
    let targets: Vec<SocketAddrV4> = (1..=3).map(|node| on(node, 8080)).collect();
    let stop = AtomicBool::new(false);
    let (lab, stop, targets) = (&lab, &stop, &targets);
    let (loads, streams) = thread::scope(|scope| {
        let streams: Vec<_> =
            targets.iter().map(|to| scope.spawn(move || lab.client(|| stream(*to, 60)))).collect();
        let loads: Vec<_> =
            (0..4).map(|_| scope.spawn(move || lab.client(|| load(targets, 50, stop)))).collect();
        for round in 0..2 {
            for node in 1..=3 {
                let node = node_name(node).to_string();
                thread::sleep(Duration::from_secs(2));
                lab.fault(&[fault, &node]);
                thread::sleep(Duration::from_millis(if round == 0 { 1500 } else { 300 }));
                lab.fault(&["start", &node]);
            }
        }
        let streams: Vec<_> = streams.into_iter().map(|stream| stream.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        (loads.into_iter().map(|load| load.join().unwrap()).collect::<Vec<Load>>(), streams)
    });
    let done = flawless(&loads);
    assert!(done > 200 * 55, "only {done} requests in a minute");
    for (to, stream) in targets.iter().zip(streams) {
        assert!(stream.is_ok(), "stream through {to}: {stream:?}");
    }
    let after: Vec<_> = lab.wait("every task to be seen running", || {
        let now: Vec<_> = lab.running("web").into_iter().map(|task| (task.id, task.node, task.pid)).collect();
        (now.len() == 6).then_some(now)
    });
    assert_eq!(after, before, "the same tasks, the same processes");
    let history = lab.ctl(&["service", "ps", "-q", "web"]).ok();
    assert_eq!(history.lines().count(), 6, "no task was replaced: {history}");
}

#[test]
fn kill_9_of_each_daemon_in_turn_loses_nothing() {
    survives("kill", "kill");
}

#[test]
fn sigterm_and_start_of_each_daemon_loses_nothing() {
    survives("term", "term");
}
