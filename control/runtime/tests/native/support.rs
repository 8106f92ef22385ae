//! A node for one test: run directory, data directory and cgroup of its own, in a mount namespace of its own,
//! so that nothing of it can reach the machine. Everything is removed at the end, also of a failed test.

use std::fs;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mesh_core::id::TaskId;
use mesh_runtime::native::{ExecStdio, NativeConfig, NativeRuntime};
use mesh_runtime::task::{RunState, RuntimeEvent, TaskLaunch};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing that is waited for here takes long; this only ends a test that would hang.
pub const LIMIT: Duration = Duration::from_secs(20);

static NODES: AtomicU32 = AtomicU32::new(0);

pub struct Node {
    pub dir: PathBuf,
    pub config: NativeConfig,
}

/// Runs a test on a node of its own.
pub fn on_node<F: Future<Output = ()>>(test: impl FnOnce(&'static Node) -> F) {
    let nowhere: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("these tests run as root");
    mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nowhere).expect("private mounts");
    let number = NODES.fetch_add(1, Ordering::Relaxed);
    let name = format!("mesh-runtime-test-{}-{number}", std::process::id());
    let dir = std::env::temp_dir().join(&name);
    let config = NativeConfig {
        run_dir: dir.join("run"),
        data_dir: dir.join("data"),
        cgroup_prefix: format!("{name}/node"),
        exe: PathBuf::from(env!("CARGO_BIN_EXE_runtime-shim")),
    };
    fs::create_dir_all(&config.run_dir).expect("run directory");
    mount(Some("run"), &config.run_dir, Some("tmpfs"), MsFlags::empty(), nowhere).expect("tmpfs");
    let cleanup = Cleanup { dir: dir.clone(), cgroup: name };
    let node: &'static Node = Box::leak(Box::new(Node { dir, config }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(test(node));
    drop(runtime);
    drop(cleanup);
}

struct Cleanup {
    dir: PathBuf,
    cgroup: String,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        for mount in cgroup_mounts() {
            let top = mount.join(&self.cgroup);
            if fs::write(top.join("cgroup.kill"), "1").is_ok() {
                wait_unpopulated(&top);
            }
        }
        // Shims reaped the tasks; the shims are children of this process.
        for mount in cgroup_mounts() {
            remove_cgroup(&mount.join(&self.cgroup));
        }
        let _run = nix::mount::umount2(&self.dir.join("run"), nix::mount::MntFlags::MNT_DETACH);
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    let _gone = fs::remove_dir(path);
}

/// Waits until no process is in a cgroup of the unified hierarchy; elsewhere there is nothing to wait for.
pub fn wait_unpopulated(group: &Path) {
    let Ok(mut events) = fs::File::open(group.join("cgroup.events")) else { return };
    loop {
        // Read from the polled file itself: that takes the mark of the last change away.
        let mut text = String::new();
        if events.rewind().and_then(|()| events.read_to_string(&mut text)).is_err() {
            return;
        }
        if text.contains("populated 0") {
            return;
        }
        let limit = PollTimeout::try_from(LIMIT).expect("timeout");
        let changed = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], limit);
        assert_ne!(changed, Ok(0), "every process of {} ends", group.display());
    }
}

/// Mount points of all cgroup hierarchies.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    cgroups.filter_map(|line| line.split(' ').nth(4).map(PathBuf::from)).collect()
}

impl Node {
    pub async fn open(&self) -> NativeRuntime {
        NativeRuntime::open(self.config.clone()).await.expect("open")
    }

    /// Waits until no process of this node is left.
    pub fn wait_nobody(&self) {
        for mount in cgroup_mounts() {
            wait_unpopulated(&mount.join(&self.config.cgroup_prefix));
        }
    }

    /// State files of a task.
    pub fn task_dir(&self, task: TaskId) -> PathBuf {
        self.config.run_dir.join("tasks").join(task.to_string())
    }

    /// Everything that mentions a task: files, cgroups, mounts.
    pub fn traces(&self, task: TaskId) -> Vec<String> {
        let name = task.to_string();
        let mut traces = Vec::new();
        let cgroups = cgroup_mounts().into_iter().map(|mount| mount.join(&self.config.cgroup_prefix));
        let places = ["run/tasks", "run/netns", "data/tasks"].map(|place| self.dir.join(place));
        for place in cgroups.chain(places) {
            let path = place.join(&name);
            if path.exists() {
                traces.push(path.display().to_string());
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        traces.extend(mounts.lines().filter(|line| line.contains(&name)).map(str::to_owned));
        traces
    }

    /// Waits for the line that whoami writes once it listens; the log's directory tells of each change.
    pub fn wait_serving(&self, task: TaskId) {
        let dir = self.task_dir(task);
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        changes.add_watch(&dir, AddWatchFlags::IN_MODIFY).expect("watch");
        let listens =
            || fs::read_to_string(dir.join("stdout.log")).is_ok_and(|log| log.contains("listening"));
        while !listens() {
            wait_readable(changes.as_fd());
            let _drained = changes.read_events();
        }
    }

    /// Does something in the task's network namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, task: TaskId, act: impl FnOnce() -> T + Send) -> T {
        let netns = self.config.run_dir.join("netns").join(task.to_string());
        let netns = fs::File::open(netns).expect("namespace");
        let enter_and_act = || {
            setns(&netns, CloneFlags::CLONE_NEWNET).expect("setns");
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter_and_act).join().expect("joined"))
    }

    /// A stream of the task that has begun.
    pub fn stream(&self, task: TaskId, path: &str) -> TcpStream {
        self.inside(task, || {
            let mut stream = TcpStream::connect("127.0.0.1:80").expect("connect");
            stream.set_read_timeout(Some(LIMIT)).expect("timeout");
            write!(stream, "GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").expect("request");
            let mut begun = [0; 12];
            stream.read_exact(&mut begun).expect("the beginning");
            assert_eq!(&begun, b"HTTP/1.1 200");
            stream
        })
    }

    /// Sends a request without a body to the task, its head without the empty line; the answer must be 200.
    pub fn ask(&self, task: TaskId, head: &str) {
        self.inside(task, || {
            let mut stream = TcpStream::connect("127.0.0.1:80").expect("connect");
            stream.set_read_timeout(Some(LIMIT)).expect("timeout");
            write!(stream, "{head}Connection: close\r\n\r\n").expect("request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        });
    }

    /// A listener in the task's network that lets clients in and never answers, until it is dropped.
    pub fn listen(&self, task: TaskId, port: u16) -> TcpListener {
        self.inside(task, || TcpListener::bind(("127.0.0.1", port)).expect("listen"))
    }

    /// The shim of a task.
    pub fn shim_pid(&self, task: TaskId) -> i32 {
        let text = fs::read_to_string(self.task_dir(task).join("shim.json")).expect("shim.json");
        let mark: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        i32::try_from(mark["pid"].as_i64().expect("pid")).expect("pid")
    }
}

pub fn launch(bits: u128) -> TaskLaunch {
    let id = TaskId::from_bits(bits);
    TaskLaunch {
        id,
        name: format!("web.1.{id}"),
        image: "mesh/whoami:1".to_owned(),
        command: Vec::new(),
        args: Vec::new(),
        env: vec![format!("MESH_TASK_ID={id}"), "MESH_SERVICE_NAME=web".to_owned()],
        labels: std::collections::BTreeMap::default(),
        hostname: None,
        dir: None,
        user: None,
        resources: mesh_core::spec::Resources::default(),
        stop_signal: nix::libc::SIGTERM,
        stop_grace_period: Duration::from_secs(10),
        read_only: false,
        health: mesh_core::spec::HealthConfig::default(),
        resolv_conf: vec!["nameserver 169.254.53.53".to_owned()],
        hosts: vec!["10.0.0.9\tdb".to_owned()],
    }
}

/// A task that is running and serving; gives its process id.
pub async fn running(node: &Node, runtime: &NativeRuntime, launch: &TaskLaunch) -> u32 {
    let prepared = runtime.prepare(launch).await.expect("prepare");
    assert!(prepared.netns.exists());
    let pid = runtime.start(&launch.id).await.expect("start");
    node.wait_serving(launch.id);
    pid
}

/// Runs a command in a task; gives status and output.
pub async fn exec(runtime: &NativeRuntime, task: TaskId, argv: &[&str]) -> (i32, String) {
    let argv: Vec<_> = argv.iter().map(|word| (*word).to_owned()).collect();
    let (read, write) = std::io::pipe().expect("pipe");
    let stdio = ExecStdio {
        stdin: Stdio::null(),
        stdout: write.try_clone().expect("clone").into(),
        stderr: write.into(),
    };
    let reader = tokio::task::spawn_blocking(move || std::io::read_to_string(read).expect("output"));
    let code = timeout(LIMIT, runtime.exec(&task, &argv, stdio)).await.expect("in time").expect("exec");
    (code, reader.await.expect("reader"))
}

pub async fn state(runtime: &NativeRuntime, task: TaskId) -> Option<RunState> {
    let found = runtime.adopt().await;
    found.into_iter().find(|found| found.launch.id == task).map(|found| found.state)
}

pub async fn next(events: &mut mpsc::Receiver<RuntimeEvent>) -> RuntimeEvent {
    timeout(LIMIT, events.recv()).await.expect("an event in time").expect("an event")
}

pub fn pidfd(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(i32::try_from(pid).expect("pid")).expect("pid");
    pidfd_open(pid, PidfdFlags::empty()).expect("pidfd")
}

/// Waits for the end of a process, child or not.
pub fn wait_end(process: &OwnedFd) {
    wait_readable(process.as_fd());
}

/// Waits until there is something to read, for the time limit at most.
pub fn wait_readable(fd: BorrowedFd<'_>) {
    let limit = PollTimeout::try_from(LIMIT).expect("timeout");
    let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], limit).expect("poll");
    assert_eq!(ready, 1, "it happens in time");
}

pub fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
}

/// A field of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("field").trim().to_owned()
}
