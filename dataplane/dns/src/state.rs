//! The last table on disk, so that a server that starts again answers at once.
//!
//! The file is a line that names the format, the SHA-256 of the rest, and the table in postcard. It is
//! replaced by rename, so it is always one whole table or the other; what is not is never overwritten.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::table::Table;

const FORMAT: &[u8] = b"mesh-dns table 1\n";
const DIGEST_LENGTH: usize = 32;

/// Why a state file is not used, or not written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{doing} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// Its contents are not what was written.
    #[error("{} is corrupt: {problem}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The table cannot be encoded.
    #[error("the table cannot be encoded: {0}")]
    Encode(#[from] postcard::Error),
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |error| StateError::Io { doing, path: path.to_owned(), error }
}

/// The table in the file; `None` when there is no file.
pub fn load(path: &Path) -> Result<Option<Table>, StateError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    decode(&bytes).map(Some).map_err(|problem| StateError::Corrupt { path: path.to_owned(), problem })
}

fn decode(bytes: &[u8]) -> Result<Table, &'static str> {
    let rest = bytes.strip_prefix(FORMAT).ok_or("it does not begin as a table of this format does")?;
    let (digest, body) = rest.split_at_checked(DIGEST_LENGTH).ok_or("it is too short")?;
    if Sha256::digest(body).as_slice() != digest {
        return Err("its checksum does not match");
    }
    postcard::from_bytes(body).map_err(|_| "its contents are no table")
}

/// Replaces the file by this table.
pub fn save(path: &Path, table: &Table) -> Result<(), StateError> {
    let body = postcard::to_stdvec(table)?;
    let mut new = path.to_owned().into_os_string();
    new.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(new);
    let mut file = File::create(&new).map_err(io("create", &new))?;
    for part in [FORMAT, Sha256::digest(&body).as_slice(), &body] {
        file.write_all(part).map_err(io("write", &new))?;
    }
    file.sync_all().map_err(io("sync", &new))?;
    fs::rename(&new, path).map_err(io("replace", path))
}

/// Moves a file that is not used out of the way, so that it can be looked at and a new one written; returns
/// where it is.
pub fn set_aside(path: &Path) -> Result<PathBuf, StateError> {
    let name = |number: u32| {
        let mut name = path.to_owned().into_os_string();
        name.push(format!(".corrupt-{number}"));
        PathBuf::from(name)
    };
    let free = (1..=u32::MAX).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0));
    fs::rename(path, &free).map_err(io("set aside", path))?;
    Ok(free)
}
