//! The lab's control groups: one a node, so that a power cut takes every process of the node at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::LabError;

/// Mount points of all control group hierarchies: the unified one first, then those of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<(bool, PathBuf)> = text.lines().filter_map(hierarchy).collect();
    found.sort();
    found.into_iter().map(|(_, point)| point).collect()
}

fn hierarchy(line: &str) -> Option<(bool, PathBuf)> {
    let (mount, source) = line.split_once(" - ")?;
    let point = PathBuf::from(mount.split(' ').nth(4)?);
    match source.split(' ').next()? {
        "cgroup2" => Some((false, point)),
        "cgroup" => Some((true, point)),
        _ => None,
    }
}

fn unified() -> Result<PathBuf, LabError> {
    hierarchies()
        .into_iter()
        .find(|root| root.join("cgroup.procs").exists() && root.join("cgroup.controllers").exists())
        .ok_or(LabError::Unsupported {
            fault: "a lab",
            needs: "the unified control group hierarchy (cgroup2 mounted)",
        })
}

/// Makes the group at `path` (below the hierarchies' roots).
pub fn create(path: &Path) -> Result<PathBuf, LabError> {
    let dir = unified()?.join(path);
    fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
    Ok(dir)
}

/// Puts a process into the group at `path`.
pub fn add(path: &Path, pid: u32) -> Result<(), LabError> {
    let procs = create(path)?.join("cgroup.procs");
    fs::write(&procs, pid.to_string()).map_err(LabError::file("write", procs))
}

/// Whether `cgroup.events` tells of a process in the group or below it.
fn populated(events: &str) -> bool {
    events.contains("populated 1")
}

/// Kills every process below `path` at once and waits until they are gone.
pub fn kill(path: &Path) -> Result<(), LabError> {
    let dir = unified()?.join(path);
    if !dir.exists() {
        return Ok(());
    }
    // A frozen group does not act on the signal before it thaws.
    let files = [("cgroup.kill", "1"), ("cgroup.freeze", "0")];
    for (name, value) in files {
        let file = dir.join(name);
        fs::write(&file, value).map_err(LabError::file("write", file))?;
    }
    wait_empty(&dir)
}

/// Waits for the change of `cgroup.events` that says that the last process is gone.
fn wait_empty(dir: &Path) -> Result<(), LabError> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let path = dir.join("cgroup.events");
    for _ in 0..100 {
        let events = fs::File::open(&path).map_err(LabError::file("open", &path))?;
        if io::read_to_string(&events).is_ok_and(|text| !populated(&text)) {
            return Ok(());
        }
        let mut wait = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        poll(&mut wait, PollTimeout::from(100u8)).map_err(LabError::system("wait for processes to end"))?;
    }
    Err(LabError::Leftovers(vec![format!("{}: processes do not end", dir.display())]))
}

/// Stops or continues every process below `path`.
pub fn freeze(path: &Path, frozen: bool) -> Result<(), LabError> {
    let file = unified()?.join(path).join("cgroup.freeze");
    fs::write(&file, if frozen { "1" } else { "0" }).map_err(LabError::file("write", file))
}

/// Removes the group at `path` with all below it, in every hierarchy. What is left is told.
pub fn remove(path: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for root in hierarchies() {
        remove_tree(&root.join(path), &mut left);
        // The group that labs share goes with the last of them: removing one that is in use fails, and may.
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let _ = fs::remove_dir(root.join(parent));
        }
    }
    left
}

fn remove_tree(dir: &Path, left: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path(), left);
    }
    if let Err(error) = fs::remove_dir(dir) {
        let busy = fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|text| populated(&text));
        let why = if busy { " (processes in it)" } else { "" };
        left.push(format!("{}: {error}{why}", dir.display()));
    }
}
