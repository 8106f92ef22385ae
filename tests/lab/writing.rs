//! Clients that write while managers come and go: they ask one manager after the other, wait for each a
//! bounded time, and keep account of what they were told.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::{Said, call};

/// How long a client waits for one answer before it asks the next manager.
const ATTEMPT: Duration = Duration::from_millis(500);

/// How long a client goes on without a success before the test fails.
const PERSISTENCE: Duration = Duration::from_secs(30);

/// Pause after a refusal, so that a client that nobody serves does not take the machine's time.
const BACK_OFF: Duration = Duration::from_millis(20);

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Ack {
    begun: Instant,
    ended: Instant,
}

/// When writes were acknowledged, by all clients together.
#[derive(Debug, Default)]
pub struct Timeline {
    acks: Mutex<Vec<Ack>>,
    grown: Condvar,
}

impl Timeline {
    fn note(&self, begun: Instant) {
        self.acks.lock().unwrap().push(Ack { begun, ended: Instant::now() });
        self.grown.notify_all();
    }

    /// Waits until `count` more writes are acknowledged. False when they are not in time.
    pub fn grows(&self, count: usize) -> bool {
        let acks = self.acks.lock().unwrap();
        let wanted = acks.len() + count;
        !self.grown.wait_timeout_while(acks, PERSISTENCE, |acks| acks.len() < wanted).unwrap().1.timed_out()
    }

    /// Waits for the acknowledgement of a write that began after the fault was done. Answers the longest time
    /// without an acknowledgement from the last one before the fault to that one, which holds the moment of
    /// the fault wherever it was in its command.
    pub fn outage(&self, fault: (Instant, Instant)) -> Option<Duration> {
        let acks = self.acks.lock().unwrap();
        let (acks, waited) = self
            .grown
            .wait_timeout_while(acks, PERSISTENCE, |acks| longest_gap(acks, fault).is_none())
            .unwrap();
        if waited.timed_out() { None } else { longest_gap(&acks, fault) }
    }
}

fn longest_gap(acks: &[Ack], (start, done): (Instant, Instant)) -> Option<Duration> {
    let first_after = acks.iter().filter(|ack| ack.begun > done).map(|ack| ack.ended).min()?;
    let last_before = acks.iter().map(|ack| ack.ended).filter(|ended| *ended <= start).max().unwrap_or(start);
    let mut moments: Vec<Instant> =
        acks.iter().map(|ack| ack.ended).filter(|at| (last_before..=first_after).contains(at)).collect();
    moments.push(last_before);
    moments.sort();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// Managers' sockets, asked in turn.
struct Managers<'a> {
    sockets: &'a [PathBuf],
    at: usize,
}

impl Managers<'_> {
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Said {
        call(&self.sockets[self.at % self.sockets.len()], method, path, body, ATTEMPT)
    }

    fn next(&mut self) {
        self.at += 1;
        thread::sleep(BACK_OFF);
    }
}

/// Creates services of unique names, about `rate` a second, until `stop`; each is asked for until somebody says
/// that it is there. Every twentieth has a task. Answers the names.
pub fn create(
    writer: usize,
    rate: u32,
    sockets: &[PathBuf],
    acks: &Timeline,
    stop: &AtomicBool,
) -> Vec<String> {
    let mut managers = Managers { sockets, at: writer };
    let (start, mut names) = (Instant::now(), Vec::new());
    for number in 0u32.. {
        let due = start + Duration::from_secs(1) / rate * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w{writer}-{number}");
        create_one(&mut managers, &name, u32::from(number % 20 == 10), acks);
        names.push(name);
    }
    names
}

fn create_one(managers: &mut Managers<'_>, name: &str, replicas: u32, acks: &Timeline) {
    let spec = json!({
        "Name": name,
        "TaskTemplate": {"ContainerSpec": {"Image": "mesh/whoami:1"}},
        "Mode": {"Replicated": {"Replicas": replicas}},
    });
    let (deadline, mut maybe) = (Instant::now() + PERSISTENCE, false);
    loop {
        let begun = Instant::now();
        match managers.ask("POST", "/services/create", Some(&spec)) {
            Said::Answer { status: 201, .. } => return acks.note(begun),
            Said::Answer { status: 409, body } => {
                assert!(maybe, "{name} is there, and nobody asked for it: {body}");
                return acks.note(begun);
            }
            Said::Answer { status: 500.., .. } | Said::Unknown(_) => maybe = true,
            Said::Unsent(_) => {}
            answer @ Said::Answer { .. } => panic!("{name}: {answer:?}"),
        }
        assert!(Instant::now() < deadline, "{name} was not created in {PERSISTENCE:?}");
        managers.next();
    }
}

/// What became of updates of one counter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub acknowledged: u64,
    pub unknown: u64,
    /// Refused because somebody else was faster.
    pub refused: u64,
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |one, other| Self {
            acknowledged: one.acknowledged + other.acknowledged,
            unknown: one.unknown + other.unknown,
            refused: one.refused + other.refused,
        })
    }
}

/// The label that counts.
const LABEL: &str = "count";

/// Adds one to the counter of a service by compare and set, up to `rate` times a second, until `stop`. What a
/// client was told it may rely on: a later read never shows less.
pub fn count_up(client: usize, rate: u32, sockets: &[PathBuf], service: &str, stop: &AtomicBool) -> Count {
    let mut managers = Managers { sockets, at: client };
    let (mut counts, mut known) = (Count::default(), 0);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let Said::Answer { status: 200, body: found } =
            managers.ask("GET", &format!("/services/{service}"), None)
        else {
            managers.next();
            continue;
        };
        let seen = shown(&found);
        assert!(seen >= known, "client {client} knew of {known} and read {seen}");
        known = seen;
        match add_one(&managers, &found, seen) {
            Said::Answer { status: 200, .. } => {
                (counts.acknowledged, known) = (counts.acknowledged + 1, seen + 1);
                due = (due + Duration::from_secs(1) / rate).max(Instant::now());
            }
            Said::Answer { body, .. } if is_stale(&body) => {
                counts.refused += 1;
                thread::sleep(stagger(client, counts.refused));
            }
            Said::Answer { status: 500.., .. } | Said::Unknown(_) => {
                counts.unknown += 1;
                managers.next();
            }
            Said::Unsent(_) => managers.next(),
            answer @ Said::Answer { .. } => panic!("client {client}: {answer:?}"),
        }
    }
    counts
}

fn add_one(managers: &Managers<'_>, found: &Value, seen: u64) -> Said {
    let mut spec = found["Spec"].clone();
    spec["Labels"][LABEL] = json!((seen + 1).to_string());
    let (id, version) = (found["ID"].as_str().unwrap(), &found["Version"]["Index"]);
    managers.ask("POST", &format!("/services/{id}/update?version={version}"), Some(&spec))
}

/// Pause of a client that was too slow: different for each, or they would meet again.
fn stagger(client: usize, round: u64) -> Duration {
    Duration::from_millis((17 * u64::try_from(client).unwrap() + 29 * round) % 64)
}

fn is_stale(body: &Value) -> bool {
    body["message"].as_str().is_some_and(|message| message.contains("update out of sequence"))
}

/// The count that a service shows.
pub fn shown(service: &Value) -> u64 {
    service["Spec"]["Labels"][LABEL].as_str().map_or(0, |count| count.parse().unwrap())
}

#[test]
fn an_outage_is_the_longest_gap_around_the_fault() {
    let zero = Instant::now();
    let at = |ms: u64| zero + Duration::from_millis(ms);
    let ack = |begun, ended| Ack { begun: at(begun), ended: at(ended) };
    let fault = (at(100), at(150));
    let mut acks = vec![ack(80, 90), ack(95, 120), ack(130, 140), ack(10, 20)];
    assert_eq!(longest_gap(&acks, fault), None, "nothing that began after the fault is there yet");
    // A write that began before the fault and was done long after it, and one that began after it.
    acks.extend([ack(145, 800), ack(840, 850), ack(900, 5_000)]);
    assert_eq!(longest_gap(&acks, fault), Some(Duration::from_millis(660)));
    let quiet = [ack(600, 700)];
    assert_eq!(longest_gap(&quiet, fault), Some(Duration::from_millis(600)), "from the fault on");
}
