//! The state machine as a table, and whole lives driven through it.

use std::path::PathBuf;

use mesh_core::spec::{HealthConfig, HealthTest};

use super::*;

fn prepared() -> Prepared {
    Prepared { netns: PathBuf::from("/run/mesh/netns/t"), container_id: "c".repeat(64), health: None }
}

/// Of an image that brings a probe.
fn probed() -> Prepared {
    let test = HealthTest::Exec(vec!["x".to_owned()]);
    let config = HealthConfig { test, ..HealthConfig::default() };
    Prepared { health: HealthCheck::of(&config, &HealthConfig::default()), ..prepared() }
}

/// Runs, and its probe says this.
fn with_health(state: TaskState, health: Health, wanted: Wanted) -> TaskRun {
    let process = Process::Running { pid: 7 };
    let complaint = "health check failed: x".to_owned();
    TaskRun { prepared: Some(probed()), process, health, complaint, ..live(state, wanted) }
}

#[test]
fn what_a_probe_says_decides() {
    use TaskState::{Failed, Running, Starting};
    let run = |state, health| with_health(state, health, Wanted::Running);
    let withdrawn = |run: TaskRun| TaskRun { presence: Presence::Withdrawn, ..run };
    let over = |run: TaskRun, code| TaskRun { process: Process::Exited { code }, ..run };
    let flushed = |run: TaskRun| TaskRun { flushed: true, ..run };
    let words = |code: &str| {
        report(Failed, "started", format!("task: {code}unhealthy container (health check failed: x)"))
    };
    let cases = [
        ("not healthy yet", run(Starting, Health::Starting), Step::Wait),
        ("healthy", run(Starting, Health::Healthy), told(Running, "started")),
        ("never healthy", run(Starting, Health::Unhealthy), Step::Place(Presence::Withdrawn)),
        ("never healthy, withdrawn", withdrawn(run(Starting, Health::Unhealthy)), Step::Run(Operation::Stop)),
        ("never healthy, stopped", over(withdrawn(run(Starting, Health::Unhealthy)), 0), words("")),
        ("failing", run(Running, Health::Failing), Step::Wait),
        ("healthy again", run(Running, Health::Healthy), Step::Wait),
        ("unhealthy: balancers first", run(Running, Health::Unhealthy), Step::Place(Presence::Withdrawn)),
        (
            "unhealthy: until they know",
            TaskRun { settled: false, ..withdrawn(run(Running, Health::Unhealthy)) },
            Step::Wait,
        ),
        (
            "unhealthy: then the signal",
            withdrawn(run(Running, Health::Unhealthy)),
            Step::Run(Operation::Stop),
        ),
        (
            "unhealthy: over",
            over(withdrawn(run(Running, Health::Unhealthy)), 143),
            words("non-zero exit (143): "),
        ),
        (
            "failing, and ended by itself",
            over(run(Running, Health::Failing), 1),
            report(Failed, "started", "task: non-zero exit (1)".into()),
        ),
        (
            "unhealthy, and unwanted",
            flushed(over(with_health(Running, Health::Unhealthy, Wanted::Stopped), 143)),
            told(TaskState::Shutdown, "shutdown"),
        ),
    ];
    for (name, run, step) in cases {
        assert_eq!(next(&run), step, "{name}");
    }
}

#[test]
fn a_restarted_daemon_waits_for_the_probe_of_what_it_starts() {
    let run = TaskRun::adopted(Wanted::Running, TaskState::Ready, Some((probed(), RunState::Prepared)));
    assert_eq!(run.health, Health::Starting);
    let run = TaskRun::adopted(Wanted::Running, TaskState::Ready, Some((prepared(), RunState::Prepared)));
    assert_eq!(run.health, Health::None);
}

#[test]
fn only_what_runs_and_should_is_probed() {
    use TaskState::{Failed, Ready, Running, Starting};
    let cases = [
        ("starting", with_health(Starting, Health::Starting, Wanted::Running), true),
        ("running", with_health(Running, Health::Failing, Wanted::Running), true),
        ("unhealthy", with_health(Running, Health::Unhealthy, Wanted::Running), false),
        ("leaving", with_health(Running, Health::Healthy, Wanted::Stopped), false),
        ("over", with_health(Failed, Health::Healthy, Wanted::Running), false),
        ("not begun", TaskRun { prepared: Some(probed()), ..run(Ready, Wanted::Running) }, false),
        ("without a probe", live(Running, Wanted::Running), false),
    ];
    for (name, run, probes) in cases {
        assert_eq!(run.check().is_some(), probes, "{name}");
    }
}

#[test]
fn a_task_serves_while_its_probe_says_so() {
    for (health, serves) in [
        (Health::None, true),
        (Health::Starting, false),
        (Health::Healthy, true),
        (Health::Failing, false),
        (Health::Unhealthy, false),
    ] {
        let run = with_health(TaskState::Running, health, Wanted::Running);
        assert_eq!((run.serves(), run.container().unwrap().health), (serves, health));
    }
}

fn run(state: TaskState, wanted: Wanted) -> TaskRun {
    TaskRun { state, ..TaskRun::new(wanted) }
}

/// In the state `state` with everything that belongs to it.
fn live(state: TaskState, wanted: Wanted) -> TaskRun {
    let process = if state >= TaskState::Running { Process::Running { pid: 7 } } else { Process::None };
    TaskRun { prepared: Some(prepared()), presence: Presence::Attached, process, ..run(state, wanted) }
}

/// Leaves, is known to be out of all balancers, and out of this node's own.
fn cleared(state: TaskState) -> TaskRun {
    let presence = Presence::Withdrawn;
    TaskRun { presence, departure: Departure::Cleared, ..live(state, Wanted::Stopped) }
}

fn failure(error: &str, rejected: bool) -> Failure {
    Failure { error: error.to_owned(), rejected }
}

#[test]
fn each_situation_has_its_one_next_step() {
    use TaskState::{
        Accepted, Assigned, Complete, Failed, Preparing, Ready, Rejected, Running, Shutdown, Starting,
    };
    let exited = |code| Process::Exited { code };
    let cases: Vec<(&str, TaskRun, Step)> = vec![
        ("new", run(Assigned, Wanted::Running), told(Accepted, "accepted")),
        ("accepted", run(Accepted, Wanted::Ready), told(Preparing, "preparing")),
        ("unprepared", run(Preparing, Wanted::Ready), Step::Run(Operation::Prepare)),
        (
            "prepared",
            TaskRun { presence: Presence::Absent, ..live(Preparing, Wanted::Ready) },
            Step::Place(Presence::Attached),
        ),
        ("not yet placed", TaskRun { settled: false, ..live(Preparing, Wanted::Ready) }, Step::Wait),
        ("placed", live(Preparing, Wanted::Running), told(Ready, "prepared")),
        ("ready waits for its desired state", live(Ready, Wanted::Ready), Step::Wait),
        ("ready goes on", live(Ready, Wanted::Running), told(Starting, "starting")),
        ("starting", live(Starting, Wanted::Running), Step::Run(Operation::Start)),
        (
            "started",
            TaskRun { process: Process::Running { pid: 7 }, ..live(Starting, Wanted::Running) },
            told(Running, "started"),
        ),
        ("running", live(Running, Wanted::Running), Step::Wait),
        (
            "killed",
            TaskRun { process: exited(137), ..live(Running, Wanted::Running) },
            report(Failed, "started", "task: non-zero exit (137)".into()),
        ),
        (
            "ended well",
            TaskRun { process: exited(0), ..live(Running, Wanted::Running) },
            told(Complete, "finished"),
        ),
        (
            "ended before it was seen running",
            TaskRun { process: exited(1), ..live(Starting, Wanted::Running) },
            report(Failed, "started", "task: non-zero exit (1)".into()),
        ),
        ("stop: balancers first", live(Running, Wanted::Stopped), Step::Place(Presence::Withdrawn)),
        (
            "stop: until they know",
            TaskRun { presence: Presence::Withdrawn, settled: false, ..live(Running, Wanted::Stopped) },
            Step::Wait,
        ),
        (
            "stop: then the signal",
            TaskRun { presence: Presence::Withdrawn, ..live(Running, Wanted::Stopped) },
            Step::Run(Operation::Stop),
        ),
        (
            "stopped",
            TaskRun { process: exited(143), flushed: true, ..live(Running, Wanted::Stopped) },
            told(Shutdown, "shutdown"),
        ),
        ("stopped before it ran", live(Ready, Wanted::Stopped), told(Shutdown, "shutdown")),
        ("unwanted before it was accepted", run(Assigned, Wanted::Gone), told(Shutdown, "shutdown")),
        (
            "no such image",
            TaskRun { failure: Some(failure("No such image", true)), ..run(Preparing, Wanted::Running) },
            report(Rejected, "failed", "No such image".into()),
        ),
        (
            "broken start",
            TaskRun { failure: Some(failure("exec", false)), ..live(Starting, Wanted::Running) },
            report(Failed, "failed", "exec".into()),
        ),
        (
            "over: out of the network",
            TaskRun { process: exited(1), flushed: true, ..live(Failed, Wanted::Running) },
            Step::Place(Presence::Absent),
        ),
        (
            "over: out of the runtime",
            TaskRun { presence: Presence::Absent, ..live(Failed, Wanted::Running) },
            Step::Run(Operation::Remove),
        ),
        ("over: remembered", TaskRun { removed: true, ..run(Failed, Wanted::Running) }, Step::Wait),
        ("over: forgotten", TaskRun { removed: true, ..run(Failed, Wanted::Gone) }, Step::Forget),
        ("busy", TaskRun { busy: Some(Operation::Stop), ..live(Running, Wanted::Running) }, Step::Wait),
    ];
    for (name, run, step) in cases {
        assert_eq!(next(&run), step, "{name}");
    }
}

#[test]
fn a_task_that_leaves_takes_its_time() {
    use TaskState::{Failed, Running};
    let exited = |code| Process::Exited { code };
    let cases: Vec<(&str, TaskRun, Step)> = vec![
        (
            "leaving: serves on until all know",
            TaskRun { departure: Departure::Sought, ..live(Running, Wanted::Stopped) },
            Step::Wait,
        ),
        (
            "leaving: its own balancers too",
            TaskRun { departure: Departure::Cleared, ..live(Running, Wanted::Stopped) },
            Step::Place(Presence::Withdrawn),
        ),
        ("leaving: connections get time", cleared(Running), Step::Run(Operation::Drain)),
        (
            "leaving: then the signal",
            TaskRun { departure: Departure::Drained, ..cleared(Running) },
            Step::Run(Operation::Stop),
        ),
        (
            "ended while it was to leave",
            TaskRun { departure: Departure::Sought, process: exited(1), ..live(Running, Wanted::Stopped) },
            Step::Run(Operation::Flush),
        ),
        (
            "stopped: last words",
            TaskRun { process: exited(143), ..live(Running, Wanted::Stopped) },
            Step::Run(Operation::Flush),
        ),
        (
            "over: last words",
            TaskRun { process: exited(1), ..live(Failed, Wanted::Running) },
            Step::Run(Operation::Flush),
        ),
    ];
    for (name, run, step) in cases {
        assert_eq!(next(&run), step, "{name}");
    }
}

#[test]
fn what_a_desired_state_means() {
    for (desired, wanted) in [
        (TaskState::Ready, Wanted::Ready),
        (TaskState::Running, Wanted::Running),
        (TaskState::Complete, Wanted::Running),
        (TaskState::Shutdown, Wanted::Stopped),
        (TaskState::Remove, Wanted::Stopped),
    ] {
        assert_eq!(Wanted::of(desired), wanted, "{desired:?}");
    }
}

#[test]
fn a_restarted_daemon_goes_on_where_it_was() {
    use TaskState::{Complete, Failed, Preparing, Ready, Running, Starting};
    let found = |state| Some((prepared(), state));
    let up = RunState::Running { pid: 7 };
    let cases = [
        ("runs on", Running, found(up.clone()), Step::Wait),
        ("started, unreported", Starting, found(up.clone()), Step::Wait),
        (
            "ended meanwhile",
            Running,
            found(RunState::Exited { code: 3 }),
            report(Failed, "started", "task: non-zero exit (3)".into()),
        ),
        ("vanished", Running, None, report(Failed, "started", "task: non-zero exit (137)".into())),
        (
            "vanished in the start",
            Starting,
            None,
            report(Failed, "started", "task: non-zero exit (137)".into()),
        ),
        ("not begun", Preparing, None, Step::Run(Operation::Prepare)),
        ("prepared, then lost its namespace", Ready, None, Step::Run(Operation::Prepare)),
        ("over, not removed", Complete, found(RunState::Exited { code: 0 }), Step::Run(Operation::Remove)),
        ("over", Complete, None, Step::Wait),
    ];
    for (name, state, found, step) in cases {
        assert_eq!(next(&TaskRun::adopted(Wanted::Running, state, found)), step, "{name}");
    }
}

/// Does what the machine says, with a runtime that always succeeds; returns what was done.
fn live_through(run: &mut TaskRun) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let step = next(run);
        match &step {
            Step::Wait | Step::Forget => return steps,
            Step::Report(report) => {
                assert!(report.state > run.state, "{:?} after {:?}", report.state, run.state);
                run.state = report.state;
            }
            Step::Place(presence) => run.presence = *presence,
            Step::Run(Operation::Prepare) => run.prepared = Some(prepared()),
            Step::Run(Operation::Start) => run.process = Process::Running { pid: 7 },
            Step::Run(Operation::Drain) => run.departure = Departure::Drained,
            Step::Run(Operation::Stop) => run.process = Process::Exited { code: 143 },
            Step::Run(Operation::Flush) => run.flushed = true,
            Step::Run(Operation::Remove) => {
                run.prepared = None;
                run.removed = true;
            }
        }
        steps.push(step);
        assert!(steps.len() < 50, "no end: {steps:?}");
    }
}

#[test]
fn from_every_state_every_wish_is_fulfilled() {
    for wanted in [Wanted::Ready, Wanted::Running, Wanted::Stopped, Wanted::Gone] {
        for later in [Wanted::Ready, Wanted::Running, Wanted::Stopped, Wanted::Gone] {
            let mut run = TaskRun::new(wanted);
            live_through(&mut run);
            run.wanted = run.wanted.max(later);
            live_through(&mut run);
            let expected = match run.wanted {
                Wanted::Ready => TaskState::Ready,
                Wanted::Running => TaskState::Running,
                Wanted::Stopped | Wanted::Gone => TaskState::Shutdown,
            };
            assert_eq!(run.state, expected, "{wanted:?} then {later:?}");
        }
    }
}

#[test]
fn the_signal_comes_after_the_balancers_and_the_removal_last() {
    let mut run = TaskRun { departure: Departure::Cleared, ..live(TaskState::Running, Wanted::Gone) };
    let steps = live_through(&mut run);
    assert_eq!(
        steps,
        [
            Step::Place(Presence::Withdrawn),
            Step::Run(Operation::Drain),
            Step::Run(Operation::Stop),
            Step::Run(Operation::Flush),
            told(TaskState::Shutdown, "shutdown"),
            Step::Place(Presence::Absent),
            Step::Run(Operation::Remove),
        ]
    );
}
