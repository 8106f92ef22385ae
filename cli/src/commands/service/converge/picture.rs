//! How far a service is, as it is shown, and whether that is all that was wanted.

use std::time::Duration;

use mesh_api::engine::service::ReplicatedJob;
use mesh_api::engine::task::Task;

use super::seen::{Place, Places};
use super::update::Standing;
use crate::output::progress::{Picture, TaskLine};
use crate::output::words::short_id;

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

/// A service: how many of the tasks that it wants run. `replicas` is `None` for a global one, which has as many as
/// its orchestrator made, once it made any.
pub fn service_picture(
    replicas: Option<u64>,
    places: &Places<'_>,
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
        shown: Picture {
            heads: message.into_iter().chain([overall]).collect(),
            tasks: lines(places, total),
            back: standing.rolling_back,
        },
        goal: done.then_some(Goal::Running { monitor }),
    }
}

/// A job: how many of its runs are complete. `counted` is `None` for a global one.
pub fn job_picture(counted: Option<ReplicatedJob>, places: &Places<'_>) -> Known {
    let total = match counted {
        Some(job) => Some(job.total_completions.unwrap_or(1)),
        None => (!places.is_empty()).then_some(places.len() as u64),
    };
    let complete = |place: &&Place<'_>| place.ended.is_some_and(|task| task.status.state == "complete");
    let done = places.values().filter(complete).count() as u64;
    let active = places.values().filter(|place| !complete(place) && place.current.is_some()).count();
    let Some(total) = total else {
        let heads = vec!["job progress: waiting for tasks".to_owned()];
        return Known { shown: Picture { heads, ..Picture::default() }, goal: None };
    };
    let width = total.to_string().len();
    let mut heads = vec![format!("job progress: {done:>width$} out of {total} complete")];
    if let Some(job) = counted {
        let most = total.saturating_sub(done).min(job.max_concurrent.unwrap_or(1));
        heads.push(format!("active tasks: {active} out of {most} tasks"));
    }
    let shown = Picture { heads, tasks: lines(places, Some(total)), back: false };
    Known { shown, goal: (done == total).then_some(Goal::JobComplete) }
}

/// A line for each place, numbered in order or named by its node.
fn lines(places: &Places<'_>, total: Option<u64>) -> Vec<TaskLine> {
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

fn runs(task: &Task) -> bool {
    task.status.state == "running"
}
