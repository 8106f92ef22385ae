//! The API's unix socket: for root and its group alone, and never taken from a daemon that answers.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Owner and group.
const MODE: u32 = 0o660;

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("{path}: another daemon answers on this socket; stop it, or choose another with --host")]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something is there that is no socket.
    #[error("{path} is not a socket: remove it, or choose another with --host")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open the socket {path}: {source}")]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Opens the socket. What a dead daemon left there is replaced.
///
/// It gets its mode under another name and is then moved into place, so it is never open to others.
pub async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let system = |source| SocketError::System { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(system)?;
    }
    check_free(path).await?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    remove(&aside).map_err(system)?;
    let listener = UnixListener::bind(&aside).map_err(system)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(MODE)).map_err(system)?;
    fs::rename(&aside, path).map_err(system)?;
    Ok(listener)
}

async fn check_free(path: &Path) -> Result<(), SocketError> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(SocketError::NoSocket { path: path.to_owned() }),
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err(SocketError::Taken { path: path.to_owned() }),
            Err(_) => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/meshd.sock");
        drop(bind(&path).await.unwrap());
        let live = bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(bind(&path).await, Err(SocketError::Taken { .. })));
        drop(live);
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside the socket");
    }

    #[tokio::test]
    async fn a_file_is_not_taken_for_a_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshd.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path).await, Err(SocketError::NoSocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
