//! `GET /mesh/v1/watch`: objects as they are and as they change, so that nobody has to poll.
//!
//! Parameters: `kinds` (of `node,service,task,network`; all when empty), `service` (its service and tasks
//! alone), `since` (an index told before: only what changed later is repeated). It needs no memory of past
//! changes: objects carry the index that last changed them, and what is gone is missing in `Present`.
//! When a watched service wants other tasks than before, its tasks are told again: which of them are outdated
//! is not theirs alone.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt;
use mesh_api::mesh::{Object, ObjectKind, WatchEvent};
use mesh_core::command::Refusal;
use mesh_core::id::ServiceId;
use mesh_core::store::{Change, Delta, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::backend::{Feed, Ledger};
use super::convert::{network, node, service, task};
use super::error::ApiError;
use super::extract::Params;
use super::mesh::{json_lines, line};

/// Lines that wait for a slow reader before the store's news does.
const WAITING: usize = 64;

/// `GET /mesh/v1/watch`
pub async fn watch(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let ledger = api.backend.manager()?;
    let since = params.number("since")?.unwrap_or(0);
    let store = ledger.read().await?;
    let scope = Scope::read(&params, &store)?;
    let (lines, reader) = mpsc::channel(WAITING);
    let watcher = Watcher { ledger, scope, lines };
    let mut closing = api.closing.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = watcher.run(since) => {}
            // A closed channel means that the server is gone, which is the same.
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
    Ok(json_lines(Body::from_stream(ReceiverStream::new(reader).map(Ok::<_, Infallible>))))
}

/// What is watched.
struct Scope {
    kinds: Vec<ObjectKind>,
    service: Option<ServiceId>,
}

impl Scope {
    fn read(params: &Params, store: &Store) -> Result<Self, ApiError> {
        let kind = |word: &str| match word {
            "node" => Ok(ObjectKind::Node),
            "service" => Ok(ObjectKind::Service),
            "task" => Ok(ObjectKind::Task),
            "network" => Ok(ObjectKind::Network),
            other => Err(ApiError::field(
                "kinds",
                format!("{other:?}: node, service, task or network is expected"),
            )),
        };
        let kinds = match params.text("kinds") {
            "" => vec![ObjectKind::Node, ObjectKind::Service, ObjectKind::Task, ObjectKind::Network],
            words => words.split(',').map(kind).collect::<Result<_, _>>()?,
        };
        let service = match params.text("service") {
            "" => None,
            name => Some(store.find_service(name).map_err(Refusal::from)?.id),
        };
        Ok(Self { kinds, service })
    }

    fn has(&self, kind: ObjectKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn of_service(&self, service: ServiceId) -> bool {
        self.service.is_none_or(|wanted| wanted == service)
    }
}

/// One reader's watch.
struct Watcher {
    ledger: Arc<dyn Ledger>,
    scope: Scope,
    lines: mpsc::Sender<Bytes>,
}

/// The reader went away.
struct Gone;

impl Watcher {
    async fn run(self, since: u64) {
        tokio::select! {
            // The reader went away; nothing is left to do.
            _ = self.follow(since) => {}
            () = self.lines.closed() => {}
        }
    }

    async fn follow(&self, since: u64) -> Result<(), Gone> {
        // The feed is opened before the store is looked at, so nothing falls between.
        let mut feed = self.ledger.feed();
        let mut peers = self.ledger.follow_peers();
        // What the managers are to each other now is told with the store.
        peers.next().await;
        let mut told = self.tell_store(since).await?;
        loop {
            tokio::select! {
                news = feed.next() => match news {
                    Some(Feed::Applied(entry)) if entry.index > told => {
                        self.tell_changes(entry.index, &entry.changes).await?;
                        told = entry.index;
                    }
                    Some(Feed::Applied(_)) => {}
                    Some(Feed::Lagged) => told = self.tell_store(told).await?,
                    None => return Ok(()),
                },
                Some(_) = peers.next() => self.tell_managers(told).await?,
            }
        }
    }

    /// Tells the managers again: who leads and who is reachable is in no log entry.
    async fn tell_managers(&self, index: u64) -> Result<(), Gone> {
        let store = self.ledger.store();
        let managers = store.nodes().filter(|node| node.manager.is_some());
        for found in managers.filter(|_| self.scope.has(ObjectKind::Node)) {
            self.tell(&put(index, self.node(found, &store))).await?;
        }
        Ok(())
    }

    /// Tells what changed after `since` and what there is; returns the index it holds for.
    async fn tell_store(&self, since: u64) -> Result<u64, Gone> {
        let store = self.ledger.store();
        let index = store.index();
        let mut present = Vec::new();
        for (id, version, object) in self.objects(&store) {
            present.push(id);
            if version > since {
                self.tell(&object(self, &store, index)).await?;
            }
        }
        self.tell(&WatchEvent::Synced { index, present }).await?;
        Ok(index)
    }

    /// Watched objects: id, version, and how to show them.
    fn objects<'a>(&'a self, store: &'a Store) -> Vec<(String, u64, Shown<'a>)> {
        let mut all: Vec<(String, u64, Shown<'a>)> = Vec::new();
        if self.scope.has(ObjectKind::Node) {
            all.extend(store.nodes().map(|found| {
                let show = shown(move |watcher, store, index| put(index, watcher.node(found, store)));
                (found.id.to_string(), found.meta.version, show)
            }));
        }
        if self.scope.has(ObjectKind::Network) {
            all.extend(store.networks().map(|found| {
                (found.id.to_string(), found.meta.version, shown(move |_, _, index| put(index, net(found))))
            }));
        }
        if self.scope.has(ObjectKind::Service) {
            let watched = store.services().filter(|found| self.scope.of_service(found.id));
            all.extend(watched.map(|found| {
                (
                    found.id.to_string(),
                    found.meta.version,
                    shown(move |_, store, index| put(index, svc(found, store))),
                )
            }));
        }
        if self.scope.has(ObjectKind::Task) {
            let watched = store.tasks().filter(|found| self.scope.of_service(found.service));
            all.extend(watched.map(|found| {
                (
                    found.id.to_string(),
                    found.meta.version,
                    shown(move |_, store, index| tsk(index, found, store)),
                )
            }));
        }
        all
    }

    async fn tell_changes(&self, index: u64, changes: &[Change]) -> Result<(), Gone> {
        let store = self.ledger.store();
        for change in changes {
            if let Some(event) = self.event(index, change, &store) {
                self.tell(&event).await?;
            }
            self.tell_outdated(index, change, &store).await?;
        }
        Ok(())
    }

    /// Tells the tasks of the watched service again when it wants other ones than before.
    async fn tell_outdated(&self, index: u64, change: &Change, store: &Store) -> Result<(), Gone> {
        let Change::Service(Delta { old: Some(old), new: Some(new) }) = change else { return Ok(()) };
        let watched = self.scope.service == Some(new.id) && self.scope.has(ObjectKind::Task);
        if !watched || old.spec_version == new.spec_version {
            return Ok(());
        }
        for found in store.service_tasks(new.id) {
            self.tell(&tsk(index, found, store)).await?;
        }
        Ok(())
    }

    fn event(&self, index: u64, change: &Change, store: &Store) -> Option<WatchEvent> {
        let (kind, id, event) = match change {
            Change::Cluster(_) | Change::Secret(_) | Change::Config(_) => return None,
            Change::Node(delta) => {
                let id = side(delta)?.id.to_string();
                (ObjectKind::Node, id, delta.new.as_ref().map(|found| put(index, self.node(found, store))))
            }
            Change::Network(delta) => {
                let id = side(delta)?.id.to_string();
                (ObjectKind::Network, id, delta.new.as_ref().map(|found| put(index, net(found))))
            }
            Change::Service(delta) => {
                let id = side(delta)?.id;
                self.scope.of_service(id).then_some(())?;
                let event = delta.new.as_ref().map(|found| put(index, svc(found, store)));
                (ObjectKind::Service, id.to_string(), event)
            }
            Change::Task(delta) => {
                let found = side(delta)?;
                self.scope.of_service(found.service).then_some(())?;
                let event = delta.new.as_ref().map(|found| tsk(index, found, store));
                (ObjectKind::Task, found.id.to_string(), event)
            }
        };
        let gone = WatchEvent::Delete { index, kind, id };
        self.scope.has(kind).then_some(event.unwrap_or(gone))
    }

    fn node(&self, found: &mesh_core::object::Node, store: &Store) -> Object {
        Object::Node(Box::new(node::show(found, &node::View::new(self.ledger.peers(), store))))
    }

    async fn tell(&self, event: &WatchEvent) -> Result<(), Gone> {
        self.lines.send(line(event)).await.map_err(|_| Gone)
    }
}

/// Shows one object, when it is to be told.
type Shown<'a> = Box<dyn Fn(&Watcher, &Store, u64) -> WatchEvent + Send + 'a>;

fn shown<'a>(show: impl Fn(&Watcher, &Store, u64) -> WatchEvent + Send + 'a) -> Shown<'a> {
    Box::new(show)
}

fn net(found: &mesh_core::object::Network) -> Object {
    Object::Network(Box::new(network::show(found)))
}

fn svc(found: &mesh_core::object::Service, store: &Store) -> Object {
    Object::Service(Box::new(service::show(found, store)))
}

fn tsk(index: u64, found: &mesh_core::object::Task, store: &Store) -> WatchEvent {
    let object = Object::Task(Box::new(task::show(found, store)));
    WatchEvent::Put { index, object, outdated: store.is_outdated(found) }
}

fn put(index: u64, object: Object) -> WatchEvent {
    WatchEvent::Put { index, object, outdated: false }
}

/// Either side of a change, for what does not change with it.
fn side<T>(delta: &Delta<T>) -> Option<&Arc<T>> {
    delta.new.as_ref().or(delta.old.as_ref())
}
