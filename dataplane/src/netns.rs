//! Network namespaces: made, bound to a path, entered.
//!
//! A namespace belongs to a thread. So nothing here moves the calling thread: whatever has to happen inside
//! another namespace runs on a throw-away OS thread ([`Netns::run`]), never on a tokio worker, which would
//! carry the namespace to the next future that it polls. Netlink sockets keep the namespace that they were
//! made in and may be used from any thread ([`crate::netlink::Netlink::open`]).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Folder in which `ip netns` looks for namespaces by name.
pub const NAMED_NETNS: &str = "/run/netns";

const THREAD_NETNS: &str = "/proc/thread-self/ns/net";

/// Why a namespace could not be made, opened, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is nothing at the path, or it cannot be opened.
    #[error("cannot open network namespace {path}: {source}")]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The path holds a file that is no namespace, as an unclean end leaves it.
    #[error("{path} is no network namespace (a leftover file: remove it)")]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// A namespace is bound there already.
    #[error("a network namespace is bound to {path} already")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refused a new namespace.
    #[error("cannot make a network namespace: {source} (root with CAP_SYS_ADMIN is needed)")]
    Create {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The namespace could not be bound to its path.
    #[error("cannot bind a network namespace to {path}: {source}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused to let a thread in.
    #[error("cannot enter network namespace {name}: {source} (root with CAP_SYS_ADMIN is needed)")]
    Enter {
        /// The namespace.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The bound namespace could not be removed.
    #[error("cannot remove network namespace {path}: {source}")]
    Delete {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A network namespace held open. It lives as long as this value, a path, or a process in it does.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    name: Arc<str>,
}

impl Netns {
    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self, NetnsError> {
        Self::from_file(Path::new(THREAD_NETNS), "of this process")
    }

    /// The namespace that is bound to `path` (or that a `/proc/PID/ns/net` link leads to).
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        Self::from_file(path, &path.display().to_string())
    }

    /// The namespace that `ip netns` knows by this name.
    pub fn open_named(name: &str) -> Result<Self, NetnsError> {
        Self::open(&Self::named_path(name))
    }

    /// Where a namespace of this name is bound.
    pub fn named_path(name: &str) -> PathBuf {
        Path::new(NAMED_NETNS).join(name)
    }

    /// Makes a namespace that is bound to nothing: it ends with the last holder of this value.
    pub fn anonymous() -> Result<Self, NetnsError> {
        on_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Create { source: errno.into() })?;
            Self::from_file(Path::new(THREAD_NETNS), "anonymous")
        })?
    }

    /// Makes a namespace bound to `path`; missing folders above it are made. A leftover file there that is no
    /// namespace is replaced, a namespace is [`NetnsError::Exists`].
    pub fn create(path: &Path) -> Result<Self, NetnsError> {
        if Self::open(path).is_ok() {
            return Err(NetnsError::Exists { path: path.to_owned() });
        }
        let refused = |source| NetnsError::Bind { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(refused)?;
        }
        File::create(path).map_err(refused)?;
        let made = on_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Create { source: errno.into() })?;
            mount(Some(THREAD_NETNS), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|errno| refused(errno.into()))?;
            Self::open(path)
        })?;
        if made.is_err() {
            let _ = fs::remove_file(path);
        }
        made
    }

    /// Opens the namespace bound to `path`, or makes it.
    pub fn open_or_create(path: &Path) -> Result<Self, NetnsError> {
        match Self::open(path) {
            Ok(netns) => Ok(netns),
            Err(_) => Self::create(path),
        }
    }

    /// Takes the namespace off its path; `false` when nothing was there. It lives on while a process or an
    /// open file holds it.
    pub fn delete(path: &Path) -> Result<bool, NetnsError> {
        let refused = |source: io::Error| NetnsError::Delete { path: path.to_owned(), source };
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
            Err(nix::errno::Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(refused(errno.into())),
        }
        fs::remove_file(path).map(|()| true).map_err(refused)
    }

    /// Number that identifies the namespace while it lives.
    pub fn id(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.ino())
    }

    /// What messages call it: its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside the namespace, on a thread that ends with it; the caller waits. A panic in `work`
    /// goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_new_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Starts `work` inside the namespace on a thread of its own and does not wait, as servers need it.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<thread::JoinHandle<Result<T, NetnsError>>> {
        let netns = self.clone();
        thread::Builder::new().name("netns".to_owned()).spawn(move || {
            netns.enter()?;
            Ok(work())
        })
    }

    /// Moves the calling thread for good; private, because only a throw-away thread may do it.
    fn enter(&self) -> Result<(), NetnsError> {
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetnsError::Enter { name: self.name.to_string(), source: errno.into() })
    }

    fn from_file(path: &Path, name: &str) -> Result<Self, NetnsError> {
        let refused = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(refused)?;
        let kind = fstatfs(&file).map_err(|errno| refused(errno.into()))?.filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace { path: path.to_owned() });
        }
        Ok(Self { file: Arc::new(file), name: name.into() })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Runs `work` on a new OS thread and waits for it.
fn on_new_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|source| NetnsError::Create { source })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_and_a_plain_file_are_told_apart() {
        let missing = Path::new("/run/mesh-no-such-namespace");
        assert!(matches!(Netns::open(missing), Err(NetnsError::Open { .. })));
        assert!(matches!(Netns::open(Path::new("/proc/version")), Err(NetnsError::NotANamespace { .. })));
    }

    #[test]
    fn work_runs_in_the_namespace_and_the_caller_stays_where_it_was() {
        let Ok(netns) = Netns::anonymous() else { return };
        let before = Netns::current().unwrap().id().unwrap();
        let inside = netns.run(|| Netns::current().map(|here| here.id().unwrap()).unwrap()).unwrap();
        assert_eq!(inside, netns.id().unwrap());
        assert_ne!(inside, before);
        assert_eq!(Netns::current().unwrap().id().unwrap(), before);
    }

    #[test]
    fn a_bound_namespace_is_made_found_and_removed() {
        let path = std::env::temp_dir().join(format!("mesh-netns-test-{}", std::process::id()));
        let made = Netns::create(&path).unwrap();
        assert!(matches!(Netns::create(&path), Err(NetnsError::Exists { .. })));
        assert_eq!(Netns::open_or_create(&path).unwrap().id().unwrap(), made.id().unwrap());
        assert!(Netns::delete(&path).unwrap());
        assert!(!Netns::delete(&path).unwrap());
        assert!(!path.exists());
    }
}
