//! The task's root file system: image layers under a writable one, and what the kernel's interfaces need in
//! it. Mounts live in the task's own mount namespace, so they end with it and the host never sees them.
//!
//! After `pivot_root` every path is resolved inside the image, so that a link in it leads nowhere else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{chdir, fchdir, pivot_root};

use super::{SetupError, step};
use crate::state::{Record, TaskDir};

/// Files of the task's directory that appear in `/etc`.
const ETC_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Character devices with major number 1 or 5 that a program may expect.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What tells of, or acts on, the host: hidden.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Settings of the host: to be read only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Enters the task's root file system. The process must be in a mount namespace of its own.
pub fn enter(record: &Record, dir: &TaskDir) -> Result<(), SetupError> {
    // Modes below are meant as written.
    umask(Mode::empty());
    let nowhere: Option<&str> = None;
    mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nowhere)
        .map_err(step("make mounts private"))?;
    let root = record.writable.join("root");
    mount_overlay(record, &root)?;
    let sources = open_sources(dir)?;

    let old = File::open("/").map_err(step("open the old root"))?;
    chdir(&root).map_err(step("change to the root file system"))?;
    // Both at one place: the new root over the old one, which stays reachable by its descriptor only.
    pivot_root(".", ".").map_err(step("pivot the root"))?;
    chdir("/").map_err(step("change to the new root"))?;
    mount_system()?;
    for (name, source) in &sources {
        bind_file(source, &format!("/etc/{name}"))?;
    }
    fchdir(&old).map_err(step("change to the old root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(step("leave the old root"))?;
    chdir("/").map_err(step("change to the new root"))?;
    if record.launch.read_only {
        remount_read_only("/", MsFlags::MS_NODEV).map_err(step("make the root file system read-only"))?;
    }
    Ok(())
}

fn mount_overlay(record: &Record, root: &Path) -> Result<(), SetupError> {
    let escaped = |path: &Path| {
        let text = path.to_string_lossy();
        text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
    };
    let lower: Vec<_> = record.image.layers.iter().map(|layer| escaped(layer)).collect();
    let upper = escaped(&record.writable.join("upper"));
    let work = escaped(&record.writable.join("work"));
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    // An image's device nodes open nothing.
    let (kind, flags) = (Some("overlay"), MsFlags::MS_NODEV);
    mount(kind, root, kind, flags, Some(options.as_str()))
        .map_err(step(format!("mount the root file system at {}", root.display())))
}

/// Descriptors that lead to files of the host once its paths are out of reach.
fn open_sources(dir: &TaskDir) -> Result<Vec<(&'static str, File)>, SetupError> {
    let open = |name: &'static str| {
        let path = dir.file(name);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path);
        Ok((name, file.map_err(step(format!("open {}", path.display())))?))
    };
    ETC_FILES.into_iter().map(open).collect()
}

fn mount_system() -> Result<(), SetupError> {
    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("/proc", "proc", closed, None)?;
    mount_at("/sys", "sysfs", closed | MsFlags::MS_RDONLY, None)?;
    mount_at("/dev", "tmpfs", MsFlags::MS_NOSUID, Some("mode=755,size=64k"))?;
    for (name, major, minor) in DEVICES {
        let (path, mode) = (format!("/dev/{name}"), Mode::from_bits_truncate(0o666));
        mknod(path.as_str(), SFlag::S_IFCHR, mode, makedev(major, minor))
            .map_err(step(format!("make {path}")))?;
    }
    for (name, target) in DEVICE_LINKS {
        symlink(target, format!("/dev/{name}")).map_err(step(format!("make /dev/{name}")))?;
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at("/dev/pts", "devpts", quiet, Some("newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    mount_at("/dev/shm", "tmpfs", closed, Some("mode=1777,size=64m"))?;
    MASKED.iter().try_for_each(|path| mask(path))?;
    READ_ONLY.iter().try_for_each(|path| {
        let bound = bind(path, path).and_then(|()| remount_read_only(path, closed));
        if_present(bound).map_err(step(format!("make {path} read-only")))
    })
}

/// Mounts a file system of the kernel's; the place must be a real directory, or what is mounted or masked
/// below it later would be somewhere else.
fn mount_at(path: &str, kind: &str, flags: MsFlags, options: Option<&str>) -> Result<(), SetupError> {
    make_directory(path).map_err(step(format!("make {path}")))?;
    if !fs::symlink_metadata(path).is_ok_and(|place| place.is_dir()) {
        return Err(SetupError::NoDirectory { path: path.to_owned() });
    }
    mount(Some(kind), path, Some(kind), flags, options).map_err(step(format!("mount {path}")))
}

fn make_directory(path: &str) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn mask(path: &str) -> Result<(), SetupError> {
    let Ok(place) = fs::symlink_metadata(path) else { return Ok(()) };
    let masked = if place.is_dir() {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("size=0k"))
    } else {
        bind("/dev/null", path)
    };
    if_present(masked).map_err(step(format!("hide {path}")))
}

/// Kernels differ in what they have in /proc and /sys.
fn if_present(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(nix::errno::Errno::ENOENT) => Ok(()),
        other => other,
    }
}

fn bind(from: &str, to: &str) -> nix::Result<()> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
}

fn remount_read_only(path: &str, kept: MsFlags) -> nix::Result<()> {
    let none: Option<&str> = None;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | kept;
    mount(none, path, none, flags, none)
}

fn bind_file(source: &File, to: &str) -> Result<(), SetupError> {
    let doing = || format!("mount {to}");
    make_directory("/etc").map_err(step(doing()))?;
    if fs::symlink_metadata(to).is_ok_and(|place| place.is_symlink()) {
        fs::remove_file(to).map_err(step(doing()))?;
    }
    let mut place = OpenOptions::new();
    place.create(true).append(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    drop(place.open(to).map_err(step(doing()))?);
    bind(&format!("/proc/self/fd/{}", source.as_raw_fd()), to).map_err(step(doing()))
}
