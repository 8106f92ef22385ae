//! What the agent knows, on disk: so that a restarted daemon serves on without a manager, never starts a
//! task twice, and gives every task the address it had.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use mesh_core::assignment::{AssignmentSet, Held};
use mesh_core::id::TaskId;
use mesh_core::object::{Task, TaskStatus};
use mesh_core::time::Timestamp;
use mesh_identity::files::write_private;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DaemonError;

/// Begins the file; the digit is the version of the form.
const MAGIC: &[u8; 8] = b"meshvw3\n";

/// Bytes of the checksum behind it.
const DIGEST: usize = 32;

/// What the agent knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// What the managers told last.
    pub set: AssignmentSet,
    /// Log index that this stands for; 0 before they told anything.
    pub version: u64,
    /// Tasks that are not forgotten yet, whether the managers still tell of them or not.
    pub tasks: BTreeMap<TaskId, SavedTask>,
    /// The address that was given last, so that they are given in rotation.
    pub last_dns_client: Option<Ipv4Addr>,
}

impl Saved {
    /// What it is of assignments; `None` before there were any.
    pub fn held(&self) -> Option<Held> {
        (self.version > 0).then(|| Held { version: self.version, digest: self.set.digest() })
    }
}

/// A task as the agent knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedTask {
    /// The task as the managers told it.
    pub task: Task,
    /// Its last status.
    pub status: TaskStatus,
    /// Address that its questions for names come from.
    pub dns_client: Option<Ipv4Addr>,
    /// Until when its connections have time to end, once it leaves.
    pub drains_until: Option<Timestamp>,
}

impl SavedTask {
    /// A task of which no more is known than what the managers told.
    pub fn told(task: Task) -> Self {
        Self { status: task.status.clone(), task, dns_client: None, drains_until: None }
    }
}

/// The file that holds it.
#[derive(Debug, Clone)]
pub struct SavedFile {
    path: PathBuf,
}

impl SavedFile {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the file; a missing one is empty, one that cannot be understood is an error.
    pub fn load(&self) -> Result<Saved, DaemonError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
            Err(source) => return Err(DaemonError::File { path: self.path.clone(), source }),
        };
        decode(&bytes)
            .map_err(|reason| DaemonError::Corrupt { path: self.path.clone(), reason: reason.to_owned() })
    }

    /// Replaces the file; on return it is on disk.
    pub async fn store(&self, saved: &Saved) -> Result<(), DaemonError> {
        let bytes = encode(saved).map_err(|error| DaemonError::part("writing the node's view", &error))?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write_private(&path, &bytes)).await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| DaemonError::File { path: self.path.clone(), source })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn encode(saved: &Saved) -> Result<Vec<u8>, postcard::Error> {
    let body = postcard::to_stdvec(saved)?;
    Ok([MAGIC.as_slice(), Sha256::digest(&body).as_slice(), &body].concat())
}

fn decode(bytes: &[u8]) -> Result<Saved, &'static str> {
    let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or("it is no view of this version of meshd")?;
    let (digest, body) = rest.split_at_checked(DIGEST).ok_or("it is cut short")?;
    if Sha256::digest(body).as_slice() != digest {
        return Err("its checksum is wrong");
    }
    postcard::from_bytes(body).map_err(|_| "it does not hold what it should")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::agent::samples;

    fn saved() -> Saved {
        let task = samples::task(1, 1);
        let entry = SavedTask {
            status: task.status.clone(),
            task,
            dns_client: Some(Ipv4Addr::new(198, 18, 1, 1)),
            drains_until: Some(Timestamp(9)),
        };
        Saved {
            set: samples::set(),
            version: 7,
            tasks: [(entry.task.id, entry)].into(),
            last_dns_client: Some(Ipv4Addr::new(198, 18, 1, 9)),
        }
    }

    #[tokio::test]
    async fn reads_back_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let file = SavedFile::new(dir.path().join("view"));
        assert_eq!(file.load().unwrap(), Saved::default());
        file.store(&saved()).await.unwrap();
        assert_eq!(file.load().unwrap(), saved());
    }

    #[tokio::test]
    async fn each_flipped_bit_and_each_cut_is_refused_by_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = SavedFile::new(dir.path().join("view"));
        file.store(&saved()).await.unwrap();
        let good = fs::read(file.path()).unwrap();
        let refused = |file: &SavedFile| {
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("view is corrupt"), "{error}");
        };
        let open = fs::File::options().write(true).open(file.path()).unwrap();
        for bit in 0..good.len() * 8 {
            let at = u64::try_from(bit / 8).unwrap();
            open.write_all_at(&[good[bit / 8] ^ (1 << (bit % 8))], at).unwrap();
            refused(&file);
            open.write_all_at(&good[bit / 8..=bit / 8], at).unwrap();
        }
        for length in (0..good.len()).rev() {
            open.set_len(u64::try_from(length).unwrap()).unwrap();
            refused(&file);
        }
    }
}
