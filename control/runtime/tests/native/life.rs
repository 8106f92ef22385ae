//! From preparation to removal.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use mesh_core::spec::{ResourceAmount, Resources};
use mesh_runtime::error::RuntimeError;
use mesh_runtime::native::ExecStdio;
use mesh_runtime::task::{RunState, RuntimeEvent};

use crate::support::{
    LIMIT, cgroup_mounts, exec, launch, next, on_node, running, state, status, wait_readable,
};

#[test]
fn a_task_is_prepared_started_stopped_and_removed_without_a_trace() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut events = runtime.events();
        let launch = launch(1);
        let prepared = runtime.prepare(&launch).await.expect("prepare");
        assert_eq!(prepared.netns, node.config.run_dir.join("netns").join(launch.id.to_string()));
        assert_eq!(prepared.container_id.len(), 64);
        assert_eq!(runtime.prepare(&launch).await.expect("again"), prepared);
        assert_eq!(state(&runtime, launch.id).await, Some(RunState::Prepared));

        let pid = running(node, &runtime, &launch).await;
        assert_eq!(state(&runtime, launch.id).await, Some(RunState::Running { pid }));
        let (code, text) = exec(&runtime, launch.id, &["/bin/whoami", "get", "http://127.0.0.1/"]).await;
        assert_eq!(code, 0, "{text}");
        let hostname = &prepared.container_id[..12];
        for expected in
            ["version=1", &format!("task={}", launch.id), "service=web", &format!("hostname={hostname}")]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }

        assert_eq!(runtime.stop(&launch.id).await.expect("stop"), Some(0));
        assert_eq!(next(&mut events).await, RuntimeEvent::Exited { task: launch.id, code: 0 });
        assert_eq!(runtime.stop(&launch.id).await.expect("again"), Some(0));
        let log = fs::read_to_string(node.task_dir(launch.id).join("stdout.log")).expect("log");
        assert!(log.starts_with("whoami: listening on tcp 0.0.0.0:80"), "{log}");

        assert_ne!(node.traces(launch.id), Vec::<String>::new());
        runtime.remove(&launch.id).await.expect("remove");
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
        runtime.remove(&launch.id).await.expect("nothing to remove");
    });
}

#[test]
fn inside_a_task_is_only_what_it_may_see_and_do() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut launch = launch(2);
        launch.hostname = Some("web-host".to_owned());
        let pid = running(node, &runtime, &launch).await;

        let inside = |path: &str| fs::read_to_string(format!("/proc/{pid}/root{path}")).expect("file inside");
        assert_eq!(inside("/etc/hostname"), "web-host\n");
        assert_eq!(inside("/etc/resolv.conf"), "nameserver 169.254.53.53\n");
        assert!(inside("/etc/hosts").ends_with("10.0.0.9\tdb\n"));

        // Docker's less mknod, as far as this machine has them.
        let allowed: u64 = 0xa004_25fb;
        for set in ["CapBnd", "CapPrm", "CapEff"] {
            let set = u64::from_str_radix(&status(pid, set), 16).expect("capabilities");
            assert_eq!(set & !allowed, 0);
            assert_ne!(set, 0, "root keeps the default set");
        }
        assert_eq!(status(pid, "CapInh"), "0000000000000000");
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        assert_eq!(status(pid, "Seccomp"), "2");

        for kind in ["mnt", "pid", "uts", "ipc", "net", "cgroup"] {
            let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/{kind}")).expect("namespace");
            assert_ne!(namespace(&pid.to_string()), namespace("thread-self"), "{kind}");
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
        let places: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        assert!(places.contains(&"/sys/firmware") && places.contains(&"/proc/sys"), "{places:?}");
        let own = ["/proc", "/sys", "/dev", "/etc"];
        let foreign =
            places.iter().filter(|place| **place != "/" && !own.iter().any(|own| place.starts_with(own)));
        assert_eq!(foreign.count(), 0, "nothing of the host is mounted inside: {places:?}");
        let mut devices: Vec<_> = fs::read_dir(format!("/proc/{pid}/root/dev"))
            .expect("dev")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        devices.sort();
        let expected = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
        assert_eq!(devices.join(" "), expected);
    });
}

#[test]
fn a_user_of_the_image_runs_it_without_capabilities_on_a_read_only_root() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut launch = launch(3);
        launch.user = Some("nobody".to_owned());
        launch.read_only = true;
        // Port 80: the namespace's ports are the task's own, whoever runs it.
        let pid = running(node, &runtime, &launch).await;
        assert!(status(pid, "Uid").starts_with("65534\t65534\t65534\t65534"));
        assert!(status(pid, "Gid").starts_with("65534\t65534\t65534\t65534"));
        assert_eq!(u64::from_str_radix(&status(pid, "CapEff"), 16), Ok(0));
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("root");
        assert!(root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")), "{root}");
    });
}

#[test]
fn stopping_lets_a_task_finish_what_it_serves() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = launch(8);
        running(node, &runtime, &launch).await;
        let mut stream = node.stream(launch.id, "/stream?seconds=1&interval=10ms");
        let rest = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut stream));
        assert_eq!(runtime.stop(&launch.id).await.expect("stop"), Some(0));
        let rest = rest.await.expect("joined").expect("a proper end");
        assert!(rest.contains("n=50\n") && rest.ends_with("0\r\n\r\n"), "{rest}");
    });
}

#[test]
fn a_task_that_does_not_stop_is_killed_after_its_grace_period() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut launch = launch(9);
        launch.stop_grace_period = Duration::from_millis(100);
        running(node, &runtime, &launch).await;
        let _stream = node.stream(launch.id, "/stream?seconds=60");
        let argv = ["whoami", "get", "-q", "--timeout", "60s", "http://127.0.0.1/stream"];
        let (command, stopped) = tokio::join!(exec(&runtime, launch.id, &argv), runtime.stop(&launch.id));
        assert_eq!(stopped.expect("stop"), Some(137));
        assert_ne!(command.0, 0, "commands in the task end with it");
    });
}

#[test]
fn a_command_ends_with_the_one_who_asked_for_it() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = launch(21);
        running(node, &runtime, &launch).await;
        let listener = node.inside(launch.id, || std::net::TcpListener::bind("127.0.0.1:99").expect("bind"));
        let stdio = ExecStdio { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
        let argv = ["whoami", "get", "--timeout", "60s", "http://127.0.0.1:99/"].map(str::to_owned);
        let accepted = tokio::task::spawn_blocking(move || {
            wait_readable(listener.as_fd());
            listener.accept().expect("accept").0
        });
        let mut stream = tokio::select! {
            code = runtime.exec(&launch.id, &argv, stdio) => panic!("the command waits for an answer: {code:?}"),
            accepted = accepted => accepted.expect("joined"),
        };
        // The future is dropped by now; the connection ends with the command.
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        let mut request = Vec::new();
        let _reset_or_end = stream.read_to_end(&mut request);
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0)), "the other side is gone");
    });
}

#[test]
fn exit_statuses_are_told_as_a_shell_has_them() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut events = runtime.events();
        for (bits, args, code) in [
            (10, vec!["--fail-start"], 1),
            (11, vec!["--exit-after", "1ms", "--exit-code", "42"], 42),
            (12, vec!["--no-such-flag"], 64),
        ] {
            let mut launch = launch(bits);
            launch.args = args.iter().map(|arg| (*arg).to_owned()).collect();
            runtime.prepare(&launch).await.expect("prepare");
            runtime.start(&launch.id).await.expect("start");
            assert_eq!(next(&mut events).await, RuntimeEvent::Exited { task: launch.id, code });
        }
    });
}

#[test]
fn commands_in_a_task_give_their_status_and_output() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launch = launch(13);
        running(node, &runtime, &launch).await;
        let (code, text) =
            exec(&runtime, launch.id, &["whoami", "ping", "127.0.0.1", "--size", "1422", "--df"]).await;
        assert_eq!((code, text.lines().last()), (0, Some("sent=1 received=1")), "{text}");
        let (code, text) =
            exec(&runtime, launch.id, &["whoami", "get", "-q", "--udp", "-n", "3", "localhost"]).await;
        assert_eq!((code, text.trim()), (0, "requests=3 ok=3 failed=0 tasks=1"));
        let (code, text) = exec(&runtime, launch.id, &["whoami", "get", "http://127.0.0.1:81/"]).await;
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("1 failed") && text.ends_with("requests=1 ok=0 failed=1 tasks=0\n"), "{text}");
        let (code, text) = exec(&runtime, launch.id, &["sh", "-c", "true"]).await;
        assert_eq!(
            (code, text.trim()),
            (127, "exec failed: exec: \"sh\": executable file not found in $PATH")
        );
    });
}

#[test]
fn what_cannot_run_is_refused_or_fails_with_the_reason_and_leaves_nothing() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut unknown = launch(14);
        unknown.image = "mesh/whoami:latest".to_owned();
        let error = runtime.prepare(&unknown).await.expect_err("unknown image");
        assert!(error.is_rejection() && error.to_string().starts_with("No such image: mesh/whoami:latest"));
        let mut hostname = launch(14);
        hostname.hostname = Some("a b".to_owned());
        assert!(runtime.prepare(&hostname).await.expect_err("host name").is_rejection());
        assert_eq!(node.traces(unknown.id), Vec::<String>::new());
        assert!(matches!(runtime.start(&unknown.id).await, Err(RuntimeError::NoSuchTask { .. })));

        let mut missing = launch(15);
        missing.command = vec!["/bin/missing".to_owned()];
        runtime.prepare(&missing).await.expect("prepare");
        for _ in 0..2 {
            let error = runtime.start(&missing.id).await.expect_err("no such program");
            let text = "starting container failed: exec: \"/bin/missing\": no such file or directory";
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(state(&runtime, missing.id).await, Some(RunState::Prepared));
        assert_eq!(runtime.stop(&missing.id).await.expect("nothing to stop"), None);
        let mut nobody = launch(16);
        nobody.user = Some("who".to_owned());
        runtime.prepare(&nobody).await.expect("prepare");
        let error = runtime.start(&nobody.id).await.expect_err("no such user");
        assert!(error.to_string().ends_with("unable to find user who: no matching entries in passwd file"));
        for task in [missing.id, nobody.id] {
            runtime.remove(&task).await.expect("remove");
            assert_eq!(node.traces(task), Vec::<String>::new());
        }
    });
}

#[test]
fn limits_are_set_and_their_cgroups_removed() {
    on_node(async |node| {
        let runtime = node.open().await;
        let mut launch = launch(17);
        let limits = ResourceAmount { nano_cpus: 500_000_000, memory_bytes: 256 << 20 };
        launch.resources = Resources { limits, pids_limit: 77, ..Resources::default() };
        let pid = running(node, &runtime, &launch).await;
        let group =
            |mount: std::path::PathBuf| mount.join(&node.config.cgroup_prefix).join(launch.id.to_string());
        let read = |file: &str| {
            let files = cgroup_mounts().into_iter().map(|mount| group(mount).join(file));
            files.into_iter().find_map(|file| fs::read_to_string(file).ok())
        };
        assert_eq!(read("pids.max").as_deref(), Some("77\n"));
        let memory = read("memory.max").or_else(|| read("memory.limit_in_bytes"));
        assert_eq!(memory.as_deref(), Some("268435456\n"));
        let cpu = read("cpu.cfs_quota_us").or_else(|| read("cpu.max"));
        assert!(cpu.is_some_and(|quota| quota.starts_with("50000")));
        assert!(read("cgroup.procs").is_some_and(|pids| pids.lines().any(|line| line == pid.to_string())));
        runtime.remove(&launch.id).await.expect("remove while it runs");
        assert_eq!(node.traces(launch.id), Vec::<String>::new());
        let prefixes = cgroup_mounts().into_iter().map(|mount| mount.join(&node.config.cgroup_prefix));
        assert_eq!(
            prefixes.filter(|prefix| prefix.exists()).count(),
            0,
            "the last task takes the prefix along"
        );
    });
}

#[test]
fn many_tasks_start_at_once() {
    on_node(async |node| {
        let runtime = node.open().await;
        let launches: Vec<_> = (100..120).map(launch).collect();
        let all = launches.iter().map(|launch| {
            let (runtime, launch) = (runtime.clone(), launch.clone());
            tokio::spawn(async move {
                runtime.prepare(&launch).await?;
                runtime.start(&launch.id).await
            })
        });
        let begun = std::time::Instant::now();
        for started in all.collect::<Vec<_>>() {
            started.await.expect("joined").expect("started");
        }
        println!("{} tasks started in {:?}", launches.len(), begun.elapsed());
        assert_eq!(runtime.adopt().await.len(), launches.len());
        for launch in &launches {
            runtime.remove(&launch.id).await.expect("remove");
            assert_eq!(node.traces(launch.id), Vec::<String>::new());
        }
    });
}
