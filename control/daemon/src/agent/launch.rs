//! From a task of the store to what the runtime is asked to run.

use mesh_core::object::Task;
use mesh_dataplane::desired::DNS_SERVER;
use mesh_runtime::task::TaskLaunch;
use nix::sys::signal::Signal;

use crate::agent::facts::NodeFacts;
use crate::generic;

/// A task's spec asks for what cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The stop signal is none.
    #[error("invalid stop signal {text:?}: give a name such as SIGTERM, or a number from 1 to 64")]
    Signal {
        /// What was given.
        text: String,
    },
    /// The task gets files that nobody brings it.
    #[error("this runtime cannot deliver {what} yet: the service runs without --secret and --config")]
    Undelivered {
        /// Secrets or configs.
        what: &'static str,
    },
}

/// Fills in every default.
pub fn launch(task: &Task, node: &NodeFacts) -> Result<TaskLaunch, LaunchError> {
    let spec = &task.spec.container;
    for (what, none) in [("secrets", spec.secrets.is_empty()), ("configs", spec.configs.is_empty())] {
        if !none {
            return Err(LaunchError::Undelivered { what });
        }
    }
    Ok(TaskLaunch {
        id: task.id,
        name: task.name(),
        image: spec.image.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: environment(task, node),
        labels: spec.labels.clone(),
        hostname: spec.hostname.clone(),
        dir: spec.dir.clone(),
        user: spec.user.clone(),
        resources: task.spec.resources.clone(),
        stop_signal: stop_signal(spec.stop_signal.as_deref())?,
        stop_grace_period: spec.stop_grace(),
        read_only: spec.read_only,
        health: spec.health.clone(),
        resolv_conf: vec![format!("nameserver {DNS_SERVER}"), "options ndots:0".to_owned()],
        hosts: hosts(task),
    })
}

/// The task's own variables come last, so that no spec can pretend to be another task.
fn environment(task: &Task, node: &NodeFacts) -> Vec<String> {
    let mut env = task.spec.container.env.clone();
    env.extend(generic::environment(&task.generic));
    env.extend([
        format!("MESH_TASK_ID={}", task.id),
        format!("MESH_TASK_NAME={}", task.name()),
        format!("MESH_TASK_SLOT={}", task.slot),
        format!("MESH_SERVICE_NAME={}", task.service_name),
        format!("MESH_SERVICE_ID={}", task.service),
        format!("MESH_NODE_ID={}", node.id),
        format!("MESH_NODE_HOSTNAME={}", node.hostname),
    ]);
    env
}

/// The task's own name, so that it finds itself without asking.
fn hosts(task: &Task) -> Vec<String> {
    let Some(hostname) = &task.spec.container.hostname else { return Vec::new() };
    task.endpoints.iter().take(1).map(|endpoint| format!("{} {hostname}", endpoint.address)).collect()
}

/// A signal by name (with or without `SIG`) or number; real-time signals by number only.
fn stop_signal(text: Option<&str>) -> Result<i32, LaunchError> {
    let Some(text) = text else { return Ok(Signal::SIGTERM as i32) };
    if let Some(number) = text.parse::<i32>().ok().filter(|number| (1..=64).contains(number)) {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| LaunchError::Signal { text: text.chars().take(32).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples;

    #[test]
    fn the_task_knows_who_it_is_whatever_its_spec_says() {
        let mut task = samples::task(1, 1);
        std::sync::Arc::make_mut(&mut task.spec).container.env =
            vec!["A=1".into(), "MESH_TASK_SLOT=99".into()];
        let given = mesh_core::spec::GenericAmount::Named(["UUID1".into(), "UUID2".into()].into());
        task.generic.insert("gpu".into(), given);
        let launch = launch(&task, &samples::node()).unwrap();
        assert_eq!((&*launch.env[0], &*launch.env[2]), ("A=1", "DOCKER_RESOURCE_GPU=UUID1,UUID2"));
        assert_eq!(
            launch.env.iter().rfind(|line| line.starts_with("MESH_TASK_SLOT")).unwrap(),
            "MESH_TASK_SLOT=1"
        );
        assert!(launch.env.contains(&format!("MESH_NODE_HOSTNAME={}", samples::node().hostname)));
        assert_eq!(launch.resolv_conf, ["nameserver 169.254.53.53", "options ndots:0"]);
        assert_eq!((launch.stop_signal, launch.stop_grace_period), (15, mesh_core::spec::STOP_GRACE));
    }

    #[test]
    fn stop_signals_by_name_and_number() {
        for (text, number) in [("SIGINT", 2), ("int", 2), ("9", 9), ("SIGQUIT", 3), ("37", 37)] {
            assert_eq!(stop_signal(Some(text)), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "SIGNOPE", "-1"] {
            assert!(stop_signal(Some(text)).is_err(), "{text}");
        }
    }
}
