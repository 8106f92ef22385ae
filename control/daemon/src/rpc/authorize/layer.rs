//! The layer in front of all services, and what ends the streams of those who may not have them any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::Stream;
use hyper::body::Frame;
use mesh_core::id::ClusterId;
use mesh_core::store::{Change, Delta};
use mesh_identity::Moment;
use mesh_raft::Raft;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use super::{Admitted, Call, Denied, View, admit, is_wanted};
use crate::news::{News, touched};
use crate::rpc::forward::{API_PREFIX, ON_BEHALF_OF};
use crate::rpc::listener::Peer;

/// What the layer decides with. Clones share it.
#[derive(Clone)]
pub struct Gate {
    cluster: ClusterId,
    raft: Raft,
    /// Changes whenever a node is removed, or is to be a manager no longer.
    departures: watch::Receiver<()>,
}

impl Gate {
    /// The gate of a manager of `cluster`. It follows the store for as long as raft runs.
    pub fn new(cluster: ClusterId, raft: Raft) -> Self {
        let (departed, departures) = watch::channel(());
        tokio::spawn(follow(raft.changes(), departed));
        Self { cluster, raft, departures }
    }

    fn admit(&self, request: &Request) -> Result<Admitted, Denied> {
        let peer = request.extensions().get::<Peer>();
        let call = Call {
            path: request.uri().path(),
            certificate: peer.and_then(|peer| peer.identity.as_ref()),
            on_behalf: request.headers().get(ON_BEHALF_OF),
        };
        let (store, leader) = (self.raft.store(), self.raft.role().borrow().leader);
        let view = View { cluster: self.cluster, store: &store, leader };
        admit(view, call, Moment::from(SystemTime::now()))
    }

    fn leash(&self, admitted: Arc<Admitted>) -> Leash {
        let departures = WatchStream::from_changes(self.departures.clone());
        Leash { admitted, raft: self.raft.clone(), departures }
    }
}

/// Tells `departed` when a node loses what it was.
async fn follow(mut changes: News, departed: watch::Sender<()>) {
    while touched(&mut changes, is_loss).await {
        departed.send_replace(());
    }
}

fn is_loss(change: &Change) -> bool {
    match change {
        Change::Node(Delta { old: Some(old), new }) => {
            new.as_ref().is_none_or(|new| is_wanted(old) && !is_wanted(new))
        }
        _ => false,
    }
}

/// Lets a call through to the services, or refuses it.
pub async fn authorize(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let admitted = match gate.admit(&request) {
        Ok(admitted) => Arc::new(admitted),
        Err(denied) => {
            let peer = request.extensions().get::<Peer>().map(|peer| peer.addr);
            tracing::info!(?peer, path = request.uri().path(), %denied, "a call is refused");
            return Status::from(denied).into_http();
        }
    };
    if !admitted.passed_on {
        request.headers_mut().remove(ON_BEHALF_OF);
    }
    if let Some(caller) = admitted.caller {
        request.extensions_mut().insert(caller);
    }
    let ending = if request.uri().path().starts_with(API_PREFIX) { Ending::Broken } else { Ending::Trailers };
    let (asks, answers) = (gate.leash(Arc::clone(&admitted)), gate.leash(admitted));
    let request = request.map(|body| Body::new(Held::new(body, asks, Ending::Broken)));
    next.run(request).await.map(|body| Body::new(Held::new(body, answers, ending)))
}

/// Watches over what was admitted.
struct Leash {
    admitted: Arc<Admitted>,
    raft: Raft,
    departures: WatchStream<()>,
}

impl Leash {
    /// Resolves when it would be admitted no longer.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Denied> {
        loop {
            if ready!(Pin::new(&mut self.departures).poll_next(context)).is_none() {
                return Poll::Pending;
            }
            if let Err(denied) = self.admitted.stands(&self.raft.store()) {
                return Poll::Ready(denied);
            }
        }
    }
}

/// How a body ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As a call of gRPC that failed.
    Trailers,
    /// As one that is not whole.
    Broken,
}

/// A body that ends when its call would be served no longer.
struct Held {
    body: Body,
    leash: Option<Leash>,
    ending: Ending,
}

impl Held {
    fn new(body: Body, leash: Leash, ending: Ending) -> Self {
        let leash = (!leash.admitted.rests_on.is_empty()).then_some(leash);
        Self { body, leash, ending }
    }

    fn ended(&mut self, denied: Denied) -> Result<Frame<Bytes>, axum::Error> {
        self.leash = None;
        self.body = Body::empty();
        tracing::info!(%denied, "a call is ended");
        let status = Status::from(denied);
        let mut trailers = HeaderMap::new();
        if self.ending == Ending::Trailers && status.add_header(&mut trailers).is_ok() {
            return Ok(Frame::trailers(trailers));
        }
        Err(axum::Error::new(status))
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(leash) = &mut self.leash
            && let Poll::Ready(denied) = leash.poll(context)
        {
            return Poll::Ready(Some(self.ended(denied)));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
