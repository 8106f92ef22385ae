//! Kernel settings of a network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::netns::{Netns, NetnsError};

/// Why a setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel has no such setting, or refused the value.
    #[error("cannot {action} kernel setting {path}: {source}")]
    Refused {
        /// `read` or `write`.
        action: &'static str,
        /// File under `/proc/sys`.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Writes `value` to the setting `key`, written with slashes because interface names may hold dots:
/// `net/ipv4/conf/eth0/rp_filter`.
pub fn write(netns: &Netns, key: &str, value: &str) -> Result<(), SysctlError> {
    netns.run(|| write_here(key, value))?
}

/// Writes those of the settings that this kernel has (one without IPv6 has none of it), up to the first that
/// it refuses.
pub fn write_known(netns: &Netns, settings: &[(&str, &str)]) -> Result<(), SysctlError> {
    netns.run(|| {
        settings.iter().try_for_each(|(key, value)| match write_here(key, value) {
            Err(SysctlError::Refused { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    })?
}

/// Reads the setting `key`, without the line's end.
pub fn read(netns: &Netns, key: &str) -> Result<String, SysctlError> {
    netns.run(|| {
        let path = path_of(key);
        fs::read_to_string(&path)
            .map(|text| text.trim_end().to_owned())
            .map_err(|source| SysctlError::Refused { action: "read", path, source })
    })?
}

/// Writes in the namespace of the calling thread.
fn write_here(key: &str, value: &str) -> Result<(), SysctlError> {
    let path = path_of(key);
    fs::write(&path, value).map_err(|source| SysctlError::Refused { action: "write", path, source })
}

/// `/proc/sys/net` shows the namespace of the thread that opens it, whatever `/proc` is mounted.
fn path_of(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
