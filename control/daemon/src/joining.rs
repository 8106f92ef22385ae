//! Joining: from a token to a certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::spec::Availability;
use mesh_identity::tls::{NodeIdentity, joiner_config};
use mesh_identity::{CertificateRequest, IdentityError, JoinToken, LiveTls, TrustBundle};
use tonic::Code;

use crate::addresses::Addresses;
use crate::describe::describe;
use crate::error::{DaemonError, chain};
use crate::rpc::proto::join_client::JoinClient;
use crate::rpc::proto::{JoinRequest, JoinResponse};
use crate::rpc::{JOIN_MESSAGE_MAX, client, envelope};
use crate::state::Membership;

/// How long a manager may take to let a node in.
const ANSWER: Duration = Duration::from_secs(10);

/// Waits between rounds over all managers: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Whom to ask, and with what.
#[derive(Debug, Clone)]
pub struct Application {
    /// Managers, `HOST:PORT`.
    pub remotes: Vec<String>,
    /// The token.
    pub token: JoinToken,
    /// This node's addresses.
    pub addresses: Addresses,
    /// Why it does not listen for other nodes yet, as one that is to be a manager must.
    pub unheard: Option<String>,
    /// Whether it takes tasks.
    pub availability: Availability,
    /// What a node shows that comes back, because its certificate is over; `None` for a machine that is no node
    /// yet.
    pub back: Option<LiveTls>,
}

/// What a manager gave.
#[derive(Debug)]
pub struct Admission {
    /// The membership.
    pub membership: Membership,
    /// Certificate and key.
    pub identity: NodeIdentity,
    /// The roots it trusts.
    pub trust: TrustBundle,
}

/// Why one attempt did not succeed.
enum Attempt {
    /// The same may succeed later.
    Later(String),
    /// It never will.
    Never(DaemonError),
}

impl Application {
    /// Asks the managers in turn until one lets this node in, or refuses it for good. `failed` hears the
    /// words of each attempt that did not succeed.
    pub async fn pursue(&self, failed: impl Fn(String)) -> Result<Admission, DaemonError> {
        // The same for all of them: whoever let this machine in without being heard knows it again.
        let csr = CertificateRequest::create()?;
        let mut wait = BACK_OFF.0;
        loop {
            for remote in &self.remotes {
                match self.ask(remote, &csr).await {
                    Ok(admission) => return Ok(admission),
                    Err(Attempt::Never(error)) => return Err(error),
                    Err(Attempt::Later(error)) => {
                        tracing::info!(remote, error, "not joined yet");
                        failed(error);
                    }
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    async fn ask(&self, remote: &str, csr: &CertificateRequest) -> Result<Admission, Attempt> {
        let tls = joiner_config(self.token.root, self.back.as_ref())
            .map_err(|error| Attempt::Never(error.into()))?;
        let connected = client::connect(remote.to_owned(), Arc::new(tls)).await;
        let channel = connected.map_err(|error| unconnected(remote, &error))?;
        let mut client = JoinClient::new(channel).max_decoding_message_size(JOIN_MESSAGE_MAX);
        let request = self.request(csr).map_err(Attempt::Never)?;
        let answered = tokio::time::timeout(ANSWER, client.join(request)).await;
        match answered {
            Ok(Ok(response)) => self.admitted(response.get_ref(), csr).map_err(Attempt::Never),
            Ok(Err(status)) if passing(status.code()) => {
                Err(Attempt::Later(format!("{remote}: {}", status.message())))
            }
            Ok(Err(status)) => Err(refused(remote, &self.explained(&status))),
            Err(_) => Err(Attempt::Later(format!("{remote} does not answer"))),
        }
    }

    fn request(&self, csr: &CertificateRequest) -> Result<JoinRequest, DaemonError> {
        let sealed = |error: envelope::EnvelopeError| DaemonError::part("join", &error);
        Ok(JoinRequest {
            secret: self.token.secret.to_string(),
            certificate_request: csr.request_pem.clone(),
            description: Some(envelope::seal("the node's description", &describe()).map_err(sealed)?),
            advertise_addr: self.addresses.advertise.to_string(),
            data_path_addr: self.addresses.data_path.to_string(),
            manager_addr: if self.unheard.is_none() {
                self.manager_addr().to_string()
            } else {
                String::new()
            },
            availability: Some(
                envelope::seal("the node's availability", &self.availability).map_err(sealed)?,
            ),
        })
    }

    /// A manager cannot know why this node does not listen.
    fn explained(&self, status: &tonic::Status) -> String {
        match &self.unheard {
            Some(unheard) if status.code() == Code::FailedPrecondition => {
                format!("{}: {unheard}", status.message())
            }
            _ => status.message().to_owned(),
        }
    }

    fn manager_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addresses.advertise, self.addresses.advertise_port)
    }

    /// Checks what the manager gave: the token's root must be among those it trusts, the certificate must fit
    /// the key.
    fn admitted(&self, given: &JoinResponse, csr: &CertificateRequest) -> Result<Admission, DaemonError> {
        let trust = TrustBundle::from_pem(&given.trust)?;
        if trust.root(self.token.root).is_none() {
            return Err(IdentityError::ForeignRoot { expected: self.token.root.to_string() }.into());
        }
        let identity = NodeIdentity::new(&given.certificate, &csr.key_pem)?;
        let peer = identity.peer();
        let membership = Membership {
            node: peer.node,
            cluster: peer.cluster,
            role: peer.role,
            raft_id: None,
            listen_addr: self.addresses.listen,
            advertise_addr: self.addresses.advertise,
            advertise_port: Some(self.addresses.advertise_port),
            data_path_addr: self.addresses.data_path,
            managers: given.managers.iter().filter_map(|addr| addr.parse().ok()).collect(),
            leaving: false,
            forcing: false,
        };
        Ok(Admission { membership, identity, trust })
    }
}

/// Whether the same may be answered otherwise later.
fn passing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted
    )
}

fn refused(remote: &str, message: &str) -> Attempt {
    Attempt::Never(DaemonError::JoinRefused { remote: remote.to_owned(), message: message.to_owned() })
}

/// A manager that shows the wrong certificates will not show others later; one that is not there may come.
fn unconnected(remote: &str, error: &tonic::transport::Error) -> Attempt {
    match client::tls_error(error) {
        Some(rustls::Error::General(words)) => refused(remote, words),
        Some(other) => refused(remote, &client::explained(other, None)),
        None => Attempt::Later(format!("{remote}: {}", chain(error))),
    }
}
