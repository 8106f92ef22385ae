//! Network namespaces of tasks: made before the task's process and kept by a mount, so that the dataplane can
//! furnish them first and nothing depends on any process.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::error::RuntimeError;
use crate::sys;

/// Settings that Docker makes in a container's namespace: no privilege is needed for low ports (they are the
/// namespace's own) nor for ping.
const SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Makes a namespace with its loopback up, mounted at `path`; one that is there already is kept.
pub fn create(path: &Path) -> Result<(), RuntimeError> {
    if is_namespace(path) {
        return Ok(());
    }
    File::create(path).map_err(RuntimeError::io("make", path))?;
    // A thread that ends here: no other code ever runs in the new namespace.
    let place = path.to_owned();
    let made = thread::Builder::new().name("netns".to_owned()).spawn(move || furnish(&place));
    let made = made.and_then(|thread| {
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes it panicked")))
    });
    made.map_err(RuntimeError::io("make network namespace", path))
}

fn furnish(path: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    sys::loopback_up()?;
    for (file, value) in SETTINGS {
        fs::write(file, value)?;
    }
    bind("/proc/thread-self/ns/net", path)
}

/// Mounts the namespace of a running process at `path`.
pub fn mount_of(pid: u32, path: &Path) -> Result<(), RuntimeError> {
    let mounted = File::create(path).and_then(|_| bind(&format!("/proc/{pid}/ns/net"), path));
    mounted.map_err(RuntimeError::io("mount network namespace at", path))
}

fn bind(from: &str, to: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    Ok(mount(Some(from), to, none, MsFlags::MS_BIND, none)?)
}

/// Whether a namespace is mounted at `path`.
pub fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|place| place.filesystem_type() == NSFS_MAGIC)
}

/// Takes the mount and its file away; the namespace ends with the last process or device in it.
pub fn remove(path: &Path) -> Result<(), RuntimeError> {
    while is_namespace(path) {
        let unmounted = umount2(path, MntFlags::MNT_DETACH).map_err(io::Error::from);
        unmounted.map_err(RuntimeError::io("unmount", path))?;
    }
    crate::state::remove_file(path)
}
