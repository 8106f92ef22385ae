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
    write_all(netns, &[(key.to_owned(), value.to_owned())])
}

/// Writes several settings, on one thread, up to the first that is refused.
pub fn write_all(netns: &Netns, settings: &[(String, String)]) -> Result<(), SysctlError> {
    netns.run(|| {
        settings.iter().try_for_each(|(key, value)| {
            let path = path_of(key);
            fs::write(&path, value).map_err(|source| SysctlError::Refused { action: "write", path, source })
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

/// `/proc/sys/net` shows the namespace of the thread that opens it, whatever `/proc` is mounted.
fn path_of(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
