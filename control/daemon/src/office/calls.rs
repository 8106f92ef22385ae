//! What a node that is to become a manager, or to stop being one, asks of the other managers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mesh_identity::LiveTls;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::rpc::client;
use crate::rpc::proto::managers_client::ManagersClient;
use crate::rpc::proto::{DepartRequest, EnterRequest, MembersRequest};

/// How long a manager may take to say who belongs to the group.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it may take until this node votes: all that the others know has to be sent first.
const ENTRY: Duration = Duration::from_mins(1);

/// How long a manager that starts waits for another to accept a connection, and then for a word against it. The
/// handshake in between has its own time: a busy machine takes long over it.
const GLANCE: Duration = Duration::from_millis(500);

/// How long a departure may take.
const DEPARTURE: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// This number was a member's before, and is nobody's again.
    #[error("the number that this manager drew was used before")]
    Used,
    /// The cluster does not want this node as a manager.
    #[error("{message}")]
    Denied {
        /// Words of the manager that was asked.
        message: String,
    },
    /// The same may succeed later.
    #[error("{message}")]
    Failed {
        /// Words of the manager that was asked last.
        message: String,
    },
}

/// Those who belong to the group, as far as raft has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Numbers of those who vote.
    pub voters: Vec<u64>,
    /// Where all are reached.
    pub addrs: BTreeMap<u64, SocketAddr>,
}

/// The way to the other managers.
#[derive(Clone)]
pub(super) struct Calls {
    /// Where managers answer.
    pub managers: watch::Receiver<Vec<SocketAddr>>,
    /// This node's own address as a manager; it is not asked.
    pub own: SocketAddr,
    /// What it shows and trusts.
    pub tls: LiveTls,
}

impl Calls {
    /// Asks who belongs to the group.
    pub async fn members(&self) -> Result<Group, CallError> {
        let members = self
            .ask(ANSWER, |mut client| async move { client.members(MembersRequest {}).await })
            .await?
            .members;
        let voters = members.iter().filter(|member| member.votes).map(|member| member.raft_id).collect();
        let addr = |text: &str| text.parse().ok();
        let addrs = members.iter().filter_map(|member| Some((member.raft_id, addr(&member.addr)?))).collect();
        Ok(Group { voters, addrs })
    }

    /// Asks to be a member that votes; returns when this node is one.
    pub async fn enter(&self, raft_id: u64) -> Result<(), CallError> {
        let request = EnterRequest { raft_id, addr: self.own.to_string() };
        let enter = |mut client: ManagersClient<Channel>| {
            let request = request.clone();
            async move { client.enter(request).await }
        };
        self.ask(ENTRY, enter).await.map(drop)
    }

    /// Says that this node is to be a member no more; returns when it is none.
    pub async fn depart(&self) -> Result<(), CallError> {
        let depart = |mut client: ManagersClient<Channel>| async move {
            client.depart(DepartRequest { force: false }).await
        };
        self.ask(DEPARTURE, depart).await.map(drop)
    }

    /// Whether another manager says, soon, that this node is none.
    pub async fn is_refused(&self) -> bool {
        let Ok(tls) = self.tls.client_config().map(Arc::new) else { return false };
        let managers = self.managers.borrow().clone();
        let others = managers.into_iter().filter(|manager| *manager != self.own);
        let mut words =
            others.map(|manager| word(manager, Arc::clone(&tls))).collect::<FuturesUnordered<_>>();
        while let Some(word) = words.next().await {
            if word.is_some_and(|status| status.code() == Code::PermissionDenied) {
                return true;
            }
        }
        false
    }

    /// Asks one manager after the other until one answers.
    async fn ask<T, F>(
        &self,
        patience: Duration,
        call: impl Fn(ManagersClient<Channel>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let tls = self.tls.client_config().map_err(|error| failed(error.to_string()))?;
        let mut managers = self.managers.borrow().clone();
        managers.retain(|manager| *manager != self.own);
        if managers.is_empty() {
            return Err(failed("no other manager is known".to_owned()));
        }
        // The leader's word, whoever passed it on.
        let last_word =
            |code| matches!(code, Code::AlreadyExists | Code::PermissionDenied | Code::FailedPrecondition);
        let call = |channel| call(ManagersClient::new(channel));
        let answered = client::ask(&managers, &Arc::new(tls), patience, last_word, call).await;
        answered.map_err(|status| {
            let message = status.message().to_owned();
            match status.code() {
                Code::AlreadyExists => CallError::Used,
                Code::PermissionDenied => CallError::Denied { message },
                _ => failed(message),
            }
        })
    }
}

/// What a manager has against this node as one; `None` when it has nothing, or says nothing soon.
async fn word(manager: SocketAddr, tls: Arc<ClientConfig>) -> Option<Status> {
    // One that is away must not hold this node up for long.
    drop(timeout(GLANCE, TcpStream::connect(manager)).await.ok()?.ok()?);
    let channel = client::connect(manager.to_string(), tls).await.ok()?;
    // One that has nothing against it passes the question on, which may take long.
    timeout(GLANCE, ManagersClient::new(channel).members(MembersRequest {})).await.ok()?.err()
}

fn failed(message: String) -> CallError {
    CallError::Failed { message }
}
