//! Tasks, as the API shows them.

use mesh_api::engine::task::{
    AttachedNetwork, AttachedNetworkSpec, ContainerStatus, NetworkAttachment, PortStatus, Task as WireTask,
    TaskStatus,
};
use mesh_api::engine::{Map, Version};
use mesh_core::object::{Network, Task, TaskEndpoint, TaskState};
use mesh_core::store::Store;

use super::generic;
use super::service::{show_port, show_task};
use super::time_text;

/// The task.
pub fn show(task: &Task, store: &Store) -> WireTask {
    let attachment = |endpoint: &TaskEndpoint| show_endpoint(endpoint, store);
    WireTask {
        id: task.id.to_string(),
        version: Version { index: task.meta.version },
        created_at: time_text(task.meta.created_at),
        updated_at: time_text(task.meta.updated_at),
        name: task.name(),
        labels: Map::new(),
        spec: show_task(&task.spec),
        service_id: task.service.to_string(),
        slot: slot(task),
        node_id: task.node.map(|node| node.to_string()).unwrap_or_default(),
        status: show_status(task),
        desired_state: desired_word(task).to_owned(),
        generic_resources: generic::show(&task.generic),
        assigned_generic_resources: generic::show(&task.generic),
        networks_attachments: task.endpoints.iter().filter_map(attachment).collect(),
        job_iteration: task.job_iteration.map(|index| Version { index }),
    }
}

/// Which of the replicas; Docker counts the runs of a replicated job from 0, and its command line relies on that.
fn slot(task: &Task) -> u64 {
    let before_first = u32::from(task.job_iteration.is_some());
    u64::from(task.slot.saturating_sub(before_first))
}

/// Where the managers want the task, as Docker says it: a job's task is meant to complete.
pub fn desired_word(task: &Task) -> &'static str {
    match task.desired_state {
        TaskState::Running if task.job_iteration.is_some() => TaskState::Complete.as_str(),
        desired => desired.as_str(),
    }
}

fn show_status(task: &Task) -> TaskStatus {
    let status = &task.status;
    TaskStatus {
        timestamp: time_text(status.timestamp),
        state: status.state.as_str().to_owned(),
        message: status.message.clone(),
        err: status.err.clone(),
        container_status: status.container.as_ref().map(|container| ContainerStatus {
            container_id: container.container_id.clone(),
            pid: u64::from(container.pid),
            exit_code: i64::from(container.exit_code.unwrap_or(0)),
            health: container.health.as_str().to_owned(),
        }),
        port_status: PortStatus { ports: task.host_ports.iter().copied().map(show_port).collect() },
    }
}

fn show_endpoint(endpoint: &TaskEndpoint, store: &Store) -> Option<NetworkAttachment> {
    let network: &Network = store.network(endpoint.network)?;
    Some(NetworkAttachment {
        network: AttachedNetwork {
            id: network.id.to_string(),
            version: Version { index: network.meta.version },
            spec: AttachedNetworkSpec {
                name: network.spec.name.to_string(),
                labels: network.spec.labels.clone(),
                ingress: network.spec.ingress,
                scope: "swarm".to_owned(),
            },
        },
        addresses: vec![format!("{}/{}", endpoint.address, network.subnet.prefix_len())],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples;

    #[test]
    fn runs_of_a_job_are_counted_from_nothing_and_named_from_one() {
        let store = Store::default();
        let replica = show(&samples::task(1, 3), &store);
        assert_eq!((replica.slot, replica.job_iteration), (3, None));
        let run = Task { job_iteration: Some(7), ..samples::task(1, 1) };
        let shown = show(&run, &store);
        assert_eq!((shown.slot, shown.job_iteration), (0, Some(Version { index: 7 })));
        assert!(shown.name.starts_with("web.1."), "{}", shown.name);
    }

    #[test]
    fn a_jobs_task_is_meant_to_complete() {
        let replica = samples::task(1, 3);
        let run = Task { job_iteration: Some(7), ..replica.clone() };
        let stopped = Task { desired_state: TaskState::Shutdown, ..run.clone() };
        let wanted = [replica, run, stopped].map(|task| show(&task, &Store::default()).desired_state);
        assert_eq!(wanted, ["running", "complete", "shutdown"]);
    }
}
