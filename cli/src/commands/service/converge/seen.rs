//! The service and its tasks, as told so far, and how far they are.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::engine::service::{ReplicatedJob, Service};
use mesh_api::engine::task::Task;
use mesh_api::mesh::{Object, ObjectKind, WatchEvent};

use super::update::Standing;
use crate::output::progress::{Picture, TaskLine};
use crate::output::words::{counted, short_id};

/// What a service has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// All its tasks run.
    Running {
        /// How long an update watches its tasks.
        monitor: Option<Duration>,
    },
    /// All runs of the job are complete.
    JobComplete,
}

/// How far a service is.
pub struct Known {
    /// As it is shown.
    pub shown: Picture,
    /// What it has reached.
    pub goal: Option<Goal>,
}

/// The service and its tasks.
#[derive(Default)]
pub struct Seen {
    service: Option<Service>,
    tasks: BTreeMap<String, Told>,
    /// The beginning of the watch is told, so what is missing does not exist.
    whole: bool,
    removed: bool,
}

/// A task.
struct Told {
    task: Task,
    /// It is not what the service wants now.
    outdated: bool,
}

/// The tasks of one slot, or of one node.
#[derive(Default)]
struct Place<'a> {
    /// The newest that is wanted and as the service wants it.
    current: Option<&'a Task>,
    /// The newest that ended by itself.
    ended: Option<&'a Task>,
    /// The newest that is wanted, but not as the service wants it now.
    outdated: Option<&'a Task>,
}

impl Place<'_> {
    /// Something in it is wanted.
    fn is_live(&self) -> bool {
        self.current.is_some() || self.outdated.is_some()
    }
}

/// A slot of a replicated service, or the node of a global one's.
type Key<'a> = (u64, &'a str);

impl Seen {
    /// Takes in what is told.
    pub fn learn(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Put { object: Object::Service(service), .. } => self.service = Some(*service),
            WatchEvent::Put { object: Object::Task(task), outdated, .. } => {
                self.tasks.insert(task.id.clone(), Told { task: *task, outdated });
            }
            WatchEvent::Put { .. } => {}
            WatchEvent::Delete { kind: ObjectKind::Service, .. } => self.removed = true,
            WatchEvent::Delete { id, .. } => {
                self.tasks.remove(&id);
            }
            WatchEvent::Synced { present, .. } => {
                self.tasks.retain(|id, _| present.contains(id));
                self.removed = self.service.as_ref().is_none_or(|service| !present.contains(&service.id));
                self.whole = true;
            }
        }
    }

    /// The service is gone.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// The service, once all is told.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref().filter(|_| self.whole)
    }

    /// How far the service is, and with `rebalance` how far that is; `None` as long as not all is told.
    pub fn picture(&self, standing: &Standing, rebalance: bool) -> Option<Known> {
        let service = self.service()?;
        let mode = service.spec.mode.clone().unwrap_or_default();
        if let Some(job) = &service.job_status {
            let places = self.places(mode.global_job.is_some(), Some(job.job_iteration.index));
            return Some(job_picture(mode.replicated_job, &places));
        }
        let replicas =
            mode.global.is_none().then(|| mode.replicated.and_then(|counted| counted.replicas).unwrap_or(1));
        let mut places = self.places(replicas.is_none(), None);
        // What ended stands for its place until something else does.
        let live = places.values().filter(|place| place.is_live()).count() as u64;
        if replicas.is_none_or(|replicas| live >= replicas) {
            places.retain(|_, place| place.is_live());
        }
        let monitor = service.spec.update_config.as_ref().map(|config| config.monitor);
        let monitor = monitor.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos);
        let mut known = service_picture(replicas, &places, standing, monitor);
        if let Some(moves) = service.rebalance.as_ref().filter(|_| rebalance) {
            known.goal = None;
            known.shown.heads.push(format!("rebalance: {} moved", counted(moves.moved, "task")));
        }
        Some(known)
    }

    /// The tasks by place; of a job those of its last run alone.
    fn places(&self, by_node: bool, run: Option<u64>) -> BTreeMap<Key<'_>, Place<'_>> {
        let mut places: BTreeMap<Key<'_>, Place<'_>> = BTreeMap::new();
        for Told { task, outdated } in self.tasks.values() {
            if run.is_some() && task.job_iteration.map(|version| version.index) != run {
                continue;
            }
            let key = if by_node { (0, task.node_id.as_str()) } else { (task.slot, "") };
            let place = places.entry(key).or_default();
            let ended = matches!(task.status.state.as_str(), "complete" | "failed" | "rejected");
            match (ended, is_wanted(task), *outdated) {
                (true, _, false) => keep_newest(&mut place.ended, task),
                (false, true, false) => keep_newest(&mut place.current, task),
                (false, true, true) => keep_newest(&mut place.outdated, task),
                _ => {}
            }
        }
        places.retain(|_, place| place.is_live() || place.ended.is_some());
        places
    }
}

fn keep_newest<'a>(kept: &mut Option<&'a Task>, task: &'a Task) {
    if kept.is_none_or(|known| known.created_at < task.created_at) {
        *kept = Some(task);
    }
}

fn is_wanted(task: &Task) -> bool {
    !matches!(task.desired_state.as_str(), "shutdown" | "remove" | "orphaned")
}

fn runs(task: &Task) -> bool {
    task.status.state == "running"
}

/// A service: how many of the tasks that it wants run. `replicas` is `None` for a global one, which has as many as
/// its orchestrator made, once it made any.
fn service_picture(
    replicas: Option<u64>,
    places: &BTreeMap<Key<'_>, Place<'_>>,
    standing: &Standing,
    monitor: Option<Duration>,
) -> Known {
    let count = places.values().filter(|place| place.is_live()).count() as u64;
    let total = replicas.or((count > 0).then_some(count));
    let meant =
        |place: &Place<'_>| place.current.or(place.outdated.filter(|_| standing.halfway)).is_some_and(runs);
    let running = places.values().filter(|place| meant(place)).count() as u64;
    let settled = standing.halfway || places.values().all(|place| place.outdated.is_none());
    let overall = match total {
        Some(total) if standing.rolling_back => {
            format!("overall progress: rolling back update: {running} out of {total} tasks")
        }
        Some(total) => format!("overall progress: {running} out of {total} tasks"),
        None => "overall progress: waiting for new tasks".to_owned(),
    };
    let message = standing.message.as_ref().map(|message| format!("rollback: {message}"));
    let done = settled && total == Some(running) && running == count;
    Known {
        shown: Picture { heads: message.into_iter().chain([overall]).collect(), tasks: lines(places, total) },
        goal: done.then_some(Goal::Running { monitor }),
    }
}

/// A job: how many of its runs are complete. `counted` is `None` for a global one.
fn job_picture(counted: Option<ReplicatedJob>, places: &BTreeMap<Key<'_>, Place<'_>>) -> Known {
    let total = match counted {
        Some(job) => Some(job.total_completions.unwrap_or(1)),
        None => (!places.is_empty()).then_some(places.len() as u64),
    };
    let complete = |place: &&Place<'_>| place.ended.is_some_and(|task| task.status.state == "complete");
    let done = places.values().filter(complete).count() as u64;
    let active = places.values().filter(|place| !complete(place) && place.current.is_some()).count();
    let Some(total) = total else {
        let heads = vec!["job progress: waiting for tasks".to_owned()];
        return Known { shown: Picture { heads, tasks: Vec::new() }, goal: None };
    };
    let width = total.to_string().len();
    let mut heads = vec![format!("job progress: {done:>width$} out of {total} complete")];
    if let Some(job) = counted {
        let most = total.saturating_sub(done).min(job.max_concurrent.unwrap_or(1));
        heads.push(format!("active tasks: {active} out of {most} tasks"));
    }
    let shown = Picture { heads, tasks: lines(places, Some(total)) };
    Known { shown, goal: (done == total).then_some(Goal::JobComplete) }
}

/// A line for each place, numbered in order or named by its node.
fn lines(places: &BTreeMap<Key<'_>, Place<'_>>, total: Option<u64>) -> Vec<TaskLine> {
    let total = total.unwrap_or(0);
    let width = total.to_string().len();
    let shown = places.iter().enumerate().filter_map(|(at, ((_, node), place))| {
        let task =
            place.ended.filter(|task| task.status.state == "complete").or(place.current).or(place.ended)?;
        let place_word = if node.is_empty() { format!("{:>width$}/{total}", at + 1) } else { short_id(node) };
        Some(TaskLine { place: place_word, state: task.status.state.clone(), error: error(place, task) })
    });
    shown.collect()
}

/// What keeps a place from running: what its task says, else why the one before it ended.
fn error(place: &Place<'_>, task: &Task) -> String {
    let own = task.status.err.clone();
    if !own.is_empty() || matches!(task.status.state.as_str(), "running" | "complete") {
        return own;
    }
    place.ended.map(|ended| ended.status.err.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

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
    const GLOBAL_JOB: &str = r#"{"ID":"s","Spec":{"Name":"job","Mode":{"GlobalJob":{}}},"JobStatus":{"JobIteration":{"Index":7}}}"#;

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
        let line =
            |line: TaskLine| format!("{} {} {}", line.place, line.state, line.error).trim_end().to_owned();
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
        assert_eq!(
            plain(&seen),
            ["overall progress: 2 out of 2 tasks", "1/2 running", "2/2 running", "running"]
        );
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
            [
                "rollback: manually requested rollback",
                "overall progress: rolling back update: 1 out of 2 tasks"
            ]
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
}
