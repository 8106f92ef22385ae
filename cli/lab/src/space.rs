//! The namespaces of one member, bound to files so that they outlive every process: `net` and `uts`, and
//! `mnt` for a node.
//!
//! Namespaces are made and entered by throw-away threads: a thread that changed its namespaces is never
//! used for anything else.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{gettid, sethostname};

use crate::error::LabError;

/// What a node sees of the host's files, apart from the root file system.
#[derive(Debug, Clone)]
pub struct NodeMounts {
    /// The lab's run directory: the only thing of the host's `/run` that is seen, at the same path.
    pub run: PathBuf,
    /// The file that stands in for `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// A member's namespaces.
#[derive(Debug, Clone)]
pub struct Space {
    dir: PathBuf,
}

impl Space {
    /// The namespaces bound in `dir`, whether or not they exist.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// File that the network namespace is bound to.
    pub fn netns(&self) -> PathBuf {
        self.dir.join("net")
    }

    /// Makes the namespaces of this member. With `mounts` it is a node and gets a mount namespace too.
    pub fn create(&self, hostname: &str, mounts: Option<&NodeMounts>) -> Result<(), LabError> {
        fs::create_dir_all(&self.dir).map_err(LabError::file("make", &self.dir))?;
        let (tell_tid, tid) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let maker = scope.spawn(move || -> Result<(), LabError> {
                unshare_member(hostname, mounts)?;
                if tell_tid.send(gettid()).is_ok() {
                    // The namespaces live as long as this thread until they are bound; an error here
                    // means that the binder gave up.
                    let _ = released.recv();
                }
                Ok(())
            });
            let bound = match tid.recv() {
                Ok(tid) => self.bind(&format!("/proc/self/task/{tid}/ns"), mounts.is_some()),
                Err(mpsc::RecvError) => Ok(()),
            };
            drop(release);
            maker.join().map_err(|_| LabError::Thread { place: self.dir.clone() })??;
            bound
        })
    }

    fn bind(&self, from: &str, with_mounts: bool) -> Result<(), LabError> {
        let kinds: &[&str] = if with_mounts { &["net", "uts", "mnt"] } else { &["net", "uts"] };
        for kind in kinds {
            let target = self.dir.join(kind);
            File::create(&target).map_err(LabError::file("make", &target))?;
            bind(Path::new(&format!("{from}/{kind}")), &target)?;
        }
        Ok(())
    }

    /// Runs `work` inside, in a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            scope
                .spawn(|| self.enter().map(|()| work()))
                .join()
                .map_err(|_| LabError::Thread { place: self.dir.clone() })?
        })
    }

    fn enter(&self) -> Result<(), LabError> {
        let open = |kind: &str| {
            let path = self.dir.join(kind);
            File::open(&path).map_err(LabError::file("open", path))
        };
        let (net, uts) = (open("net")?, open("uts")?);
        let mnt = self.dir.join("mnt").exists().then(|| open("mnt")).transpose()?;
        setns(&net, CloneFlags::CLONE_NEWNET).map_err(LabError::system("enter network namespace"))?;
        setns(&uts, CloneFlags::CLONE_NEWUTS).map_err(LabError::system("enter UTS namespace"))?;
        if let Some(mnt) = mnt {
            unshare(CloneFlags::CLONE_FS).map_err(LabError::system("unshare file system state"))?;
            setns(&mnt, CloneFlags::CLONE_NEWNS).map_err(LabError::system("enter mount namespace"))?;
        }
        Ok(())
    }

    /// Lets go of the namespaces; they end with the last process in them. Everything that could not be
    /// removed is told.
    pub fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        for kind in ["mnt", "uts", "net"] {
            let path = self.dir.join(kind);
            if !path.exists() {
                continue;
            }
            if let Err(error) = umount2(&path, MntFlags::MNT_DETACH) {
                left.push(format!("{}: {error}", path.display()));
            }
            if let Err(error) = fs::remove_file(&path) {
                left.push(format!("{}: {error}", path.display()));
            }
        }
        if self.dir.exists()
            && let Err(error) = fs::remove_dir(&self.dir)
        {
            left.push(format!("{}: {error}", self.dir.display()));
        }
        left
    }
}

/// Mount points of this mount namespace below `prefix`, the deepest last.
pub fn mounts_below(prefix: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(prefix) && point != prefix)
        .collect()
}

/// Makes `dir` a private tmpfs, so that mount namespaces can be bound to files in it.
pub fn mount_private_tmpfs(dir: &Path) -> Result<(), LabError> {
    let failed = || LabError::system(format!("mount tmpfs at {}", dir.display()));
    mount(Some("mesh-lab"), dir, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .map_err(failed())?;
    mount(None::<&str>, dir, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).map_err(failed())
}

fn bind(from: &Path, target: &Path) -> Result<(), LabError> {
    mount(Some(from), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(LabError::system(format!("bind {} to {}", from.display(), target.display())))
}

fn unshare_member(hostname: &str, mounts: Option<&NodeMounts>) -> Result<(), LabError> {
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    if mounts.is_some() {
        flags |= CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS;
    }
    unshare(flags).map_err(LabError::system("make namespaces"))?;
    sethostname(hostname).map_err(LabError::system("set the host name"))?;
    mounts.map_or(Ok(()), arrange_mounts)
}

/// Gives a node a `/run` of its own with the lab's run directory in it, and its own resolv.conf.
fn arrange_mounts(mounts: &NodeMounts) -> Result<(), LabError> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(LabError::system("make mounts private"))?;
    // What other labs and other members have mounted below /run would otherwise live on in here.
    for point in mounts_below(Path::new("/run")).iter().rev().filter(|point| **point != mounts.run) {
        umount2(point, MntFlags::MNT_DETACH)
            .map_err(LabError::system(format!("detach {}", point.display())))?;
    }
    let run = File::open(&mounts.run).map_err(LabError::file("open", &mounts.run))?;
    mount(Some("mesh-run"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .map_err(LabError::system("mount /run"))?;
    fs::create_dir_all(&mounts.run).map_err(LabError::file("make", &mounts.run))?;
    bind(Path::new(&format!("/proc/thread-self/fd/{}", run.as_raw_fd())), &mounts.run)?;
    bind(&mounts.resolv_conf, &resolv_conf_target()?)
}

/// `/etc/resolv.conf` is often a symbolic link into /run; a mount goes onto what it names.
fn resolv_conf_target() -> Result<PathBuf, LabError> {
    let link = Path::new("/etc/resolv.conf");
    let target = fs::read_link(link).map_or_else(|_| link.to_owned(), |to| Path::new("/etc").join(to));
    if !target.exists() {
        let parent = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(LabError::file("make", parent))?;
        File::create(&target).map_err(LabError::file("make", &target))?;
    }
    Ok(target)
}

/// Opens a member's log for appending.
pub fn open_log(path: &Path) -> Result<File, LabError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(LabError::file("open", path))
}
