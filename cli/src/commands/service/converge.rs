//! Waiting until a service has the tasks it wants, and every node knows of them. The daemon tells of each change
//! (`GET /mesh/v1/watch`), so the command returns the moment it holds.

use std::collections::BTreeMap;

use mesh_api::engine::service::Service;
use mesh_api::engine::task::Task;
use mesh_api::mesh::{Object, ObjectKind, WatchEvent};

use super::settle::settle;
use crate::client::{Client, escape};
use crate::error::CliError;
use crate::follow::follow;
use crate::output::Shell;
use crate::output::progress::{Progress, TaskLine};

/// Follows the service until its tasks run. Ctrl-C ends the waiting, not the work.
pub async fn wait(
    id: &str,
    name: &str,
    quiet: bool,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let service = if name.is_empty() { id } else { name };
    let interrupted = tokio::select! {
        done = converged(id, quiet, client, shell) => return done,
        interrupted = tokio::signal::ctrl_c() => interrupted,
    };
    interrupted?;
    shell.note("Operation continuing in background.");
    shell.note(&format!("Use `meshctl service ps {service}` to check progress."));
    Ok(())
}

async fn converged(id: &str, quiet: bool, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut progress = Progress::new(quiet, shell.interactive);
    let mut seen = Seen::default();
    let path = format!("/mesh/v1/watch?kinds=service,task&service={}", escape(id));
    follow(client, &path, |event| {
        seen.learn(event);
        if seen.removed {
            return Err(CliError::NoSuch { kind: "service", name: id.to_owned() });
        }
        let Some((total, tasks)) = seen.state() else { return Ok(None) };
        let running = tasks.iter().filter(|task| task.is_running()).count();
        let done = total.is_some_and(|total| running as u64 == total) && running == tasks.len();
        progress.show(total, &tasks, shell);
        Ok(done.then_some(()))
    })
    .await?;
    let settled = settle(client, shell).await;
    progress.done(shell);
    settled
}

/// The service and its tasks, as told so far.
#[derive(Default)]
struct Seen {
    service: Option<Service>,
    tasks: BTreeMap<String, Task>,
    /// The beginning of the watch is told, so what is missing does not exist.
    whole: bool,
    removed: bool,
}

impl Seen {
    fn learn(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Put { object: Object::Service(service), .. } => self.service = Some(*service),
            WatchEvent::Put { object: Object::Task(task), .. } => {
                self.tasks.insert(task.id.clone(), *task);
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

    /// How many tasks are wanted (`None`: not known yet), and the newest wanted task of each slot.
    fn state(&self) -> Option<(Option<u64>, Vec<TaskLine>)> {
        let service = self.service.as_ref().filter(|_| self.whole)?;
        let mode = service.spec.mode.as_ref();
        let replicas =
            mode.and_then(|mode| mode.replicated).map(|replicated| replicated.replicas.unwrap_or(1));
        let mut slots: BTreeMap<(u64, &str), &Task> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| is_wanted(task)) {
            // A slot of a global service is its node.
            let slot = (task.slot, if replicas.is_some() { "" } else { task.node_id.as_str() });
            let newest = slots.entry(slot).or_insert(task);
            if newest.created_at < task.created_at {
                *newest = task;
            }
        }
        let lines: Vec<_> = slots.into_iter().map(|((slot, node), task)| line(slot, node, task)).collect();
        // A global service has as many as its orchestrator made, once it made any.
        let total = replicas.or_else(|| (!lines.is_empty()).then_some(lines.len() as u64));
        Some((total, lines))
    }
}

fn is_wanted(task: &Task) -> bool {
    !matches!(task.desired_state.as_str(), "shutdown" | "remove" | "orphaned" | "complete")
}

fn line(slot: u64, node: &str, task: &Task) -> TaskLine {
    TaskLine {
        slot,
        node: node.chars().take(12).collect(),
        state: task.status.state.clone(),
        error: task.status.err.clone(),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn put(kind: &str, value: &str) -> WatchEvent {
        let text = format!(r#"{{"Type":"Put","Index":1,"Object":{{"Kind":"{kind}","Value":{value}}}}}"#);
        decode(text.as_bytes()).unwrap()
    }

    fn task(id: &str, slot: u64, second: u64, state: &str, desired: &str) -> WatchEvent {
        put(
            "task",
            &format!(
                r#"{{"ID":"{id}","Slot":{slot},"NodeID":"n","CreatedAt":"2026-01-01T00:00:0{second}Z","DesiredState":
                "{desired}","Status":{{"State":"{state}"}}}}"#
            ),
        )
    }

    fn synced(present: &[&str]) -> WatchEvent {
        WatchEvent::Synced { index: 1, present: present.iter().map(|&id| id.to_owned()).collect() }
    }

    fn words(seen: &Seen) -> Option<(Option<u64>, Vec<String>)> {
        let word = |line: TaskLine| format!("{} {}", line.slot, line.state);
        seen.state().map(|(total, lines)| (total, lines.into_iter().map(word).collect()))
    }

    const WEB: &str = r#"{"ID":"s","Spec":{"Name":"web","Mode":{"Replicated":{"Replicas":2}}}}"#;

    #[test]
    fn nothing_is_said_before_the_beginning_is_told() {
        let mut seen = Seen::default();
        seen.learn(put("service", WEB));
        assert_eq!(words(&seen), None);
        seen.learn(synced(&["s"]));
        assert_eq!(words(&seen), Some((Some(2), vec![])));
    }

    #[test]
    fn the_newest_wanted_task_of_a_slot_counts() {
        let mut seen = Seen::default();
        for event in [
            put("service", WEB),
            task("a", 1, 1, "failed", "shutdown"),
            task("b", 1, 2, "running", "running"),
            task("c", 2, 1, "preparing", "running"),
            synced(&["s", "a", "b", "c"]),
        ] {
            seen.learn(event);
        }
        let told = |states: [&str; 2]| Some((Some(2), states.map(str::to_owned).to_vec()));
        assert_eq!(words(&seen), told(["1 running", "2 preparing"]));
        seen.learn(task("d", 2, 3, "running", "running"));
        assert_eq!(words(&seen), told(["1 running", "2 running"]));
    }

    #[test]
    fn a_global_service_has_as_many_as_were_made() {
        let mut seen = Seen::default();
        seen.learn(put("service", r#"{"ID":"s","Spec":{"Name":"web","Mode":{"Global":{}}}}"#));
        seen.learn(synced(&["s"]));
        assert_eq!(words(&seen), Some((None, vec![])));
        seen.learn(task("a", 0, 1, "running", "running"));
        assert_eq!(words(&seen), Some((Some(1), vec!["0 running".to_owned()])));
    }

    #[test]
    fn a_service_that_goes_away_is_noticed() {
        let mut seen = Seen::default();
        seen.learn(put("service", WEB));
        seen.learn(synced(&[]));
        assert!(seen.removed);
    }
}
