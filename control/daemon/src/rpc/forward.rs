//! Passing requests on to the manager that leads: whole, over mutual TLS, with bodies and trailers streaming
//! both ways.
//!
//! Only the leader acts; every other manager hands it what it is asked. A request is sent once at most: it is
//! sent again only when nothing of it can have left this manager. When another manager leads, or the leader
//! falls silent, requests under way fail within about a second and their callers move on.

mod link;
mod passing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::stop::raised;
use axum::body::Body;
use axum::http::uri::{Authority, Scheme};
use axum::http::{Extensions, HeaderValue, Request, Response, Version};
use hyper::client::conn::http2::SendRequest;
use mesh_core::id::NodeId;
use mesh_raft::{Members, Raft, Role, RoleState};
use rustls::ClientConfig;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::link::Link;
pub use self::passing::pass_on;

/// Names the node that a manager speaks for: its identifier, or [`NOBODY`]. Believed from managers alone; a
/// request that has it was passed on already, and is not passed on again.
pub const ON_BEHALF_OF: &str = "mesh-on-behalf-of";

/// Value of [`ON_BEHALF_OF`] for a caller that showed no certificate.
pub const NOBODY: &str = "nobody";

/// Before the paths of the API for users, where managers serve it to each other.
pub const API_PREFIX: &str = "/mesh.api";

/// How long a request waits for a leader that can be reached.
const PATIENCE: Duration = Duration::from_secs(2);

/// Wait before a leader that does not accept connections is dialled again.
const REDIAL: Duration = Duration::from_millis(50);

/// A request that was not answered by the leader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It was not sent to anybody.
    #[error(
        "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half \
         of the managers are online."
    )]
    NoLeader,
    /// It was not sent to anybody.
    #[error("the manager that leads, at {addr}, cannot be reached: {error}: try again")]
    Unreached {
        /// The leader's address.
        addr: SocketAddr,
        /// The last error.
        error: String,
    },
    /// It was sent, and no answer came.
    #[error("the manager that leads went away before it answered: it is not known whether this was done")]
    Broken,
}

/// Connections of their own, so that slow readers of one kind do not hold up the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Calls of nodes.
    Nodes,
    /// Requests of users.
    Users,
}

/// What became of a request.
#[derive(Debug)]
pub enum Passed {
    /// This manager leads: it is its own to answer.
    Here(Request<Body>),
    /// The leader's answer.
    Answered(Response<Body>),
}

/// The manager that leads, and is not this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leader {
    id: u64,
    addr: SocketAddr,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    There(Leader),
}

/// The way to the manager that leads; clones share its connections.
#[derive(Clone)]
pub struct ToLeader {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    tls: Arc<ClientConfig>,
    nodes: Mutex<Option<Link>>,
    users: Mutex<Option<Link>>,
    /// Raised when all connections are to end; they end with the sender, too.
    closed: watch::Sender<bool>,
}

impl ToLeader {
    /// The way of the manager whose raft and TLS these are.
    pub fn new(raft: Raft, tls: Arc<ClientConfig>) -> Self {
        let (nodes, users) = (Mutex::new(None), Mutex::new(None));
        Self { inner: Arc::new(Inner { raft, tls, nodes, users, closed: watch::channel(false).0 }) }
    }

    /// Ends what is under way; nothing is passed on any more.
    pub fn close(&self) {
        self.inner.closed.send_replace(true);
    }

    /// Lets go of a connection: the next request dials anew, with the certificate that the node has by then.
    pub async fn hang_up(&self, lane: Lane) {
        self.link(lane).lock().await.take();
    }

    fn link(&self, lane: Lane) -> &Mutex<Option<Link>> {
        match lane {
            Lane::Nodes => &self.inner.nodes,
            Lane::Users => &self.inner.users,
        }
    }

    /// Hands a request to the leader, or back when this manager leads. `caller` is told to the leader, as the
    /// value of [`ON_BEHALF_OF`].
    pub async fn pass(
        &self,
        lane: Lane,
        mut request: Request<Body>,
        caller: Option<HeaderValue>,
    ) -> Result<Passed, ForwardError> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = ForwardError::NoLeader;
        loop {
            let leader = match self.place(deadline).await {
                Some(Place::Here) => return Ok(Passed::Here(request)),
                _ if *self.inner.closed.borrow() => return Err(ForwardError::NoLeader),
                Some(Place::There(leader)) if Instant::now() < deadline => leader,
                Some(Place::There(_)) | None => return Err(last),
            };
            let mut sender = match self.sender(lane, leader, deadline).await {
                Ok(sender) => sender,
                Err(error) => {
                    last = error;
                    self.moved(leader, Instant::now() + REDIAL).await;
                    continue;
                }
            };
            let (outgoing, kept) = outgoing(request, caller.as_ref());
            match sender.try_send_request(outgoing).await {
                Ok(response) => return Ok(Passed::Answered(response.map(Body::new))),
                Err(mut error) => {
                    let Some(unsent) = error.take_message() else {
                        tracing::debug!(error = %error.into_error(), "a request that was passed on failed");
                        return Err(ForwardError::Broken);
                    };
                    request = kept.back(unsent);
                }
            }
        }
    }

    /// Waits until this manager leads. False when another does, or none for too long.
    pub async fn leads_here(&self) -> bool {
        self.place(Instant::now() + PATIENCE).await == Some(Place::Here)
    }

    /// Who answers requests, once that is known; `None` when it is not by then.
    async fn place(&self, deadline: Instant) -> Option<Place> {
        let raft = &self.inner.raft;
        let (mut role, mut members) = (raft.role(), raft.members());
        let mut closed = self.inner.closed.subscribe();
        loop {
            let place = look(raft, &role.borrow_and_update(), &members.borrow_and_update());
            if place.is_some() {
                return place;
            }
            tokio::select! {
                changed = role.changed() => changed.ok()?,
                changed = members.changed() => changed.ok()?,
                () = raised(&mut closed) => return None,
                () = sleep_until(deadline) => return None,
            }
        }
    }

    /// Waits until another leads than this one, but not longer than `until`.
    async fn moved(&self, leader: Leader, until: Instant) {
        let mut role = self.inner.raft.role();
        let moved = role.wait_for(|state| state.leader != Some(leader.id));
        // Both ends of the wait are the same to the caller: it looks again.
        drop(timeout_at(until, moved).await);
    }

    /// A connection to this leader: the one there is, or a new one.
    async fn sender(
        &self,
        lane: Lane,
        leader: Leader,
        deadline: Instant,
    ) -> Result<SendRequest<Body>, ForwardError> {
        let place = self.link(lane);
        let unreached = |error: String| ForwardError::Unreached { addr: leader.addr, error };
        let overdue = |_| unreached("it takes too long".to_owned());
        let mut standing = timeout_at(deadline, place.lock()).await.map_err(overdue)?;
        if let Some(sender) = standing.as_ref().and_then(|link| link.sender(leader)) {
            return Ok(sender);
        }
        let (tls, role) = (Arc::clone(&self.inner.tls), self.inner.raft.role());
        let opening = Link::open(leader, tls, role, self.inner.closed.subscribe());
        let link = tokio::select! {
            opened = timeout_at(deadline, opening) => opened.map_err(overdue)?,
            // One that is frozen keeps its callers waiting, and nobody has to.
            () = self.moved(leader, deadline) => return Err(unreached("it leads no longer".to_owned())),
        };
        let link = link.map_err(|error| unreached(error.to_string()))?;
        let sender = link.sender(leader).ok_or_else(|| unreached("it went away".to_owned()))?;
        *standing = Some(link);
        Ok(sender)
    }
}

/// The value of [`ON_BEHALF_OF`] for this caller.
pub fn caller_header(node: Option<NodeId>) -> HeaderValue {
    let text = node.map_or_else(|| NOBODY.to_owned(), |node| node.to_string());
    // An identifier is letters and digits.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(NOBODY))
}

fn look(raft: &Raft, state: &RoleState, members: &Members) -> Option<Place> {
    match (state.role, state.leader) {
        // A raft that has ended has its own words for it.
        (Role::Leader | Role::Stopped, _) => Some(Place::Here),
        (Role::Follower, Some(id)) => {
            let addr = members.get(id).and_then(|member| member.addr).or_else(|| addr_in_store(raft, id));
            addr.map(|addr| Place::There(Leader { id, addr }))
        }
        (Role::Follower, None) | (Role::Candidate, _) => None,
    }
}

/// The first manager of a group may be known to the store alone.
fn addr_in_store(raft: &Raft, id: u64) -> Option<SocketAddr> {
    let store = raft.store();
    let mut managers = store.nodes().filter_map(|node| node.manager.as_ref());
    managers.find(|manager| manager.raft_id == id).map(|manager| manager.addr)
}

/// What of a request stays here.
struct Kept {
    extensions: Extensions,
    uri: axum::http::Uri,
    version: Version,
}

impl Kept {
    /// The request as it came.
    fn back(self, mut request: Request<Body>) -> Request<Body> {
        request.headers_mut().remove(ON_BEHALF_OF);
        *request.extensions_mut() = self.extensions;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        request
    }
}

/// Makes of a request what is sent to the leader.
fn outgoing(mut request: Request<Body>, caller: Option<&HeaderValue>) -> (Request<Body>, Kept) {
    let kept = Kept {
        extensions: std::mem::take(request.extensions_mut()),
        uri: request.uri().clone(),
        version: request.version(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("mesh"));
    // A path that was received makes a good target.
    *request.uri_mut() = axum::http::Uri::from_parts(parts).unwrap_or_else(|_| kept.uri.clone());
    *request.version_mut() = Version::HTTP_2;
    if let Some(caller) = caller {
        request.headers_mut().insert(ON_BEHALF_OF, caller.clone());
    }
    (request, kept)
}
