//! The system calls that neither nix nor rustix offers as safe functions. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{ForkResult, fork};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn checked(result: impl Into<libc::c_long>) -> io::Result<libc::c_long> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// Forks a process that has one thread only; refuses where there are more, because a lock that another
/// thread holds at that moment would stay locked in the child.
pub fn fork_single_threaded() -> io::Result<ForkResult> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the process has several threads"));
    }
    // SAFETY: there is one thread, so the child's copy of memory is one that it made itself.
    Ok(unsafe { fork() }?)
}

/// Sets what the calling process does on each of `signals`: ignores them, or the default.
pub fn set_signals(signals: impl IntoIterator<Item = Signal>, ignore: bool) -> io::Result<()> {
    let handler = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    for which in signals {
        // SAFETY: neither handler runs code of this process.
        unsafe { signal(which, handler) }?;
    }
    Ok(())
}

/// Marks every descriptor from 3 up close-on-exec, whoever opened it.
pub fn close_inherited_on_exec() -> io::Result<()> {
    // SAFETY: no memory is involved, and descriptors stay open until exec.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    checked(result).map(drop)
}

/// Sends any signal number, real-time ones included, to the process behind a pidfd.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed (pidfd_send_signal(2)); the descriptor is borrowed, so it is open.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, none, 0u32) };
    checked(result).map(drop)
}

/// Sets the loopback interface of the calling thread's network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: the request outlives both calls, and each reads or writes the flags in it only; the union is
    // read after the first call wrote that member.
    unsafe {
        checked(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
        checked(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request))?;
    }
    Ok(())
}

/// Sets or clears the don't-fragment bit of what an IPv4 socket sends. With it, a packet larger than the
/// known path MTU is an error rather than fragments.
pub fn set_dont_fragment(socket: impl AsFd, on: bool) -> io::Result<()> {
    let value: libc::c_int = if on { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
    // SAFETY: the option takes an int, and its address and size are those of one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(4),
        )
    };
    checked(result).map(drop)
}

/// Registers a descriptor with the asynchronous runtime, to be told when it can be read.
pub fn readable<T: AsyncFdSource>(source: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the types of `AsyncFdSource` own one descriptor, always the same, and close it when dropped,
    // which `AsyncFd` does after it has deregistered it.
    unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}

/// Owners of exactly one descriptor.
pub trait AsyncFdSource: AsRawFd + sealed::Sealed {}
impl AsyncFdSource for std::os::fd::OwnedFd {}
impl AsyncFdSource for std::net::UdpSocket {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::os::fd::OwnedFd {}
    impl Sealed for std::net::UdpSocket {}
}
