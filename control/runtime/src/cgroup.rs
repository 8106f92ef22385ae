//! Cgroups: one for each task, in the unified hierarchy (where a whole task can be killed at once) and, for
//! limits, in whatever hierarchy has the controller on this host: unified, or the older ones of a hybrid set-up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mesh_core::spec::Resources;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;

/// Period over which CPU time is handed out, in microseconds (the kernel's and Docker's default).
const CPU_PERIOD_US: u64 = 100_000;
/// The least quota the kernel takes, in microseconds.
const CPU_QUOTA_MIN_US: u64 = 1_000;

/// What limits a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// Where the cgroup hierarchies of this host are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchies {
    unified: PathBuf,
    /// Controllers that are in a hierarchy of the first version.
    legacy: BTreeMap<Controller, PathBuf>,
}

impl Hierarchies {
    /// Reads them from the text of `/proc/self/mountinfo` (proc(5)).
    fn parse(mountinfo: &str) -> Result<Self, RuntimeError> {
        let mut unified = None;
        let mut legacy = BTreeMap::new();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(point) = before.split(' ').nth(4).map(unescape) else { continue };
            let mut after = after.split(' ');
            match (after.next(), after.nth(1)) {
                (Some("cgroup2"), _) => unified = unified.or(Some(point)),
                (Some("cgroup"), Some(options)) => {
                    for controller in Controller::ALL {
                        if options.split(',').any(|option| option == controller.name()) {
                            legacy.entry(controller).or_insert_with(|| point.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        let unified = unified.ok_or(RuntimeError::NoCgroup { missing: "the cgroup2 hierarchy" })?;
        Ok(Self { unified, legacy })
    }
}

/// Spaces and the like are written as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(code, plain);
    }
    PathBuf::from(text)
}

/// A value for a file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: Controller,
    unified: (&'static str, String),
    legacy: Vec<(&'static str, String)>,
}

/// The settings that these limits ask for; a limit of zero is none.
fn settings(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    let limits = resources.limits;
    if limits.nano_cpus > 0 {
        let quota = u128::from(limits.nano_cpus) * u128::from(CPU_PERIOD_US) / 1_000_000_000;
        let quota = u64::try_from(quota).unwrap_or(u64::MAX).max(CPU_QUOTA_MIN_US);
        settings.push(Setting {
            controller: Controller::Cpu,
            unified: ("cpu.max", format!("{quota} {CPU_PERIOD_US}")),
            legacy: vec![
                ("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ],
        });
    }
    if limits.memory_bytes > 0 {
        let bytes = limits.memory_bytes.to_string();
        settings.push(Setting {
            controller: Controller::Memory,
            unified: ("memory.max", bytes.clone()),
            legacy: vec![("memory.limit_in_bytes", bytes)],
        });
    }
    if resources.pids_limit > 0 {
        let count = resources.pids_limit.to_string();
        settings.push(Setting {
            controller: Controller::Pids,
            unified: ("pids.max", count.clone()),
            legacy: vec![("pids.max", count)],
        });
    }
    settings
}

/// The cgroups of one node's tasks.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    prefix: PathBuf,
}

impl Cgroups {
    /// Finds the hierarchies of the calling process; tasks go below `prefix` in them.
    pub fn find(prefix: &str) -> Result<Self, RuntimeError> {
        let path = "/proc/self/mountinfo";
        let mountinfo = fs::read_to_string(path).map_err(RuntimeError::io("read", path))?;
        let plain = prefix.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain {
            let reason = format!("{prefix:?} is no relative path of plain names");
            return Err(RuntimeError::Invalid { field: "cgroup prefix", reason });
        }
        Ok(Self { hierarchies: Hierarchies::parse(&mountinfo)?, prefix: PathBuf::from(prefix) })
    }

    /// The cgroup of this name in every hierarchy, whether it exists or not.
    pub fn of(&self, name: &str) -> TaskCgroup {
        let below = |mount: &Path| mount.join(&self.prefix).join(name);
        let legacy: BTreeSet<_> = self.hierarchies.legacy.values().map(|mount| below(mount)).collect();
        TaskCgroup { unified: below(&self.hierarchies.unified), legacy: legacy.into_iter().collect() }
    }

    /// Cgroup of the unified hierarchy that shims are in, apart from every task's, so that killing a task
    /// leaves the shim to tell about it.
    pub fn shims(&self) -> PathBuf {
        self.hierarchies.unified.join(&self.prefix).join("shims")
    }

    /// Makes the cgroup of a task and sets its limits.
    pub fn create(&self, name: &str, resources: &Resources) -> Result<TaskCgroup, RuntimeError> {
        let all = self.of(name);
        let mut made = TaskCgroup { unified: all.unified.clone(), legacy: Vec::new() };
        make(&all.unified)?;
        for setting in settings(resources) {
            let (group, values) = if let Some(mount) = self.hierarchies.legacy.get(&setting.controller) {
                let group = mount.join(&self.prefix).join(name);
                make(&group)?;
                if !made.legacy.contains(&group) {
                    made.legacy.push(group.clone());
                }
                (group, setting.legacy)
            } else {
                self.delegate(setting.controller)?;
                (all.unified.clone(), vec![setting.unified])
            };
            for (file, value) in values {
                write(&group.join(file), &value)?;
            }
        }
        Ok(made)
    }

    /// Names of all cgroups below the prefix.
    pub fn names(&self) -> Result<BTreeSet<String>, RuntimeError> {
        let mut names = BTreeSet::new();
        for mount in self.mounts() {
            let path = mount.join(&self.prefix);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(RuntimeError::io("list", path)(error)),
            };
            let directories = entries.flatten().filter(|entry| entry.path().is_dir());
            names.extend(directories.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        Ok(names)
    }

    /// Removes the cgroups that held those of tasks and are empty now. One that is in use stays.
    pub fn prune(&self) {
        let _in_use = fs::remove_dir(self.shims());
        for mount in self.mounts() {
            for parent in self.prefix.ancestors().filter(|parent| !parent.as_os_str().is_empty()) {
                let _in_use = fs::remove_dir(mount.join(parent));
            }
        }
    }

    fn mounts(&self) -> BTreeSet<&PathBuf> {
        self.hierarchies.legacy.values().chain([&self.hierarchies.unified]).collect()
    }

    /// Hands a controller down from the root of the unified hierarchy to the tasks' parent.
    fn delegate(&self, controller: Controller) -> Result<(), RuntimeError> {
        let mut parents: Vec<_> = self.prefix.ancestors().collect();
        parents.reverse();
        for parent in parents {
            let group = self.hierarchies.unified.join(parent);
            write(&group.join("cgroup.subtree_control"), &format!("+{}", controller.name()))?;
        }
        Ok(())
    }
}

/// Makes a cgroup and those above it. Another daemon may remove an empty parent (they share the first
/// component of the prefix) between two steps, so a parent that has vanished is made again.
fn make(path: &Path) -> Result<(), RuntimeError> {
    let mut result = Ok(());
    for _ in 0..16 {
        result = fs::create_dir_all(path);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => break,
        }
    }
    result.map_err(RuntimeError::io("make cgroup", path))
}

/// Moves the calling process into a cgroup that [`Cgroups::prune`] may be removing as an empty one.
pub fn join_or_make(group: &Path) -> Result<(), RuntimeError> {
    let mut result = Ok(());
    for _ in 0..16 {
        make(group)?;
        result = write(&group.join("cgroup.procs"), "0");
        match &result {
            Err(RuntimeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            _ => break,
        }
    }
    result
}

fn kill(group: &Path) -> Result<(), RuntimeError> {
    let path = group.join("cgroup.kill");
    match fs::write(&path, "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RuntimeError::io("write", path)(error)),
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> Result<(), RuntimeError> {
    fs::write(path, value).map_err(RuntimeError::io("set", path))
}

/// One task's cgroup, by its directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCgroup {
    /// In the unified hierarchy.
    pub unified: PathBuf,
    /// In older hierarchies, when it has limits there.
    pub legacy: Vec<PathBuf>,
}

impl TaskCgroup {
    /// Moves a process, and what it will fork, into the cgroup.
    pub fn join(&self, pid: u32) -> Result<(), RuntimeError> {
        for group in self.legacy.iter().chain([&self.unified]) {
            write(&group.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Makes the cgroup for probes inside it.
    pub fn make_probe(&self) -> Result<(), RuntimeError> {
        make(&self.probe())
    }

    /// Moves a process, and what it will fork, into the cgroup for probes. The task's limits hold there too.
    pub fn join_probe(&self, pid: u32) -> Result<(), RuntimeError> {
        write(&self.probe().join("cgroup.procs"), &pid.to_string())
    }

    /// Sends SIGKILL to every process of a probe.
    pub fn kill_probe(&self) -> Result<(), RuntimeError> {
        kill(&self.probe())
    }

    fn probe(&self) -> PathBuf {
        self.unified.join("probe")
    }

    /// Sends SIGKILL to every process in it at once; no fork escapes.
    pub fn kill(&self) -> Result<(), RuntimeError> {
        kill(&self.unified)
    }

    /// Waits until no process is in it; false when there still is one after `limit`.
    pub fn wait_empty(&self, limit: Duration) -> Result<bool, RuntimeError> {
        let path = self.unified.join("cgroup.events");
        let mut events = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(RuntimeError::io("open", path)(error)),
        };
        wait_unpopulated(&mut events, Instant::now() + limit).map_err(RuntimeError::io("read", path))
    }

    /// Removes it; all that could not be removed is told.
    pub fn remove(&self) -> Vec<RuntimeError> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let probe = self.probe();
        let groups = self.legacy.iter().chain([&probe, &self.unified]);
        let failed = groups.filter_map(|group| match fs::remove_dir(group) {
            Err(error) if !gone(&error) => Some(RuntimeError::io("remove cgroup", group)(error)),
            _ => None,
        });
        failed.collect()
    }
}

/// The kernel raises POLLPRI on `cgroup.events` when it changes; reading it takes the mark away.
fn wait_unpopulated(events: &mut File, deadline: Instant) -> io::Result<bool> {
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::spec::ResourceAmount;

    const HYBRID: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
99 31 0:38 / /elsewhere rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hierarchies_are_found_in_a_hybrid_host() {
        let found = Hierarchies::parse(HYBRID).expect("parse");
        assert_eq!(found.unified, Path::new("/sys/fs/cgroup/unified"));
        let cpu = (Controller::Cpu, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        let memory = (Controller::Memory, PathBuf::from("/sys/fs/cgroup/mem ory"));
        assert_eq!(found.legacy, BTreeMap::from([cpu, memory]));
    }

    #[test]
    fn a_host_without_the_unified_hierarchy_is_refused() {
        let legacy_only: String = HYBRID.lines().filter(|line| !line.contains("cgroup2")).collect();
        let error = Hierarchies::parse(&legacy_only).expect_err("no cgroup2");
        assert!(error.to_string().starts_with("the cgroup2 hierarchy is not mounted"), "{error}");
    }

    #[test]
    fn a_prefix_that_leaves_the_hierarchy_is_refused() {
        for prefix in ["", "/mesh", "mesh/", "../mesh", "a/./b", "a//b"] {
            assert!(Cgroups::find(prefix).is_err(), "{prefix:?}");
        }
    }

    #[test]
    fn limits_become_settings_and_zero_sets_nothing() {
        assert_eq!(settings(&Resources::default()), []);
        let limits = ResourceAmount { nano_cpus: 1_500_000_000, memory_bytes: 64 << 20 };
        let all = settings(&Resources { limits, pids_limit: 10, ..Resources::default() });
        let unified: Vec<_> = all.iter().map(|setting| setting.unified.clone()).collect();
        let text = |file, value: &str| (file, value.to_owned());
        assert_eq!(
            unified,
            [text("cpu.max", "150000 100000"), text("memory.max", "67108864"), text("pids.max", "10")]
        );
        assert_eq!(all[0].legacy, [text("cpu.cfs_period_us", "100000"), text("cpu.cfs_quota_us", "150000")]);
        let tiny = ResourceAmount { nano_cpus: 1, memory_bytes: 0 };
        let least = settings(&Resources { limits: tiny, ..Resources::default() });
        assert_eq!(least[0].unified.1, "1000 100000", "the kernel refuses less");
    }
}
