//! A lab for one test: brought up by `meshctl`, looked at through the API, taken down when the test ends,
//! also when it fails.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_dataplane::netns::Netns;
use mesh_lab::layout::{LabName, Layout, Member, NodeName};
use mesh_lab::space::Space;
use mesh_lab::state::{LabState, NodeState};
use serde_json::Value;

use crate::call::{Said, call};

/// Labs run one after the other: two cores give one lab the time its heartbeats expect.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits for other labs of this process to be down.
pub fn take_turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long anything that should happen may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A lab that is up.
pub struct Lab {
    layout: Layout,
    _turn: MutexGuard<'static, ()>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

/// The folder of `meshd` and `meshctl`: `MESH_BIN`, or where this test was built.
pub fn bin() -> PathBuf {
    std::env::var_os("MESH_BIN").map_or_else(
        || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned(),
        PathBuf::from,
    )
}

pub fn meshctl(arguments: &[&str]) -> Ran {
    let program = bin().join("meshctl");
    assert!(program.is_file(), "{} is missing: `make test` builds it", program.display());
    Command::new(program).args(arguments).output().unwrap().into()
}

/// Runs meshctl against a socket, with `input` on its standard input.
pub fn meshctl_told(socket: &Path, arguments: &[&str], input: &str) -> Ran {
    let host = format!("unix://{}", socket.display());
    let mut child = Command::new(bin().join("meshctl"))
        .args(["-H", &host])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

/// The node with this number.
pub fn node_name(number: u8) -> NodeName {
    NodeName::numbered(number).unwrap()
}

impl Lab {
    /// Brings up a lab of `nodes` nodes, the first of them the manager.
    pub fn up(name: &str, nodes: u8) -> Self {
        Self::with_managers(name, nodes, 1)
    }

    /// Brings up a lab of `nodes` nodes, the first `managers` of them managers. Its name holds the process id,
    /// so that runs do not meet.
    pub fn with_managers(name: &str, nodes: u8, managers: u8) -> Self {
        assert!(name.len() <= 8, "{name:?} and a process id are no name of a lab");
        let turn = take_turn();
        let name: LabName = format!("{name}-{}", std::process::id()).parse().unwrap();
        let lab = Self { layout: Layout { name }, _turn: turn };
        lab.lab(&["up", "--nodes", &nodes.to_string(), "--managers", &managers.to_string()]).ok();
        lab
    }

    pub fn name(&self) -> String {
        self.layout.name.to_string()
    }

    pub fn lab(&self, arguments: &[&str]) -> Ran {
        let name = self.name();
        meshctl(&[&["lab", "--name", &name], arguments].concat())
    }

    pub fn fault(&self, arguments: &[&str]) {
        self.lab(&[&["fault"], arguments].concat()).ok();
    }

    /// Runs meshctl against n1.
    pub fn ctl(&self, arguments: &[&str]) -> Ran {
        self.ctl_on(1, arguments)
    }

    pub fn ctl_on(&self, node: u8, arguments: &[&str]) -> Ran {
        let host = format!("unix://{}", self.socket(node).display());
        meshctl(&[&["-H", &host], arguments].concat())
    }

    pub fn socket(&self, node: u8) -> PathBuf {
        self.layout.socket(node_name(node))
    }

    pub fn sockets(&self, nodes: impl IntoIterator<Item = u8>) -> Vec<PathBuf> {
        nodes.into_iter().map(|node| self.socket(node)).collect()
    }

    /// A node's data directory.
    pub fn disk(&self, node: u8) -> PathBuf {
        self.layout.disk(node_name(node))
    }

    /// What a node's meshd said.
    pub fn log(&self, node: u8) -> Vec<u8> {
        std::fs::read(self.layout.log(node_name(node))).unwrap()
    }

    /// `GET path` of a node's API, as JSON.
    #[track_caller]
    pub fn api(&self, node: u8, path: &str) -> Value {
        match call(&self.socket(node), "GET", path, None, PATIENCE) {
            Said::Answer { status: 200, body } => body,
            other => panic!("GET {path} of n{node}: {other:?}"),
        }
    }

    /// The nodes whose meshd runs, in order.
    pub fn living(&self) -> Vec<u8> {
        let state = LabState::load(&self.layout).unwrap();
        let running = state.nodes.iter().filter(|record| record.state() == NodeState::Running);
        running.map(|record| record.name.number()).collect()
    }

    /// `GET path` of whichever node answers it first: a manager whose meshd runs and that has a quorum.
    #[track_caller]
    pub fn cluster(&self, path: &str) -> Value {
        self.wait(&format!("a manager that answers GET {path}"), || {
            self.living().into_iter().find_map(|node| self.read(node, path))
        })
    }

    /// `GET path` of a node that may not be able to answer.
    pub fn read(&self, node: u8, path: &str) -> Option<Value> {
        match call(&self.socket(node), "GET", path, None, Duration::from_secs(1)) {
            Said::Answer { status: 200, body } => Some(body),
            _ => None,
        }
    }

    /// Runs `work` inside a member's namespaces.
    pub fn inside<T: Send>(&self, member: Member, work: impl FnOnce() -> T + Send) -> T {
        Space::at(self.layout.space(member)).inside(work).unwrap()
    }

    pub fn client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.inside(Member::Client, work)
    }

    /// Runs `work` in the network namespace of a task that runs on `node`.
    pub fn inside_task<T: Send>(&self, node: u8, task: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/mesh/netns").join(task);
        self.inside(Member::Node(node_name(node)), || Netns::open(&path).unwrap().run(work).unwrap())
    }

    /// The running tasks of a service, as any manager tells them.
    #[track_caller]
    pub fn running(&self, service: &str) -> Vec<RunningTask> {
        let nodes = self.cluster("/nodes");
        let number = |id: &str| {
            let node = nodes.as_array().unwrap().iter().find(|node| node["ID"] == id).unwrap();
            number(node)
        };
        let tasks = self.cluster(&format!("/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D"));
        let running =
            |task: &&Value| task["Status"]["State"] == "running" && task["DesiredState"] == "running";
        tasks
            .as_array()
            .unwrap()
            .iter()
            .filter(running)
            .map(|task| RunningTask {
                id: task["ID"].as_str().unwrap().to_owned(),
                node: number(task["NodeID"].as_str().unwrap()),
                pid: task["Status"]["ContainerStatus"]["PID"].as_i64().unwrap(),
                value: task.clone(),
            })
            .collect()
    }

    /// Waits until `condition` gives a value.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}\n{}", self.report());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a person would look at when a test fails.
    pub fn report(&self) -> String {
        let Ok(state) = LabState::load(&self.layout) else { return "the lab is not up".to_owned() };
        let living = self.living().first().copied().unwrap_or(1);
        let commands = [["node", "ls"], ["service", "ls"]].map(|words| {
            let ran = self.ctl_on(living, &words);
            format!("--- {}\n{}{}", words.join(" "), ran.stdout, ran.stderr)
        });
        let logs = state.nodes.iter().map(|record| {
            let log = std::fs::read_to_string(self.layout.log(record.name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            format!("--- log of {} ({})\n{last}\n", record.name, record.state())
        });
        commands.into_iter().chain(logs).collect()
    }
}

/// The number of a node that the API shows: a lab's nodes are named after it.
#[track_caller]
pub fn number(node: &Value) -> u8 {
    node["Description"]["Hostname"].as_str().unwrap()[1..].parse().unwrap()
}

/// How often a property is tried: as often as the issue that names it says in `make test-long`, fewer times in
/// `make test`.
pub fn count(short: usize, long: usize) -> usize {
    if std::env::var_os("MESH_LONG").is_some_and(|value| !value.is_empty()) { long } else { short }
}

/// A task that runs.
#[derive(Debug, Clone)]
pub struct RunningTask {
    pub id: String,
    pub node: u8,
    pub pid: i64,
    pub value: Value,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        let down = self.lab(&["down"]);
        assert!(down.code == 0 || std::thread::panicking(), "lab down: {down:?}");
    }
}
