//! Becoming a node of a cluster: the request, the attempt that goes on in the background, and its end.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_core::spec::Role;
use mesh_identity::JoinToken;
use tokio::net::TcpListener;

use super::{Daemon, Inner, JOIN_PATIENCE, JoinRequest, Status, served};
use crate::addresses;
use crate::error::DaemonError;
use crate::joining::{Admission, Application};
use crate::keys::Keys;
use crate::member::{self, Member};
use crate::office::{self, ManagerStart, Post};

impl Daemon {
    /// Joins a cluster, or comes back to it after too long a time; returns when a manager serves this node, and
    /// this node is one if it is to be, or with [`DaemonError::JoinTimeout`] after 20 s while the attempt goes
    /// on.
    pub async fn join(&self, request: JoinRequest) -> Result<(), DaemonError> {
        let token: JoinToken = request.token.parse()?;
        let addresses =
            self.addresses(&[&request.listen_addr, &request.advertise_addr, &request.data_path_addr])?;
        let remotes: Vec<String> =
            request.remotes.iter().map(|text| addresses::remote(text)).collect::<Result<_, _>>()?;
        if remotes.is_empty() {
            let reason = "name at least one manager, ADDR[:PORT]".to_owned();
            return Err(DaemonError::InvalidField { field: "RemoteAddrs", value: String::new(), reason });
        }
        let application = Application {
            remotes,
            token,
            addresses,
            unheard: None,
            availability: request.availability,
            back: None,
        };
        if let Some(member) = self.lapsed(SystemTime::now()) {
            return self.come_back(member, application).await;
        }
        self.begin()?;
        // A manager is to be reached before it is let in, and the token does not say what it makes of the node.
        let listener = office::listen(application.addresses.listen).await;
        let unheard = listener.as_ref().err().map(DaemonError::to_string);
        let application = Application { unheard, ..application };
        let (told, outcome) = tokio::sync::oneshot::channel();
        let daemon = self.clone();
        let (go, gone) = tokio::sync::oneshot::channel();
        let attempt = tokio::spawn(async move {
            // The status must say that a join is under way before the join can end it.
            let _ = gone.await;
            let joined = daemon.pursue(application, listener).await;
            match &joined {
                Ok(()) | Err(DaemonError::NotMember) => {}
                Err(error) => {
                    tracing::warn!(%error, "this node did not join");
                    daemon.set(Status::Inactive);
                }
            }
            // Nobody hears it when the request was answered already.
            let _ = told.send(joined);
        });
        self.set(Status::Joining { error: String::new(), attempt });
        let _ = go.send(());
        match tokio::time::timeout(JOIN_PATIENCE, outcome).await {
            Ok(Ok(joined)) => joined,
            Ok(Err(error)) => Err(DaemonError::part("join", &error)),
            Err(_) => Err(DaemonError::JoinTimeout),
        }
    }

    async fn pursue(
        &self,
        application: Application,
        listener: Result<TcpListener, DaemonError>,
    ) -> Result<(), DaemonError> {
        let daemon = self.clone();
        let admitted = application
            .pursue(move |words| {
                if let Status::Joining { error, .. } = &mut *daemon.status() {
                    *error = words;
                }
            })
            .await;
        let (Admission { membership, identity, trust }, manager) = match (admitted, listener) {
            (Ok(admission), _) if admission.membership.role == Role::Worker => {
                (admission, ManagerStart::None)
            }
            (Ok(admission), Ok(listener)) => (admission, ManagerStart::Enter { listener }),
            (Ok(_), Err(unheard)) => return Err(unheard),
            (Err(error), _) => return Err(error),
        };
        if !self.admitted() {
            // It was told to leave at the very moment it was let in.
            return Err(DaemonError::NotMember);
        }
        let Inner { config, state, .. } = &*self.inner;
        state.clear_cluster()?;
        state.identity().save_trust(&trust)?;
        let keys = Keys::joined(state.identity(), identity)?;
        state.save(&membership)?;
        match Member::start(config, state, membership, keys, manager, &self.inner.api).await {
            Ok(member) => {
                let member = Arc::new(member);
                self.set(Status::Active(Arc::clone(&member)));
                served(&member, JOIN_PATIENCE).await;
                seated(&member).await;
                Ok(())
            }
            Err(error) => {
                member::clear(config, None).await;
                state.forget()?;
                Err(error)
            }
        }
    }

    /// A join can no longer be taken back from here on; false when it was.
    fn admitted(&self) -> bool {
        let mut status = self.status();
        let joining = matches!(*status, Status::Joining { .. });
        if joining {
            *status = Status::Changing;
        }
        joining
    }
}

/// Waits until a node that is to be a manager is one; the caller bounds it.
async fn seated(member: &Member) {
    let mut post = member.office().post();
    // An error says that the office has ended.
    drop(post.wait_for(|post| !matches!(post, Post::Entering { .. })).await);
}
