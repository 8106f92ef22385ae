use mesh_api::decode::decode;

use super::super::picture::Goal;
use super::*;
use crate::output::progress::TaskLine;

fn put(kind: &str, value: &str, outdated: bool) -> WatchEvent {
    let text = format!(
        r#"{{"Type":"Put","Index":1,"Object":{{"Kind":"{kind}","Value":{value}}},"Outdated":{outdated}}}"#
    );
    decode(text.as_bytes()).unwrap()
}

struct Made {
    id: &'static str,
    slot: u64,
    second: u64,
    state: &'static str,
    desired: &'static str,
    error: &'static str,
    outdated: bool,
}

fn made(id: &'static str, slot: u64, second: u64, state: &'static str, desired: &'static str) -> Made {
    Made { id, slot, second, state, desired, error: "", outdated: false }
}

impl Made {
    fn event(&self) -> WatchEvent {
        let Self { id, slot, second, state, desired, error, outdated } = self;
        put(
            "task",
            &format!(
                r#"{{"ID":"{id}","Slot":{slot},"NodeID":"node{slot}aaaaaaaaaa","CreatedAt":
                "2026-01-01T00:00:0{second}Z","DesiredState":"{desired}","JobIteration":{{"Index":7}},"Status":
                {{"State":"{state}","Err":"{error}"}}}}"#
            ),
            *outdated,
        )
    }
}

fn synced(present: &[&str]) -> WatchEvent {
    WatchEvent::Synced { index: 1, present: present.iter().map(|&id| id.to_owned()).collect() }
}

const WEB: &str = r#"{"ID":"s","Spec":{"Name":"web","Mode":{"Replicated":{"Replicas":2}},"UpdateConfig":
    {"Monitor":7000000000}}}"#;
const GLOBAL: &str = r#"{"ID":"s","Spec":{"Name":"web","Mode":{"Global":{}}}}"#;
const JOB: &str = r#"{"ID":"s","Spec":{"Name":"job","Mode":{"ReplicatedJob":{"MaxConcurrent":2,
    "TotalCompletions":10}}},"JobStatus":{"JobIteration":{"Index":7}}}"#;
const GLOBAL_JOB: &str =
    r#"{"ID":"s","Spec":{"Name":"job","Mode":{"GlobalJob":{}}},"JobStatus":{"JobIteration":{"Index":7}}}"#;

fn seen(service: &str, tasks: &[Made]) -> Seen {
    let mut seen = Seen::default();
    seen.learn(put("service", service, false));
    for task in tasks {
        seen.learn(task.event());
    }
    let ids: Vec<_> = tasks.iter().map(|task| task.id).chain(["s"]).collect();
    seen.learn(synced(&ids));
    seen
}

/// Heads, then `PLACE STATE ERROR` of each line, then the goal.
fn words(seen: &Seen, standing: &Standing) -> Vec<String> {
    let known = seen.picture(standing, true).unwrap();
    let line = |line: TaskLine| format!("{} {} {}", line.place, line.state, line.error).trim_end().to_owned();
    let goal = known.goal.map(|goal| match goal {
        Goal::Running { .. } => "running".to_owned(),
        Goal::JobComplete => "complete".to_owned(),
    });
    known.shown.heads.into_iter().chain(known.shown.tasks.into_iter().map(line)).chain(goal).collect()
}

fn plain(seen: &Seen) -> Vec<String> {
    words(seen, &Standing::default())
}

#[test]
fn nothing_is_said_before_the_beginning_is_told() {
    let mut seen = Seen::default();
    seen.learn(put("service", WEB, false));
    assert!(seen.picture(&Standing::default(), false).is_none());
    seen.learn(synced(&["s"]));
    assert_eq!(plain(&seen), ["overall progress: 0 out of 2 tasks"]);
}

#[test]
fn the_newest_wanted_task_of_a_slot_counts() {
    let mut seen = seen(
        WEB,
        &[
            made("a", 1, 1, "failed", "shutdown"),
            made("b", 1, 2, "running", "running"),
            made("c", 2, 1, "preparing", "running"),
        ],
    );
    assert_eq!(plain(&seen), ["overall progress: 1 out of 2 tasks", "1/2 running", "2/2 preparing"]);
    seen.learn(made("d", 2, 3, "running", "running").event());
    assert_eq!(plain(&seen), ["overall progress: 2 out of 2 tasks", "1/2 running", "2/2 running", "running"]);
    let goal = seen.picture(&Standing::default(), false).unwrap().goal;
    assert_eq!(goal, Some(Goal::Running { monitor: Some(Duration::from_secs(7)) }));
}

#[test]
fn tasks_that_are_to_be_replaced_do_not_count_and_are_waited_for() {
    let old = Made { outdated: true, ..made("a", 1, 1, "running", "running") };
    let mut seen = seen(WEB, &[old, made("b", 2, 1, "running", "running")]);
    assert_eq!(plain(&seen), ["overall progress: 1 out of 2 tasks", "2/2 running"]);
    let halfway = Standing { halfway: true, ..Standing::default() };
    assert_eq!(
        words(&seen, &halfway),
        ["overall progress: 2 out of 2 tasks", "2/2 running", "running"],
        "an update that stopped before leaves them"
    );
    seen.learn(made("c", 1, 2, "running", "running").event());
    assert_eq!(plain(&seen).last().unwrap(), "2/2 running", "the old one is there still");
    seen.learn(Made { outdated: true, ..made("a", 1, 1, "running", "shutdown") }.event());
    assert_eq!(plain(&seen).last().unwrap(), "running");
}

#[test]
fn a_surplus_is_waited_for() {
    let seen = seen(
        r#"{"ID":"s","Spec":{"Mode":{"Replicated":{"Replicas":1}}}}"#,
        &[made("a", 1, 1, "running", "running"), made("b", 2, 1, "running", "running")],
    );
    assert!(seen.picture(&Standing::default(), false).unwrap().goal.is_none());
}

#[test]
fn what_keeps_a_task_from_running_is_said() {
    let pending = Made { error: "no suitable node", ..made("a", 1, 1, "pending", "running") };
    let crashed = Made { error: "task: non-zero exit (1)", ..made("b", 2, 1, "failed", "shutdown") };
    let mut seen = seen(WEB, &[pending, crashed, made("c", 2, 2, "ready", "ready")]);
    assert_eq!(
        plain(&seen),
        [
            "overall progress: 0 out of 2 tasks",
            "1/2 pending no suitable node",
            "2/2 ready task: non-zero exit (1)"
        ]
    );
    for event in [made("a", 1, 1, "running", "running"), made("c", 2, 2, "running", "running")] {
        seen.learn(event.event());
    }
    assert_eq!(plain(&seen)[1..], ["1/2 running", "2/2 running", "running"]);
}

#[test]
fn a_task_that_is_not_started_again_is_shown_as_it_ended() {
    let ended = Made { error: "task: non-zero exit (1)", ..made("a", 1, 1, "failed", "shutdown") };
    let seen = seen(WEB, &[ended, made("b", 2, 1, "running", "running")]);
    assert_eq!(
        plain(&seen),
        ["overall progress: 1 out of 2 tasks", "1/2 failed task: non-zero exit (1)", "2/2 running"]
    );
}

#[test]
fn a_global_service_has_as_many_as_were_made() {
    let mut seen = seen(GLOBAL, &[]);
    assert_eq!(plain(&seen), ["overall progress: waiting for new tasks"]);
    seen.learn(made("a", 0, 1, "running", "running").event());
    assert_eq!(plain(&seen), ["overall progress: 1 out of 1 tasks", "node0aaaaaaa running", "running"]);
}

#[test]
fn going_back_is_said() {
    let seen = seen(WEB, &[made("a", 1, 1, "running", "running")]);
    let standing = Standing {
        rolling_back: true,
        message: Some("manually requested rollback".to_owned()),
        ..Standing::default()
    };
    assert_eq!(
        words(&seen, &standing)[..2],
        ["rollback: manually requested rollback", "overall progress: rolling back update: 1 out of 2 tasks"]
    );
}

#[test]
fn a_rebalance_is_waited_for_by_who_asked_for_it() {
    let moving = WEB.replacen(r#""ID":"s","#, r#""ID":"s","Rebalance":{"Parallelism":1,"Moved":1},"#, 1);
    let tasks = || [made("a", 1, 1, "running", "running"), made("b", 2, 1, "running", "running")];
    let seen = seen(&moving, &tasks());
    assert!(seen.picture(&Standing::default(), false).unwrap().goal.is_some());
    assert_eq!(
        plain(&seen),
        ["overall progress: 2 out of 2 tasks", "rebalance: 1 task moved", "1/2 running", "2/2 running"]
    );
}

#[test]
fn a_job_counts_the_runs_that_are_complete() {
    let failed = Made { error: "task: non-zero exit (1)", ..made("b", 1, 1, "failed", "shutdown") };
    let seen = seen(
        JOB,
        &[made("a", 0, 1, "complete", "complete"), failed, made("c", 1, 2, "preparing", "complete")],
    );
    assert_eq!(
        plain(&seen),
        [
            "job progress:  1 out of 10 complete",
            "active tasks: 1 out of 2 tasks",
            " 1/10 complete",
            " 2/10 preparing task: non-zero exit (1)"
        ]
    );
}

#[test]
fn a_global_job_is_complete_on_each_node() {
    let mut seen = seen(GLOBAL_JOB, &[]);
    assert_eq!(plain(&seen), ["job progress: waiting for tasks"]);
    seen.learn(made("a", 0, 1, "running", "complete").event());
    assert_eq!(plain(&seen), ["job progress: 0 out of 1 complete", "node0aaaaaaa running"]);
    seen.learn(made("a", 0, 1, "complete", "complete").event());
    assert_eq!(plain(&seen), ["job progress: 1 out of 1 complete", "node0aaaaaaa complete", "complete"]);
    seen.learn(put("service", &GLOBAL_JOB.replace('7', "8"), false));
    assert_eq!(plain(&seen), ["job progress: waiting for tasks"], "runs of before do not count");
}

#[test]
fn a_service_that_goes_away_is_noticed() {
    let mut seen = Seen::default();
    seen.learn(put("service", WEB, false));
    seen.learn(synced(&[]));
    assert!(seen.is_removed());
}
