//! What the node remembers of its membership, in one file. No file: the node is in no cluster.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::Role;
use mesh_identity::files::{create_private_dir, write_private};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DaemonError;

const FORMAT: u32 = 1;

/// A node's membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What the node is to be, as far as it knows: it enters the managers, or leaves them, until it is that.
    #[serde(with = "role_name")]
    pub role: Role,
    /// Raft's number of this manager; set before raft's state is made, and until that is gone.
    #[serde(default)]
    pub raft_id: Option<u64>,
    /// Where a manager listens.
    pub listen_addr: SocketAddr,
    /// Address others reach this node at.
    pub advertise_addr: IpAddr,
    /// Port that others reach this node at when it is a manager; unset: the one that it listens on.
    #[serde(default)]
    pub advertise_port: Option<u16>,
    /// Address its tunnels end at.
    pub data_path_addr: IpAddr,
    /// Managers to hold sessions with.
    pub managers: Vec<SocketAddr>,
    /// The node was told to leave and is not done yet.
    pub leaving: bool,
    /// The manager was told to go on alone and is not done yet.
    #[serde(default)]
    pub forcing: bool,
}

impl Membership {
    /// Where others reach this node when it is a manager.
    pub fn manager_addr(&self) -> SocketAddr {
        let port = self.advertise_port.unwrap_or(self.listen_addr.port());
        SocketAddr::new(self.advertise_addr, port)
    }

    /// The role that the node's certificate has to have: a manager needs its own until it is none any more,
    /// since the others may need its vote to let it go.
    pub fn certificate_role(&self) -> Role {
        if self.raft_id.is_some() { Role::Manager } else { self.role }
    }
}

/// Roles as the API writes them.
mod role_name {
    use mesh_core::spec::Role;
    use serde::{Deserialize, Deserializer, Serializer};

    // Serde's `with` hands over a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub fn serialize<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(role.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
        let text = String::deserialize(deserializer)?;
        [Role::Worker, Role::Manager]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown role {text:?}")))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    format: u32,
    membership: Membership,
    /// [`checksum`] of it: a flipped bit may leave an address one, and another.
    sha256: String,
}

/// SHA-256 over the membership, in hexadecimal digits.
fn checksum(membership: &Membership) -> Result<String, serde_json::Error> {
    let digest = Sha256::digest(serde_json::to_vec(membership)?);
    let hex = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(hex.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect())
}

/// The directories and files of a node's state.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The state below `root` (the data directory).
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything of the cluster this node is in; removed as a whole when it leaves.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// Keys and certificates.
    pub fn identity(&self) -> mesh_identity::files::IdentityDir {
        mesh_identity::files::IdentityDir::new(self.cluster().join("identity"))
    }

    /// Raft's log and snapshots.
    pub fn raft(&self) -> PathBuf {
        self.cluster().join("raft")
    }

    /// The file of it.
    pub fn raft_file(&self) -> PathBuf {
        self.raft().join("state.redb")
    }

    /// What the agent was last told.
    pub fn view(&self) -> PathBuf {
        self.cluster().join("view")
    }

    fn file(&self) -> PathBuf {
        self.root.join("node.json")
    }

    /// Reads the membership; `None` when the node is in no cluster. A file that cannot be understood is an
    /// error and stays as it is.
    pub fn load(&self) -> Result<Option<Membership>, DaemonError> {
        let path = self.file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(DaemonError::Corrupt { path, reason: error.to_string() });
            }
            Err(source) => return Err(DaemonError::File { path, source }),
        };
        let file: StateFile = match serde_json::from_str(&text) {
            Ok(file) => file,
            Err(error) => return Err(DaemonError::Corrupt { path, reason: error.to_string() }),
        };
        if file.format != FORMAT {
            let reason = format!("format {} is unknown", file.format);
            return Err(DaemonError::Corrupt { path, reason });
        }
        match checksum(&file.membership) {
            Ok(sum) if sum == file.sha256 => Ok(Some(file.membership)),
            _ => Err(DaemonError::Corrupt { path, reason: "its checksum is wrong".to_owned() }),
        }
    }

    /// Writes the membership. The node is in the cluster from the moment this returns.
    pub fn save(&self, membership: &Membership) -> Result<(), DaemonError> {
        let path = self.file();
        let written = checksum(membership).and_then(|sha256| {
            let file = StateFile { format: FORMAT, membership: membership.clone(), sha256 };
            serde_json::to_vec_pretty(&file)
        });
        let text = written.map_err(|error| DaemonError::part("writing the node's state", &error))?;
        write_private(&path, &text).map_err(|source| DaemonError::File { path, source })
    }

    /// Forgets the cluster: first what belongs to it, then the membership itself, so that a daemon killed
    /// in between still knows that it is leaving.
    pub fn forget(&self) -> Result<(), DaemonError> {
        self.clear_cluster()?;
        let path = self.file();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DaemonError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Removes what an init or a join that was never finished has left.
    pub fn clear_cluster(&self) -> Result<(), DaemonError> {
        remove_dir(self.cluster())
    }

    /// Removes a manager's log and snapshots.
    pub fn clear_raft(&self) -> Result<(), DaemonError> {
        remove_dir(self.raft())
    }

    /// Makes the data directory.
    pub fn create(&self) -> Result<(), DaemonError> {
        create_private_dir(&self.root).map_err(|source| DaemonError::File { path: self.root.clone(), source })
    }
}

fn remove_dir(path: PathBuf) -> Result<(), DaemonError> {
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DaemonError::File { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn membership() -> Membership {
        Membership {
            node: NodeId::from_bits(1),
            cluster: ClusterId::from_bits(2),
            role: Role::Manager,
            raft_id: Some(1),
            listen_addr: ([0, 0, 0, 0], 2377).into(),
            advertise_addr: [192, 0, 2, 11].into(),
            advertise_port: Some(2377),
            data_path_addr: [192, 0, 2, 11].into(),
            managers: vec![([192, 0, 2, 11], 2377).into()],
            leaving: false,
            forcing: false,
        }
    }

    #[test]
    fn is_remembered_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        assert_eq!(state.load().unwrap(), None);
        state.save(&membership()).unwrap();
        fs::create_dir_all(state.raft()).unwrap();
        assert_eq!(state.load().unwrap(), Some(membership()));
        state.forget().unwrap();
        assert_eq!(state.load().unwrap(), None);
        assert!(!state.cluster().exists());
        state.forget().unwrap();
    }

    #[test]
    fn a_corrupt_file_is_refused_by_its_path_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        state.save(&membership()).unwrap();
        let good = fs::read_to_string(state.file()).unwrap();
        let cut = &good[..good.len() / 2];
        let newer = good.replace("\"format\": 1", "\"format\": 2");
        for bytes in ["", "{}", "\u{0}\u{0}", cut, newer.as_str(), &good.replace("manager\"", "boss\"")] {
            fs::write(state.file(), bytes).unwrap();
            let error = state.load().unwrap_err();
            assert!(matches!(error, DaemonError::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains("node.json"), "{error}");
            assert_eq!(fs::read_to_string(state.file()).unwrap(), bytes);
        }
        fs::write(state.file(), [0xff, 0xfe]).unwrap();
        assert!(matches!(state.load(), Err(DaemonError::Corrupt { .. })));
    }

    #[test]
    fn a_flipped_bit_is_refused_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        state.save(&membership()).unwrap();
        let good = fs::read(state.file()).unwrap();
        let file = fs::File::options().write(true).open(state.file()).unwrap();
        let mut refused = 0;
        for bit in 0..good.len() * 8 {
            let at = u64::try_from(bit / 8).unwrap();
            file.write_all_at(&[good[bit / 8] ^ (1 << (bit % 8))], at).unwrap();
            match state.load() {
                Ok(found) => assert_eq!(found, Some(membership()), "bit {bit}"),
                Err(DaemonError::Corrupt { .. }) => refused += 1,
                Err(error) => panic!("bit {bit}: {error}"),
            }
            file.write_all_at(&good[bit / 8..=bit / 8], at).unwrap();
        }
        assert!(refused * 2 > good.len() * 8, "{refused} refused");
    }
}
