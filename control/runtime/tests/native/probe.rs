//! Probes: what is healthy, what is not, and that nothing of one is left.

use std::time::Duration;

use mesh_core::port::Port;
use mesh_core::spec::{HealthConfig, HealthTest};
use mesh_runtime::error::RuntimeError;
use mesh_runtime::health::{Probe, ProbeOutcome};
use mesh_runtime::native::NativeRuntime;
use mesh_runtime::task::{RunState, TaskLaunch};

use crate::support::{LIMIT, Node, cgroup_mounts, launch, on_node, running, state, wait_unpopulated};

fn command(words: &[&str]) -> Probe {
    Probe::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

fn http(port: u16, path: &str) -> Probe {
    Probe::Http { port: Port::new(port).expect("port"), path: path.to_owned() }
}

/// A task that is probed by commands, so that it has the cgroup for them.
fn probed(bits: u128) -> TaskLaunch {
    let test = HealthTest::Exec(vec!["/bin/whoami".to_owned()]);
    TaskLaunch { health: HealthConfig { test, ..HealthConfig::default() }, ..launch(bits) }
}

async fn probe(runtime: &NativeRuntime, launch: &TaskLaunch, probe: &Probe) -> ProbeOutcome {
    runtime.probe(&launch.id, probe, LIMIT).await.expect("probe")
}

/// Waits until no process of a probe is left.
fn wait_nothing_left(node: &Node, launch: &TaskLaunch) {
    let id = launch.id.to_string();
    let places = cgroup_mounts().into_iter().map(|mount| mount.join(&node.config.cgroup_prefix).join(&id));
    let groups: Vec<_> = places.map(|place| place.join("probe")).filter(|group| group.exists()).collect();
    assert_eq!(groups.len(), 1, "the cgroup for probes is in the unified hierarchy");
    wait_unpopulated(&groups[0]);
}

#[test]
fn a_request_is_healthy_by_its_status() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = launch(40);
        running(node, &runtime, &launch).await;
        for (status, healthy) in [(200, true), (302, true), (399, true), (400, false), (503, false)] {
            let told = format!("POST /healthz?status={status} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n");
            node.ask(launch.id, &told);
            let outcome = probe(&runtime, &launch, &http(80, "/healthz")).await;
            assert_eq!(outcome.healthy, healthy, "{outcome:?}");
            assert!(outcome.output.starts_with(&format!("GET /healthz on port 80: {status}")), "{outcome:?}");
        }
        let refused = probe(&runtime, &launch, &http(81, "/")).await;
        assert!(!refused.healthy && refused.output.contains("refused"), "{refused:?}");
        let _silent = node.listen(launch.id, 82);
        let limit = Duration::from_millis(20);
        let slow = runtime.probe(&launch.id, &http(82, "/"), limit).await.expect("probe");
        assert!(!slow.healthy && slow.output.starts_with("Health check exceeded timeout"), "{slow:?}");
    });
}

#[test]
fn a_command_is_healthy_by_its_status() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = probed(41);
        running(node, &runtime, &launch).await;
        let get = |path: &'static str| command(&["/bin/whoami", "get", path]);
        let healthy = probe(&runtime, &launch, &get("http://127.0.0.1/healthz")).await;
        assert!(healthy.healthy && healthy.output.contains("requests=1 ok=1"), "{healthy:?}");
        let failing = probe(&runtime, &launch, &get("http://127.0.0.1:81/")).await;
        assert!(!failing.healthy && failing.output.contains("refused"), "{failing:?}");
        let missing = probe(&runtime, &launch, &command(&["/bin/none"])).await;
        assert!(!missing.healthy && missing.output.contains("no such file"), "{missing:?}");
        let shell = probe(&runtime, &launch, &Probe::Shell("true".to_owned())).await;
        assert!(!shell.healthy && shell.output.starts_with("the image has no /bin/sh"), "{shell:?}");
    });
}

#[test]
fn the_output_of_a_command_is_kept_within_a_bound() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = probed(42);
        running(node, &runtime, &launch).await;
        let talker = command(&["/bin/whoami", "get", "-n", "300", "http://127.0.0.1/"]);
        let outcome = probe(&runtime, &launch, &talker).await;
        assert!(outcome.healthy, "{outcome:?}");
        assert!((2000..=4096).contains(&outcome.output.len()), "{}", outcome.output.len());
    });
}

#[test]
fn nothing_of_a_command_outlives_its_end_or_its_time() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = probed(43);
        let pid = running(node, &runtime, &launch).await;
        let left = probe(&runtime, &launch, &command(&["/proc/self/exe", "leave"])).await;
        assert!(left.healthy, "{left:?}");
        wait_nothing_left(node, &launch);
        let endless = command(&["/proc/self/exe", "parent"]);
        let late = runtime.probe(&launch.id, &endless, Duration::from_millis(500)).await.expect("probe");
        assert_eq!(late.output, "Health check exceeded timeout (500ms)");
        assert!(!late.healthy);
        wait_nothing_left(node, &launch);
        assert_eq!(state(&runtime, launch.id).await, Some(RunState::Running { pid }), "the task runs on");
        runtime.remove(&launch.id).await.expect("remove");
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
    });
}

#[test]
fn only_a_running_task_is_probed_and_knows_how_after_a_restart() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = launch(44);
        let prepared = runtime.prepare(&launch).await.expect("prepare");
        let check = prepared.health.expect("the image brings a probe");
        assert_eq!(check.probe, http(80, "/healthz"));
        let early = runtime.probe(&launch.id, &check.probe, LIMIT).await;
        assert!(matches!(early, Err(RuntimeError::WrongState { state: "prepared", .. })), "{early:?}");
        running(node, &runtime, &launch).await;
        drop(runtime);
        let runtime = node.open().await;
        let found = runtime.adopt().await;
        assert_eq!(found[0].prepared.health.as_ref(), Some(&check));
        assert!(probe(&runtime, &launch, &check.probe).await.healthy);
        runtime.stop(&launch.id).await.expect("stop");
        let late = runtime.probe(&launch.id, &check.probe, LIMIT).await;
        assert!(matches!(late, Err(RuntimeError::WrongState { state: "exited", .. })), "{late:?}");
    });
}
