//! Processes that are remembered across a restart of the daemon: a process id alone may have been given to
//! another process since.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// One process of this boot: its id and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Process id in the namespace of the daemon.
    pub pid: u32,
    /// Start time in clock ticks since boot (proc(5), field 22 of `stat`).
    pub start: u64,
}

impl ProcessMark {
    /// The mark of the process that now has this id.
    pub fn of(pid: u32) -> io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start =
            start_time(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: {text:?}")))?;
        Ok(Self { pid, start })
    }

    /// The calling process.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// A pidfd of the process; `None` when it has ended, though another may have its id now or its parent may
    /// not have reaped it yet.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let pidfd = match open(self.pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Looked at after the descriptor was opened: from then on the id cannot change hands.
        match Self::of(self.pid) {
            Ok(mark) if mark == self && !has_ended(&pidfd)? => Ok(Some(pidfd)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A pidfd of whatever process has this id now.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// A pidfd is readable once its process has ended.
fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
}

fn start_time(stat: &str) -> Option<u64> {
    // The command name may hold spaces and parentheses; the last one ends it. Field 3 follows.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn start_time_is_found_behind_any_command_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["(sh)", "(a) b)", "(((", "( 1 2 3 )"] {
            assert_eq!(start_time(&format!("77 {name}) {rest}")), Some(4711), "{name}");
        }
        assert_eq!(start_time("77 (sh) S 1"), None);
    }

    #[test]
    fn another_process_with_the_same_id_is_not_taken_for_it() {
        let own = ProcessMark::current().expect("own mark");
        assert!(own.open().expect("open").is_some());
        let earlier = ProcessMark { start: own.start + 1, ..own };
        assert!(earlier.open().expect("open").is_none());
    }

    #[test]
    fn a_process_that_ended_is_gone_reaped_or_not() {
        let mut child = std::process::Command::new("/bin/cat").stdin(Stdio::piped()).spawn().expect("spawn");
        let mark = ProcessMark::of(child.id()).expect("mark");
        let pidfd = mark.open().expect("open").expect("it runs");
        drop(child.stdin.take());
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).expect("poll");
        assert!(mark.open().expect("open").is_none(), "not reaped");
        child.wait().expect("wait");
        assert!(mark.open().expect("open").is_none(), "reaped");
    }
}
