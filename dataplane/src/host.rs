//! What the dataplane needs of the host: a kernel with TCX, and a BPF file system of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::utsname::uname;

/// The oldest kernel: TCX links came with it (kernel commit e420bed02507).
pub const OLDEST_KERNEL: (u32, u32) = (6, 6);

/// What the host lacks.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// TCX is missing.
    #[error("Linux {found} is too old: the mesh needs {}.{} or newer", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    KernelTooOld {
        /// The kernel's own words.
        found: String,
    },
    /// The BPF file system could not be mounted.
    #[error("cannot mount a BPF file system at {path}: {source} (root with CAP_SYS_ADMIN is needed)")]
    Bpffs {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A folder or file of the dataplane could not be made, read or removed.
    #[error("cannot {action} {path}: {source}{}", hint(source))]
    File {
        /// `make`, `read`, `write` or `remove`.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { " (root is needed)" } else { "" }
}

impl HostError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Refuses kernels older than 6.6, in one line.
pub fn check_kernel() -> Result<(), HostError> {
    let name = uname().map_err(|errno| HostError::File {
        action: "read",
        path: PathBuf::from("/proc/version"),
        source: errno.into(),
    })?;
    check_release(&name.release().to_string_lossy())
}

fn check_release(release: &str) -> Result<(), HostError> {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST_KERNEL { Ok(()) } else { Err(HostError::KernelTooOld { found: release.to_owned() }) }
}

/// Makes sure that `path` is a BPF file system; mounts one of its own there when it is not.
pub fn mount_bpffs(path: &Path) -> Result<(), HostError> {
    fs::create_dir_all(path).map_err(HostError::file("make", path))?;
    if is_bpffs(path) {
        return Ok(());
    }
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .map_err(|errno| HostError::Bpffs { path: path.to_owned(), source: errno.into() })
}

/// Takes the BPF file system off `path`, with all that is pinned in it.
pub fn unmount_bpffs(path: &Path) -> Result<(), HostError> {
    if is_bpffs(path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(|errno: Errno| HostError::File {
            action: "unmount",
            path: path.to_owned(),
            source: errno.into(),
        })?;
    }
    remove_dir(path)
}

/// Removes an empty folder; one that is gone already is as good.
pub fn remove_dir(path: &Path) -> Result<(), HostError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HostError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// The machine's memory in bytes, which tables are sized from; half a gibibyte when it is not told.
pub fn memory() -> u64 {
    const ASSUMED: u64 = 512 << 20;
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.map_or(ASSUMED, |kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_without_tcx_are_refused_in_one_line() {
        for good in ["6.6.0", "6.6", "6.12.9-amd64", "7.0.0-rc1", "6.18.44-fc-v657"] {
            assert!(check_release(good).is_ok(), "{good}");
        }
        for old in ["6.5.13-generic", "5.15.0", "", "unknown"] {
            assert!(check_release(old).is_err(), "{old}");
        }
        assert_eq!(
            check_release("6.1.0-28-amd64").unwrap_err().to_string(),
            "Linux 6.1.0-28-amd64 is too old: the mesh needs 6.6 or newer"
        );
    }

    #[test]
    fn memory_is_read() {
        assert!(memory() > 16 << 20);
    }
}
