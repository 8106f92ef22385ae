//! Keeps the node's certificate and the roots that it trusts as the cluster wants them: the certificate is
//! renewed in the second half of its life, and at once when the cluster wants another role or root of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_core::assignment::Standing;
use mesh_core::id::NodeId;
use mesh_core::spec::Role;
use mesh_identity::files::IdentityDir;
use mesh_identity::tls::NodeIdentity;
use mesh_identity::{
    CertificateRequest, IdentityError, LiveTls, Moment, Renewal, RenewalState, RootDigest, TrustBundle,
    compare_clocks, to_pem,
};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;

use crate::keys::Keys;
use crate::office::Post;
use crate::rpc::client;
use crate::rpc::proto::certificates_client::CertificatesClient;
use crate::rpc::proto::{RenewRequest, UsedRequest};
use crate::stop::{Stop, raised};

/// Waits before a step that failed is tried again: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long a manager may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A certificate that is old again, by this machine's clock, is not renewed again before this has passed,
const AGED: Duration = Duration::from_mins(1);

/// and one that is not what the cluster wants not before this.
const CHANGED: Duration = Duration::from_millis(500);

/// The machine's clock may be set: it is looked at this often.
const LOOK: Duration = Duration::from_mins(10);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}

/// Why a certificate is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its life goes towards its end.
    Age,
    /// The cluster wants the node to be something else.
    Role,
    /// Another root signs now.
    Root,
}

/// What a certificate needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing for this long.
    Later(Duration),
    /// To be renewed.
    Now(Reason),
}

/// What is known of the node when it is decided whether its certificate is to be renewed.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its certificate.
    pub own: &'a NodeIdentity,
    /// The trusted root that signed it.
    pub issuer: Option<RootDigest>,
    /// What the cluster wants; `None` as long as no manager told.
    pub standing: Option<&'a Standing>,
    /// It is a manager: as long as it is, it keeps that certificate.
    pub holds_office: bool,
}

impl Known<'_> {
    /// What the certificate needs at `now`. One that is over is tried to be renewed, too: managers take it for
    /// another hour, and say what to do after that.
    pub fn due(&self, now: Moment) -> Result<Due, IdentityError> {
        let peer = self.own.peer();
        if let Some(standing) = self.standing {
            let resigns = standing.role == Role::Worker && self.holds_office;
            if standing.role != peer.role && !resigns {
                return Ok(Due::Now(Reason::Role));
            }
            if self.issuer != Some(RootDigest(standing.signer)) {
                return Ok(Due::Now(Reason::Root));
            }
        }
        let plan = Renewal::plan(self.own.certificate(), peer.node.bits())?;
        Ok(match plan.state(now) {
            RenewalState::Later(wait) => Due::Later(wait),
            RenewalState::Due | RenewalState::Expired => Due::Now(Reason::Age),
        })
    }
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No manager did what it was asked for.
    #[error("{}", .0.message())]
    Manager(#[from] Status),
    /// A key, certificate or file cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A manager gave another node's certificate.
    #[error("the manager gave a certificate for node {node}")]
    Foreign {
        /// The other node.
        node: NodeId,
    },
}

/// What renewing needs of the node.
pub struct Renewing {
    /// Where certificate and key are kept.
    pub keys: Keys,
    /// Where the trusted roots are kept.
    pub files: IdentityDir,
    /// What the node shows and trusts.
    pub tls: LiveTls,
    /// Managers that it knows.
    pub managers: watch::Receiver<Vec<SocketAddr>>,
    /// What the cluster wants of it.
    pub standing: watch::Receiver<Option<Standing>>,
    /// How it stands as a manager.
    pub post: watch::Receiver<Post>,
    /// The time.
    pub clock: Clock,
    /// The certificate (PEM) that the managers know of.
    pub told: Option<String>,
}

/// What happened while there was nothing to do.
enum Waited {
    Stopped,
    Again,
}

impl Renewing {
    /// Runs until `stop` says so.
    pub async fn run(mut self, mut stop: Stop) {
        let mut wait = BACK_OFF.0;
        loop {
            let done = tokio::select! {
                () = raised(&mut stop) => return,
                done = self.step() => done,
            };
            let pause = match done {
                Ok(pause) => {
                    wait = BACK_OFF.0;
                    pause
                }
                Err(error) => {
                    tracing::info!(%error, "this node's certificate is not as the cluster wants it");
                    let pause = wait;
                    wait = (wait * 2).min(BACK_OFF.1);
                    pause
                }
            };
            if matches!(self.wait(pause, &mut stop).await, Waited::Stopped) {
                return;
            }
        }
    }

    /// Does what is due, and says how long nothing else is.
    pub async fn step(&mut self) -> Result<Duration, StepError> {
        let standing = self.standing.borrow_and_update().clone();
        if let Some(standing) = &standing {
            self.trust(&standing.trust)?;
        }
        let own = self.keys.identity();
        let holds_office = !matches!(*self.post.borrow_and_update(), Post::Vacant);
        let issuer = self.tls.trusted().issuer_of(own.certificate())?;
        let known = Known { own: &own, issuer, standing: standing.as_ref(), holds_office };
        match known.due(Moment::from((self.clock)()))? {
            Due::Now(reason) => {
                self.renew(reason).await?;
                self.tell().await?;
                Ok(if reason == Reason::Age { AGED } else { CHANGED })
            }
            Due::Later(wait) => {
                if standing.is_some() {
                    self.tell().await?;
                }
                Ok(wait.min(LOOK))
            }
        }
    }

    /// Trusts these roots from now on.
    fn trust(&self, pem: &str) -> Result<(), StepError> {
        let trust = TrustBundle::from_pem(pem)?;
        if trust != *self.tls.trusted() {
            self.files.save_trust(&trust)?;
            tracing::info!(roots = trust.roots().count(), "this node trusts other roots");
            self.tls.trust(trust)?;
        }
        Ok(())
    }

    async fn renew(&self, reason: Reason) -> Result<(), StepError> {
        let csr = CertificateRequest::create()?;
        let request = RenewRequest { certificate_request: csr.request_pem.clone() };
        let given = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.renew(request).await }
            })
            .await?;
        let identity = NodeIdentity::new(&given.certificate, &csr.key_pem)?;
        let node = self.keys.identity().peer().node;
        if identity.peer().node != node {
            return Err(StepError::Foreign { node: identity.peer().node });
        }
        // Trusted before it is shown: the cross-signed root goes with it.
        self.trust(&given.trust)?;
        self.keys.renew(identity.clone())?;
        self.tls.present(&identity);
        if let Err(clocks) = compare_clocks(Moment::from((self.clock)()), identity.peer().made()) {
            tracing::warn!(%clocks, "a certificate was renewed by another clock");
        }
        tracing::info!(?reason, role = identity.peer().role.as_str(), "this node has a new certificate");
        Ok(())
    }

    /// Tells the managers which certificate is on disk and shown now, unless they know.
    async fn tell(&mut self) -> Result<(), StepError> {
        let certificate = to_pem(self.keys.identity().certificate());
        if self.told.as_ref() == Some(&certificate) {
            return Ok(());
        }
        let request = UsedRequest { certificate: certificate.clone() };
        self.ask(|mut client| {
            let request = request.clone();
            async move { client.used(request).await }
        })
        .await?;
        self.told = Some(certificate);
        Ok(())
    }

    async fn ask<T, F>(
        &self,
        call: impl Fn(CertificatesClient<tonic::transport::Channel>) -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let managers = self.managers.borrow().clone();
        let tls = Arc::new(self.tls.client_config()?);
        let call = |channel| call(CertificatesClient::new(channel));
        Ok(client::ask(&managers, &tls, ANSWER, |_| false, call).await?)
    }

    /// Waits for as long, or until something that counts has changed.
    async fn wait(&mut self, pause: Duration, stop: &mut Stop) -> Waited {
        tokio::select! {
            () = raised(stop) => Waited::Stopped,
            changed = self.standing.changed() => match changed {
                Ok(()) => Waited::Again,
                Err(_) => Waited::Stopped,
            },
            changed = self.post.changed() => match changed {
                Ok(()) => Waited::Again,
                Err(_) => Waited::Stopped,
            },
            () = sleep(pause) => Waited::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::id::ClusterId;
    use mesh_identity::Authority;

    use super::*;

    const LIFE: Duration = Duration::from_hours(100);

    fn identity(authority: &Authority, role: Role, made: SystemTime) -> NodeIdentity {
        let request = CertificateRequest::create().unwrap();
        let subject = (NodeId::from_bits(1), role, ClusterId::from_bits(2));
        let certificate = authority.issue(&request.request_pem, subject, made, LIFE).unwrap();
        NodeIdentity::new(&certificate, &request.key_pem).unwrap()
    }

    fn standing(role: Role, root: &Authority) -> Standing {
        Standing { role, trust: root.root().pem().to_owned(), signer: root.root().digest().0 }
    }

    #[test]
    fn a_certificate_is_renewed_in_the_second_half_of_its_life_and_still_when_it_is_over() {
        let made = SystemTime::now();
        let authority = Authority::create(ClusterId::from_bits(2), made).unwrap();
        let own = identity(&authority, Role::Worker, made);
        let issuer = Some(authority.root().digest());
        let known = Known { own: &own, issuer, standing: None, holds_office: false };
        let at = |hours| known.due(Moment::from(made + Duration::from_hours(hours))).unwrap();
        let Due::Later(wait) = at(0) else { panic!("{:?}", at(0)) };
        assert!((LIFE / 2..=LIFE * 8 / 10).contains(&wait), "{wait:?}");
        assert!(matches!(at(49), Due::Later(_)));
        for hours in [81, 99, 101, 1000] {
            assert_eq!(at(hours), Due::Now(Reason::Age), "{hours}");
        }
        assert_eq!(known.due(Moment::from(made + wait)).unwrap(), Due::Now(Reason::Age));
    }

    #[test]
    fn another_role_or_root_is_asked_for_at_once_but_a_managers_role_stays_with_the_office() {
        let made = SystemTime::now();
        let (old, new) = [(); 2].map(|()| Authority::create(ClusterId::from_bits(2), made).unwrap()).into();
        let issuer = Some(old.root().digest());
        for (is, wanted, signer, holds_office, reason) in [
            (Role::Worker, Role::Worker, &old, false, None),
            (Role::Worker, Role::Manager, &old, false, Some(Reason::Role)),
            (Role::Worker, Role::Worker, &new, false, Some(Reason::Root)),
            (Role::Manager, Role::Manager, &old, true, None),
            (Role::Manager, Role::Worker, &old, true, None),
            (Role::Manager, Role::Worker, &new, true, Some(Reason::Root)),
            (Role::Manager, Role::Worker, &old, false, Some(Reason::Role)),
        ] {
            let own = identity(&old, is, made);
            let standing = standing(wanted, signer);
            let known = Known { own: &own, issuer, standing: Some(&standing), holds_office };
            let due = known.due(Moment::from(made)).unwrap();
            let found = match due {
                Due::Later(_) => None,
                Due::Now(reason) => Some(reason),
            };
            assert_eq!(found, reason, "{is:?} {wanted:?} {holds_office}");
        }
    }
}
