//! A lab for one test: brought up by `meshctl`, looked at through the API, taken down when the test ends,
//! also when it fails.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_dataplane::netns::Netns;
use mesh_lab::layout::{LabName, Layout, Member, NodeName};
use mesh_lab::space::Space;
use serde_json::Value;

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

/// The node with this number.
pub fn node_name(number: u8) -> NodeName {
    NodeName::numbered(number).unwrap()
}

impl Lab {
    /// Brings up a lab of `nodes` nodes. Its name holds the process id, so that runs do not meet.
    pub fn up(name: &str, nodes: u8) -> Self {
        let turn = take_turn();
        let name: LabName = format!("{name}-{}", std::process::id()).parse().unwrap();
        let lab = Self { layout: Layout { name }, _turn: turn };
        lab.lab(&["up", "--nodes", &nodes.to_string()]).ok();
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

    /// `GET path` of a node's API, as JSON.
    pub fn api(&self, node: u8, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.socket(node)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: mesh\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "GET {path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
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

    /// The running tasks of a service: (task id, number of its node, task as the API gives it).
    pub fn running(&self, service: &str) -> Vec<RunningTask> {
        let filter = format!("/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D");
        let nodes = self.api(1, "/nodes");
        let number = |id: &str| {
            let node = nodes.as_array().unwrap().iter().find(|node| node["ID"] == id).unwrap();
            node["Description"]["Hostname"].as_str().unwrap()[1..].parse().unwrap()
        };
        let tasks = self.api(1, &filter);
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
        let commands = [["node", "ls"], ["service", "ls"]].map(|words| {
            let ran = self.ctl(&words);
            format!("--- {}\n{}{}", words.join(" "), ran.stdout, ran.stderr)
        });
        let logs = (1..=3).map(|number| {
            let log = std::fs::read_to_string(self.layout.log(node_name(number))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- log of n{number}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        });
        commands.into_iter().chain(logs).collect()
    }
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
