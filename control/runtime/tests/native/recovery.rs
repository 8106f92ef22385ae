//! Daemons, shims and machines that end in the middle of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mesh_runtime::error::RuntimeError;
use mesh_runtime::native::NativeRuntime;
use mesh_runtime::task::{RunState, RuntimeEvent};
use nix::sys::signal::Signal;

use crate::support::{exec, kill, launch, next, on_node, pidfd, running, state, wait_end};

#[test]
fn a_daemon_that_comes_back_adopts_what_runs() {
    on_node(async |node| {
        let launch = launch(4);
        let first = node.open().await;
        let pid = running(node, &first, &launch).await;
        drop(first);

        let second = node.open().await;
        let mut events = second.events();
        let found = second.adopt().await;
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].launch, &found[0].state), (&launch, &RunState::Running { pid }));
        assert!(found[0].prepared.netns.exists());
        assert_eq!(exec(&second, launch.id, &["whoami", "get", "-q", "http://127.0.0.1/"]).await.0, 0);
        assert!(matches!(second.start(&launch.id).await, Err(RuntimeError::WrongState { .. })));
        assert_eq!(second.stop(&launch.id).await.expect("stop"), Some(0));
        assert_eq!(next(&mut events).await, RuntimeEvent::Exited { task: launch.id, code: 0 });
        second.remove(&launch.id).await.expect("remove");
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
    });
}

#[test]
fn a_task_that_is_stopping_has_what_is_left_of_its_time() {
    on_node(async |node| {
        let mut launch = launch(46);
        launch.stop_grace_period = Duration::from_secs(3);
        let first = node.open().await;
        running(node, &first, &launch).await;
        let _stream = node.stream(launch.id, "/stream?seconds=60");
        let begun = Instant::now();
        let cut_short = tokio::time::timeout(Duration::from_secs(2), first.stop(&launch.id)).await;
        assert!(cut_short.is_err(), "it serves its stream on");
        drop(first);
        let second = node.open().await;
        assert_eq!(second.stop(&launch.id).await.expect("stop"), Some(137));
        let took = begun.elapsed();
        assert!((Duration::from_secs(3)..Duration::from_millis(4500)).contains(&took), "{took:?}");
    });
}

#[test]
fn an_end_that_nobody_watched_is_learned() {
    on_node(async |node| {
        let launch = launch(5);
        let first = node.open().await;
        let pid = running(node, &first, &launch).await;
        let shim = pidfd(node.shim_pid(launch.id).unsigned_abs());
        drop(first);
        // Its own way to end, told from a death by the daemon's hand.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).expect("kill");
        wait_end(&shim);
        let second = node.open().await;
        assert_eq!(state(&second, launch.id).await, Some(RunState::Exited { code: 0 }));
    });
}

#[test]
fn a_task_whose_shim_is_killed_is_killed_and_told() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut events = runtime.events();
        let launch = launch(6);
        let task = pidfd(running(node, &runtime, &launch).await);
        kill(node.shim_pid(launch.id).unsigned_abs());
        assert_eq!(next(&mut events).await, RuntimeEvent::Exited { task: launch.id, code: 137 });
        wait_end(&task);
        runtime.remove(&launch.id).await.expect("remove");
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
    });
}

#[test]
fn a_task_whose_shim_was_killed_while_nobody_watched_is_killed() {
    on_node(async |node| {
        let launch = launch(7);
        let first = node.open().await;
        let task = pidfd(running(node, &first, &launch).await);
        drop(first);
        let shim = node.shim_pid(launch.id).unsigned_abs();
        let ended = pidfd(shim);
        kill(shim);
        wait_end(&ended);
        let second = node.open().await;
        wait_end(&task);
        assert_eq!(state(&second, launch.id).await, Some(RunState::Exited { code: 137 }));
    });
}

#[test]
fn what_was_left_half_made_is_removed_at_open() {
    on_node(async |node| {
        let launch = launch(18);
        let first = node.open().await;
        let task = pidfd(running(node, &first, &launch).await);
        drop(first);
        // As if the daemon had been killed while it removed the task.
        fs::remove_file(node.task_dir(launch.id).join("launch.json")).expect("remove");
        let second = node.open().await;
        wait_end(&task);
        assert_eq!(second.adopt().await, []);
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
    });
}

#[test]
fn after_a_power_cut_everything_starts_again_from_disk() {
    on_node(async |node| {
        let launch = launch(19);
        let first = node.open().await;
        let pid = running(node, &first, &launch).await;
        let (task, shim) = (pidfd(pid), node.shim_pid(launch.id).unsigned_abs());
        drop(first);
        kill(shim);
        kill(pid);
        wait_end(&task);
        for entry in ["tasks", "netns"] {
            // /run is empty after a boot; mounts in it are gone.
            let path = node.config.run_dir.join(entry);
            for mounted in fs::read_dir(&path).expect("list").flatten() {
                let _no_mount = nix::mount::umount2(&mounted.path(), nix::mount::MntFlags::MNT_DETACH);
            }
            fs::remove_dir_all(path).expect("remove");
        }
        let second = node.open().await;
        assert_eq!(second.adopt().await, []);
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
        running(node, &second, &launch).await;
    });
}

#[test]
fn a_damaged_state_file_is_refused_by_its_path_and_kept() {
    on_node(async |node| {
        let launch = launch(20);
        let first = node.open().await;
        first.prepare(&launch).await.expect("prepare");
        drop(first);
        let path = node.task_dir(launch.id).join("launch.json");
        fs::write(&path, "{\"format\":1").expect("damage");
        let error = NativeRuntime::open(node.config.clone()).await.expect_err("damaged");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("kept"), "{\"format\":1");
    });
}

#[test]
fn a_second_shim_does_not_start_a_task_again() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = launch(22);
        running(node, &runtime, &launch).await;
        let mut shim = Command::new(&node.config.exe);
        let output = shim.args(["shim", "run"]).arg(node.task_dir(launch.id)).output().expect("run");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            r#"{"Failed":{"reason":"it was started before"}}"#
        );
        assert_eq!(exec(&runtime, launch.id, &["whoami", "get", "-q", "127.0.0.1"]).await.0, 0, "it runs on");
    });
}

#[test]
fn a_namespace_whose_mount_is_gone_is_mounted_again() {
    on_node(async |node| {
        let launch = launch(23);
        let first = node.open().await;
        running(node, &first, &launch).await;
        let prepared = first.prepare(&launch).await.expect("prepared");
        drop(first);
        let before = fs::metadata(&prepared.netns).expect("namespace").ino();
        nix::mount::umount2(&prepared.netns, nix::mount::MntFlags::MNT_DETACH).expect("unmount");
        let second = node.open().await;
        assert_eq!(second.adopt().await[0].prepared, prepared);
        assert_eq!(fs::metadata(&prepared.netns).expect("namespace").ino(), before, "the same namespace");
        second.remove(&launch.id).await.expect("remove");
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
    });
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_leaves_what_the_next_one_can_use() {
    on_node(async |node| {
        let mut launches: Vec<_> = (30..34).map(launch).collect();
        for launch in &mut launches {
            launch.stop_grace_period = Duration::from_millis(3);
        }
        let argument = serde_json::to_string(&launches).expect("JSON");
        for round in 0..40u64 {
            let mut daemon = Command::new(&node.config.exe);
            let daemon = daemon.arg("churn").args([&node.dir]).args([&node.config.cgroup_prefix, &argument]);
            let mut daemon = daemon.stderr(Stdio::piped()).spawn().expect("spawn");
            // Not a wait for anything: the moment of death, another one in each round.
            std::thread::sleep(Duration::from_micros(10_000 + round * 1_370));
            daemon.kill().expect("kill");
            let output = daemon.wait_with_output().expect("wait");
            assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
        }
        let last = node.open().await;
        for found in last.adopt().await {
            let ended = last.stop(&found.launch.id).await.expect("stop");
            assert_eq!(ended.is_none(), found.state == RunState::Prepared, "{found:?} ended with {ended:?}");
            last.remove(&found.launch.id).await.expect("remove");
        }
        for launch in &launches {
            assert_eq!(node.traces(launch.id), Vec::<String>::new());
        }
        // A shim whose daemon was killed right after it made it finds nothing to do and goes.
        node.wait_nobody();
    });
}
