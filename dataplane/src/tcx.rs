//! TCX programs on interfaces of any namespace.
//!
//! The kernel looks an interface up in the namespace of the thread that attaches, so attaching happens on a
//! throw-away thread inside it. Links are pinned where a path is given: they then outlive the process.

use std::io;
use std::path::{Path, PathBuf};

use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifier, SchedClassifierLink, TcAttachOptions, TcAttachType};
use aya::programs::{LinkOrder, ProgramError};
use aya::sys::SyscallError;
use nix::errno::Errno;

use crate::netns::{Netns, NetnsError};

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum TcxError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused the program on the interface.
    #[error("cannot attach a BPF program to {interface}: {}", deepest(source))]
    Attach {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: ProgramError,
    },
    /// The link is not of the kind that an update takes.
    #[error("cannot use the BPF link of {interface}: {}", deepest(source))]
    Link {
        /// The interface.
        interface: String,
        /// What was wrong.
        source: LinkError,
    },
    /// The link could not be pinned.
    #[error("cannot pin a BPF link at {path}: {} (is a BPF file system mounted there?)", deepest(source))]
    Pin {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: PinError,
    },
    /// The pin could not be removed.
    #[error("cannot remove the BPF link {path}: {source}")]
    Unpin {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What happened to a pinned link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// There was none: made.
    New,
    /// The pinned link runs the new program now, without a gap.
    Updated,
}

/// The innermost reason, because aya's own texts stop at the system call's name.
pub(crate) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reason = error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    reason.to_string()
}

/// Attaches `program` to `interface` in `netns`, as the first of its programs, for as long as the returned
/// link is held.
pub fn attach(
    program: &mut SchedClassifier,
    netns: &Netns,
    interface: &str,
    direction: TcAttachType,
) -> Result<FdLink, TcxError> {
    let refused = |source| TcxError::Attach { interface: interface.to_owned(), source };
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = netns.run(|| program.attach_with_options(interface, direction, order))?.map_err(refused)?;
    let link: SchedClassifierLink = program.take_link(id).map_err(refused)?;
    link.try_into().map_err(|source| TcxError::Link { interface: interface.to_owned(), source })
}

/// Attaches `program` with its link pinned at `pin`. A link that is pinned there already is switched over to
/// the program atomically; one whose device is gone is forgotten and made anew.
pub fn attach_pinned(
    program: &mut SchedClassifier,
    netns: &Netns,
    interface: &str,
    direction: TcAttachType,
    pin: &Path,
) -> Result<Attached, TcxError> {
    if update_pinned(program, interface, pin)? {
        return Ok(Attached::Updated);
    }
    let link = attach(program, netns, interface, direction)?;
    link.pin(pin).map_err(|source| TcxError::Pin { path: pin.to_owned(), source })?;
    Ok(Attached::New)
}

/// Removes a pinned link, and with it the program from its interface; `false` when nothing was pinned.
pub fn unpin(pin: &Path) -> Result<bool, TcxError> {
    match std::fs::remove_file(pin) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(TcxError::Unpin { path: pin.to_owned(), source }),
    }
}

/// Switches the link that is pinned at `pin` over to the program. `false` when none is pinned, or when its
/// device is gone: the pin is then removed.
pub fn update_pinned(program: &mut SchedClassifier, interface: &str, pin: &Path) -> Result<bool, TcxError> {
    let Ok(pinned) = PinnedLink::from_pin(pin) else { return Ok(false) };
    let link: Result<SchedClassifierLink, LinkError> = FdLink::from(pinned).try_into();
    let Ok(link) = link else { return unpin(pin).map(|_| false) };
    match program.attach_to_link(link) {
        Ok(id) => {
            // Dropping the link closes this process's handle; the pin holds it.
            drop(program.take_link(id));
            Ok(true)
        }
        Err(error) if is_gone(&error) => unpin(pin).map(|_| false),
        Err(source) => Err(TcxError::Attach { interface: interface.to_owned(), source }),
    }
}

/// The device that the link was on is gone.
fn is_gone(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(Errno::ENOLINK as i32))
}
