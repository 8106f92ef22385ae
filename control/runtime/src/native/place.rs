//! Where one runtime's things are, and making and removing a task's share of them.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_core::id::TaskId;

use super::{NativeConfig, netns};
use crate::cgroup::Cgroups;
use crate::error::RuntimeError;
use crate::health::HealthCheck;
use crate::image::Images;
use crate::state::{Record, TaskDir, remove_file};
use crate::sys;
use crate::task::{Prepared, TaskLaunch};

/// Longest host name of Linux.
const HOSTNAME_MAX: usize = 64;
/// Highest signal number of Linux.
const SIGNAL_MAX: i32 = 64;
/// How long a killed task may take to be gone; the kernel needs milliseconds unless a disk hangs.
pub const KILL_LIMIT: Duration = Duration::from_secs(10);

const LOCALHOST: &str = "\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
";

/// The places of one node.
#[derive(Debug, Clone)]
pub struct Places {
    tasks: PathBuf,
    netns: PathBuf,
    writable: PathBuf,
    /// The node's images.
    pub images: Images,
    /// The node's cgroups.
    pub cgroups: Cgroups,
}

impl Places {
    /// Makes the directories that hold everything.
    pub fn open(config: &NativeConfig) -> Result<Self, RuntimeError> {
        let places = Self {
            tasks: config.run_dir.join("tasks"),
            netns: config.run_dir.join("netns"),
            writable: config.data_dir.join("tasks"),
            images: Images::new(&config.data_dir, &config.exe),
            cgroups: Cgroups::find(&config.cgroup_prefix)?,
        };
        for path in [&places.tasks, &places.netns, &places.writable] {
            make_private(path)?;
        }
        Ok(places)
    }

    /// The state of a task.
    pub fn dir(&self, task: TaskId) -> TaskDir {
        TaskDir::new(self.tasks.join(task.to_string()))
    }

    /// Every task that has anything at all, whole or half-made.
    pub fn traces(&self) -> Result<BTreeSet<TaskId>, RuntimeError> {
        let mut names = self.cgroups.names()?;
        for path in [&self.tasks, &self.netns, &self.writable] {
            let entries = fs::read_dir(path).map_err(RuntimeError::io("list", path))?;
            names.extend(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
        }
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Makes everything that a task needs before it can be started.
    pub fn prepare(&self, launch: &TaskLaunch) -> Result<Record, RuntimeError> {
        check(launch)?;
        let name = launch.id.to_string();
        let image = self.images.resolve(&launch.image)?;
        let dir = self.dir(launch.id);
        let health = HealthCheck::of(&launch.health, &image.health(launch));
        let prepared = Prepared { netns: self.netns.join(&name), container_id: container_id()?, health };
        let writable = self.writable.join(&name);
        make_private(dir.path())?;
        for part in ["upper", "work", "root"] {
            make_private(&writable.join(part))?;
        }
        // The task's own root directory, whatever the umask: any user of the image may pass through it.
        let upper = writable.join("upper");
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))
            .map_err(RuntimeError::io("open up", &upper))?;
        let cgroup = self.cgroups.create(&name, &launch.resources)?;
        if prepared.health.as_ref().is_some_and(|check| check.probe.command().is_some()) {
            cgroup.make_probe()?;
        }
        netns::create(&prepared.netns)?;
        let record = Record::new(launch.clone(), prepared, image, cgroup, self.cgroups.shims(), writable);
        write_etc(&dir, &record)?;
        dir.write_record(&record)?;
        Ok(record)
    }

    /// Removes everything that a task has or might have, killing what runs. All errors are told; none keeps
    /// the rest from being removed.
    pub fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        let dir = self.dir(task);
        let mut errors = Vec::new();
        // First of all, so that what is left of a removal cut short counts as half-made.
        errors.extend(dir.remove_record().err());
        errors.extend(self.kill(task).err());
        let name = task.to_string();
        errors.extend(netns::remove(&self.netns.join(&name)).err());
        errors.extend(self.cgroups.of(&name).remove());
        errors.extend(remove_tree(&self.writable.join(&name)).err());
        errors.extend(remove_tree(dir.path()).err());
        self.cgroups.prune();
        if errors.is_empty() { Ok(()) } else { Err(RuntimeError::Cleanup { task, errors }) }
    }

    /// Kills the task's processes and its shim, and waits until they are gone.
    fn kill(&self, task: TaskId) -> Result<(), RuntimeError> {
        let dir = self.dir(task);
        if let Some(shim) = dir.shim()? {
            let found = shim.open().map_err(RuntimeError::io("open shim of", dir.path()))?;
            if let Some(pidfd) = found {
                let killed = sys::pidfd_signal(std::os::fd::AsFd::as_fd(&pidfd), nix::libc::SIGKILL);
                killed.map_err(RuntimeError::io("kill shim of", dir.path()))?;
            }
        }
        self.kill_cgroup(task)
    }

    /// Kills the task's processes and waits until they are gone.
    pub fn kill_cgroup(&self, task: TaskId) -> Result<(), RuntimeError> {
        let cgroup = self.cgroups.of(&task.to_string());
        cgroup.kill()?;
        if cgroup.wait_empty(KILL_LIMIT)? {
            Ok(())
        } else {
            Err(RuntimeError::Unkillable { task, seconds: KILL_LIMIT.as_secs() })
        }
    }
}

/// What can never be started is refused before anything is made.
fn check(launch: &TaskLaunch) -> Result<(), RuntimeError> {
    let refuse = |field, reason: String| Err(RuntimeError::Invalid { field, reason });
    if let Some(hostname) = &launch.hostname {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if hostname.is_empty() || hostname.len() > HOSTNAME_MAX || !hostname.bytes().all(plain) {
            return refuse(
                "hostname",
                format!("{hostname:?} is no host name of 1 to {HOSTNAME_MAX} letters"),
            );
        }
    }
    if !(1..=SIGNAL_MAX).contains(&launch.stop_signal) {
        return refuse("stop signal", format!("{} is no signal number", launch.stop_signal));
    }
    if let Some(entry) = launch.env.iter().find(|entry| entry.starts_with('=') || entry.contains('\0')) {
        return refuse("environment variable", format!("{entry:?}"));
    }
    if let Some(word) = launch.command.iter().chain(&launch.args).find(|word| word.contains('\0')) {
        return refuse("command", format!("{word:?} contains a byte 0"));
    }
    match &launch.dir {
        Some(dir) if !dir.starts_with('/') => refuse("working directory", format!("{dir:?} is not absolute")),
        _ => Ok(()),
    }
}

/// 256 random bits in hexadecimal, as Docker has them.
fn container_id() -> Result<String, RuntimeError> {
    let path = "/dev/urandom";
    let mut bits = [0u8; 32];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut bits));
    read.map_err(RuntimeError::io("read", path))?;
    let half = |bits: u8| char::from_digit(u32::from(bits & 0xf), 16);
    Ok(bits.iter().flat_map(|byte| [half(byte >> 4), half(*byte)]).flatten().collect())
}

fn write_etc(dir: &TaskDir, record: &Record) -> Result<(), RuntimeError> {
    let lines = |lines: &[String]| lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    let files = [
        ("hosts", format!("{LOCALHOST}{}", lines(&record.launch.hosts))),
        ("hostname", format!("{}\n", record.hostname())),
        ("resolv.conf", lines(&record.launch.resolv_conf)),
    ];
    for (name, text) in files {
        let path = dir.file(name);
        remove_file(&path)?;
        let readable = fs::Permissions::from_mode(0o644);
        let written = fs::write(&path, text).and_then(|()| fs::set_permissions(&path, readable));
        written.map_err(RuntimeError::io("write", path))?;
    }
    Ok(())
}

fn make_private(path: &Path) -> Result<(), RuntimeError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(RuntimeError::io("make", path))
}

fn remove_tree(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RuntimeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
