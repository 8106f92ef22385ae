//! The meshd of each node: started inside the node's namespaces and control group, ended by its pid.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup;
use crate::error::LabError;
use crate::layout::{Layout, Member, NodeName, UPLINK};
use crate::space::{Space, open_log};
use crate::state::{NodeRecord, Setting};

/// How long a meshd may take until its socket answers.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// What /proc tells of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// State letter, as `proc_pid_stat`(5) lists them.
    pub state: char,
    /// Threads that have not ended. The first one may have: it is then a zombie, and the others hold on to
    /// files and locks.
    pub threads: u32,
    /// Start time in clock ticks since boot.
    pub started: u64,
}

impl ProcessStat {
    /// Whether the process has ended, with everything that it held.
    pub fn is_over(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

/// What /proc tells of process `pid`; `None` when there is none.
pub fn process_stat(pid: i32) -> Option<ProcessStat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<ProcessStat> {
    // The command's name is in parentheses and may contain anything; the fields follow the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(ProcessStat {
        state: fields.first()?.chars().next()?,
        threads: fields.get(17)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Finds the daemon's program: `MESH_MESHD`, beside this program, or in PATH.
pub fn program() -> Result<PathBuf, LabError> {
    if let Some(path) = std::env::var_os("MESH_MESHD") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"))?;
    let beside = own.with_file_name("meshd");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside.clone())
        .chain(std::env::split_paths(&path).map(|dir| dir.join("meshd")))
        .find(|candidate| candidate.is_file())
        .ok_or(LabError::NoDaemon { looked: beside })
}

/// Starts the meshd of `node` and returns its record once its socket answers.
pub fn start(layout: &Layout, record: &mut NodeRecord, setting: &Setting) -> Result<(), LabError> {
    let node = record.name;
    let Setting { program, runtime, .. } = setting;
    let log = open_log(&layout.log(node))?;
    let errors = log.try_clone().map_err(LabError::file("open", layout.log(node)))?;
    let disk = layout.disk(node);
    fs::create_dir_all(&disk).map_err(LabError::file("make", &disk))?;
    let group = layout.node_cgroup(node);
    let space = Space::at(layout.space(Member::Node(node)));
    let mut child = space.inside(|| {
        Command::new(program)
            .args(["--host", &format!("unix://{}", layout.socket(node).display())])
            .arg("--data-dir")
            .arg(&disk)
            .args(["--advertise-addr", &node.address().to_string()])
            .args(["--data-path-addr", &node.address().to_string()])
            .args(["--uplink", UPLINK, "--runtime", runtime.as_str()])
            .arg("--cgroup-parent")
            .arg(&group)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(LabError::file("start", program))
    })??;
    cgroup::add(&group.join("daemon"), child.id())?;
    record.pid = i32::try_from(child.id()).unwrap_or(0);
    record.started = process_stat(record.pid).map_or(0, |stat| stat.started);
    wait_ready(layout, node, &mut child)
}

/// Waits until the socket answers, or says why it never will.
fn wait_ready(layout: &Layout, node: NodeName, child: &mut Child) -> Result<(), LabError> {
    let deadline = Instant::now() + START_DEADLINE;
    let failed =
        |what| LabError::Daemon { node, what, last: last_line(&layout.log(node)), log: layout.log(node) };
    loop {
        if UnixStream::connect(layout.socket(node)).is_ok() {
            return Ok(());
        }
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Err(failed("ended at start"));
        }
        if Instant::now() > deadline {
            return Err(failed("does not answer on its socket"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

/// Sends a signal to the meshd of a node. A process that is gone already is no error.
pub fn signal(record: &NodeRecord, signal: Signal) -> Result<(), LabError> {
    let alive = process_stat(record.pid).is_some_and(|stat| stat.started == record.started);
    if !alive {
        return Ok(());
    }
    match kill(Pid::from_raw(record.pid), signal) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(source) => Err(LabError::System { what: format!("signal meshd of {}", record.name), source }),
    }
}

/// Waits until the meshd of a node is gone; nobody need have waited for it.
pub fn wait_gone(record: &NodeRecord, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while process_stat(record.pid).is_some_and(|stat| stat.started == record.started && !stat.is_over()) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of /proc/PID/stat, cut after what is read of it.
    fn line(state: char, threads: u32) -> String {
        format!("7 (a) b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 {threads} 0 4711 9 9")
    }

    #[test]
    fn a_process_is_over_with_its_last_thread() {
        let stat = parse_stat(&line('S', 9)).unwrap();
        assert_eq!((stat.state, stat.threads, stat.started), ('S', 9, 4711));
        assert!(!stat.is_over());
        assert!(!parse_stat(&line('Z', 2)).unwrap().is_over(), "its files are still open");
        assert!(parse_stat(&line('Z', 1)).unwrap().is_over());
        assert_eq!(parse_stat("7 (x) S 1"), None);
    }
}
