//! Who may call what. One table says for each call whether it is for anyone, for the nodes of the cluster or
//! for its managers; one layer in front of all services decides by it, and a service finds the [`Caller`] in
//! its request. A call that is not in the table is refused.
//!
//! A certificate says who somebody is, the store says whether that node is still one of the cluster, and
//! still wanted as a manager: a node that is removed is refused from that moment on, and what it has open ends
//! ([`layer`]). What a manager passes on for another node is that node's call, not the manager's.

pub mod layer;
#[cfg(test)]
mod tests;

use axum::http::HeaderValue;
use mesh_core::id::{ClusterId, NodeId};
use mesh_core::object::Node;
use mesh_core::spec::Role;
use mesh_core::store::Store;
use mesh_identity::{Moment, PeerIdentity, Refusal};
use tonic::Status;

pub use self::layer::Gate;
use super::forward::{API_PREFIX, NOBODY};

/// For whom a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For everybody. A node that shows its certificate, even one that is over, is known by it, and refused when
    /// it was removed.
    Anyone,
    /// For nodes of the cluster.
    Node,
    /// For nodes that the cluster wants as managers.
    Manager,
    /// For members of raft. Whom raft hears under which number is its own to say; here those are kept out who are
    /// surely none: nodes that the store does not want as managers, in the eyes of a manager that knows its
    /// leader. One that does not may have missed much: it takes the word of any that shows a manager's certificate.
    Member,
}

/// Every call there is.
const TABLE: &[(&str, Access)] = &[
    ("/mesh.v1.Join/Join", Access::Anyone),
    ("/mesh.v1.Certificates/Renew", Access::Node),
    ("/mesh.v1.Certificates/Used", Access::Node),
    ("/mesh.v1.Dispatcher/Session", Access::Node),
    ("/mesh.v1.Managers/Members", Access::Manager),
    ("/mesh.v1.Managers/Enter", Access::Manager),
    ("/mesh.v1.Managers/Depart", Access::Manager),
    ("/mesh.v1.Guide/Show", Access::Member),
    ("/mesh.v1.Raft/Messages", Access::Member),
    ("/mesh.v1.Raft/Snapshot", Access::Member),
];

impl Access {
    /// For whom the call of this path is; `None` when there is no such call.
    pub fn of(path: &str) -> Option<Self> {
        let api = path.strip_prefix(API_PREFIX).is_some_and(|rest| rest.starts_with('/'));
        let listed = TABLE.iter().find(|(call, _)| *call == path).map(|(_, access)| *access);
        listed.or(api.then_some(Self::Manager))
    }
}

/// The node that a request comes from, whichever manager passed it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The node.
    pub node: NodeId,
    /// What its certificate makes of it.
    pub role: Role,
}

/// The node that a request comes from; refused when it comes from nobody. To be used behind the layer.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().copied().ok_or_else(|| Denied::Nobody.into())
}

/// A call as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is called.
    pub path: &'a str,
    /// The certificate of who is at the other end of the connection; TLS has verified its chain, not its life.
    pub certificate: Option<&'a PeerIdentity>,
    /// What the header [`ON_BEHALF_OF`](super::forward::ON_BEHALF_OF) says.
    pub on_behalf: Option<&'a HeaderValue>,
}

/// Why a call is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such call.
    #[error("there is no call {path}")]
    Unknown {
        /// What was called.
        path: String,
    },
    /// No certificate was shown.
    #[error("this call needs the certificate of a node")]
    Nobody,
    /// The certificate is another cluster's.
    #[error("the certificate belongs to another cluster")]
    Foreign,
    /// The certificate is over.
    #[error(
        "this node's certificate is over: it ended at {ends}, and the manager's clock says {now}. Let the node \
         come back with `meshctl swarm join --token TOKEN MANAGER` on it; if it is not over, one of the clocks \
         is wrong"
    )]
    Expired {
        /// Its end, by its issuer's clock.
        ends: Moment,
        /// This manager's clock.
        now: Moment,
    },
    /// The certificate is of the future.
    #[error("{0}")]
    Early(Refusal),
    /// The node is not in the store.
    #[error("node {node} is not in the cluster: it was removed, and has to leave and to join again")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// The certificate is a worker's.
    #[error("this call needs the certificate of a manager")]
    Worker,
    /// The cluster does not want the node as a manager.
    #[error("node {node} is a manager no longer")]
    Demoted {
        /// The node.
        node: NodeId,
    },
    /// Whoever passed the call on may not do so any more; the caller itself is not meant, and asks another.
    #[error("node {node}, which passed this on, is a manager no longer: ask another")]
    Speaker {
        /// Who passed it on.
        node: NodeId,
    },
    /// A manager speaks for a node that has no such name.
    #[error("a call on behalf of {text:?}, which is no node")]
    Unreadable {
        /// What it said.
        text: String,
    },
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let words = denied.to_string();
        match denied {
            Denied::Unknown { .. } => Self::unimplemented(words),
            Denied::Nobody | Denied::Expired { .. } | Denied::Early(_) => Self::unauthenticated(words),
            Denied::Foreign | Denied::Removed { .. } | Denied::Worker | Denied::Demoted { .. } => {
                Self::permission_denied(words)
            }
            Denied::Speaker { .. } => Self::unavailable(words),
            Denied::Unreadable { .. } => Self::invalid_argument(words),
        }
    }
}

/// A call that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Whose call it is; `None` is nobody's.
    pub caller: Option<Caller>,
    /// On what that rests; of a call that was passed on, who did so comes first.
    rests_on: Vec<(Caller, Access)>,
    /// Whether the header [`ON_BEHALF_OF`](super::forward::ON_BEHALF_OF) was believed.
    pub passed_on: bool,
}

impl Admitted {
    /// Whether it would still be served, by this store. Certificates are looked at once, when the call comes.
    pub fn stands(&self, store: &Store) -> Result<(), Denied> {
        let speaker = self.rests_on.first().filter(|_| self.passed_on);
        speaker.map_or(Ok(()), |(speaker, _)| check_speaker(store, *speaker))?;
        self.rests_on.iter().try_for_each(|(caller, access)| check(store, *caller, *access))
    }
}

/// What a manager knows of its cluster.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its store, as far as this manager has it.
    pub store: &'a Store,
    /// Raft's number of the leader.
    pub leader: Option<u64>,
}

impl View<'_> {
    fn knows_leader(&self) -> bool {
        let leads = |node: &Node| node.manager.as_ref().map(|manager| manager.raft_id) == self.leader;
        self.leader.is_some() && self.store.nodes().any(|node| leads(node))
    }
}

/// Decides over a call.
pub fn admit(view: View<'_>, call: Call<'_>, now: Moment) -> Result<Admitted, Denied> {
    let store = view.store;
    let access = Access::of(call.path).ok_or_else(|| Denied::Unknown { path: call.path.to_owned() })?;
    let peer = call.certificate.map(|certificate| known(certificate, view.cluster, now)).transpose()?;
    if let (Some((speaker, Ok(()))), Some(header)) = (&peer, call.on_behalf)
        && access != Access::Member
        && speaker.role == Role::Manager
    {
        check_speaker(store, *speaker)?;
        let caller = spoken_for(store, header)?;
        let admitted = admit_caller(view, caller.map(|caller| (caller, Ok(()))), access)?;
        let rests_on = [vec![(*speaker, Access::Manager)], admitted.rests_on].concat();
        return Ok(Admitted { rests_on, passed_on: true, ..admitted });
    }
    admit_caller(view, peer, access)
}

type Known = (Caller, Result<(), Denied>);

/// Who shows this certificate, and whether it is valid now.
fn known(certificate: &PeerIdentity, cluster: ClusterId, now: Moment) -> Result<Known, Denied> {
    if certificate.cluster != cluster {
        return Err(Denied::Foreign);
    }
    let valid = certificate.check_life(now).map_err(|refusal| match refusal {
        Refusal::Expired { ends, now } => Denied::Expired { ends, now },
        other => Denied::Early(other),
    });
    Ok((Caller { node: certificate.node, role: certificate.role }, valid))
}

/// Whom a manager speaks for. That manager has looked at the certificate.
fn spoken_for(store: &Store, header: &HeaderValue) -> Result<Option<Caller>, Denied> {
    let unreadable = || Denied::Unreadable { text: String::from_utf8_lossy(header.as_bytes()).into_owned() };
    let text = header.to_str().map_err(|_| unreadable())?;
    if text == NOBODY {
        return Ok(None);
    }
    let node: NodeId = text.parse().map_err(|_| unreadable())?;
    let manages = store.node(node).is_some_and(|node| is_wanted(node));
    Ok(Some(Caller { node, role: if manages { Role::Manager } else { Role::Worker } }))
}

fn admit_caller(view: View<'_>, peer: Option<Known>, access: Access) -> Result<Admitted, Denied> {
    let (store, passed_on) = (view.store, false);
    if access == Access::Anyone {
        let caller = peer.map(|(caller, _)| caller);
        caller.map_or(Ok(()), |caller| check(store, caller, Access::Node))?;
        return Ok(Admitted { caller, rests_on: Vec::new(), passed_on });
    }
    let (caller, valid) = peer.ok_or(Denied::Nobody)?;
    valid?;
    if access == Access::Member {
        if view.knows_leader() || caller.role != Role::Manager {
            check(store, caller, Access::Manager)?;
        }
        return Ok(Admitted { caller: Some(caller), rests_on: Vec::new(), passed_on });
    }
    check(store, caller, access)?;
    Ok(Admitted { caller: Some(caller), rests_on: vec![(caller, access)], passed_on })
}

/// Whether the store lets a manager speak for others.
fn check_speaker(store: &Store, speaker: Caller) -> Result<(), Denied> {
    check(store, speaker, Access::Manager).map_err(|_| Denied::Speaker { node: speaker.node })
}

/// Whether the store has the caller as what `access` asks for. A manager that enters has an empty store; the
/// managers that fill it are known by their certificates.
fn check(store: &Store, caller: Caller, access: Access) -> Result<(), Denied> {
    let wants_manager = access == Access::Manager;
    if wants_manager && caller.role != Role::Manager {
        return Err(Denied::Worker);
    }
    if store.cluster().is_none() && caller.role == Role::Manager {
        return Ok(());
    }
    let node = store.node(caller.node).ok_or(Denied::Removed { node: caller.node })?;
    if wants_manager && !is_wanted(node) {
        return Err(Denied::Demoted { node: caller.node });
    }
    Ok(())
}

/// Whether a node is to be a manager, or is one of those who vote.
fn is_wanted(node: &Node) -> bool {
    node.spec.role == Role::Manager || node.manager.is_some()
}
