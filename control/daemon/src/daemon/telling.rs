//! What the node tells of itself.

use std::sync::Arc;

use mesh_core::spec::Role;
use mesh_identity::{JoinToken, TrustBundle};

use super::{Daemon, JoinTokens, LocalState, NodeInfo, Status};
use crate::agent::session::SessionState;
use crate::describe::describe;
use crate::error::DaemonError;
use crate::member::Member;
use crate::office::{Post, Serving};

impl Daemon {
    /// This node, as it sees itself.
    pub fn info(&self) -> NodeInfo {
        let mut membership = None;
        let (state, member) = match &*self.status() {
            Status::Inactive | Status::Changing => (LocalState::Inactive, None),
            Status::Joining { error, .. } => (LocalState::Pending { error: error.clone() }, None),
            Status::Active(member) => (LocalState::Active, Some(Arc::clone(member))),
            Status::Locked(locked) => {
                membership = Some(locked.membership.clone());
                (LocalState::Locked, None)
            }
        };
        let state = member.as_deref().and_then(hindrance).map_or(state, |error| LocalState::Error { error });
        let membership = member.as_ref().map(|member| member.record().now()).or(membership);
        NodeInfo {
            state,
            node: membership.as_ref().map(|membership| membership.node),
            cluster: membership.as_ref().map(|membership| membership.cluster),
            role: member.as_deref().map(role_of),
            addr: membership.as_ref().map(|membership| membership.advertise_addr),
            managers: membership.map(|membership| membership.managers).unwrap_or_default(),
            description: describe(),
            running_tasks: member.map_or(0, |member| member.agent().state.borrow().running),
        }
    }

    /// Both join tokens, from the store.
    pub fn join_tokens(&self) -> Result<JoinTokens, DaemonError> {
        let store = self.manager()?.store();
        let cluster = store.cluster().ok_or(DaemonError::NoCluster)?;
        let root = TrustBundle::from_pem(&cluster.trust)?.named();
        let whole = |secret: &str| -> Result<String, DaemonError> {
            Ok(JoinToken { root, secret: secret.parse()? }.to_string())
        };
        Ok(JoinTokens {
            worker: whole(cluster.worker_token.expose())?,
            manager: whole(cluster.manager_token.expose())?,
        })
    }
}

/// Manager as soon as it is one that can be asked, and as long as it is one.
fn role_of(member: &Member) -> Role {
    match &*member.office().post().borrow() {
        Post::Held(_) | Post::Closed { .. } => Role::Manager,
        Post::Vacant | Post::Entering { .. } => Role::Worker,
    }
}

/// What keeps a member from working.
fn hindrance(member: &Member) -> Option<String> {
    match &*member.office().post().borrow() {
        Post::Closed { error } => {
            return Some(DaemonError::ManagerClosed { error: error.clone() }.to_string());
        }
        Post::Entering { error } if !error.is_empty() => {
            return Some(format!("this node is to be a manager and is not one yet: {error}"));
        }
        Post::Held(Serving { raft, .. }) => {
            if let Some(alarm) = &raft.role().borrow().alarm {
                return Some(alarm.to_string());
            }
        }
        Post::Vacant | Post::Entering { .. } => {}
    }
    match &*member.session().borrow() {
        SessionState::Lost { error } => Some(error.clone()),
        SessionState::Open { .. } => None,
    }
}
