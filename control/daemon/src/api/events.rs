//! `GET /events`: what happens to nodes, services and networks, as Docker's event stream; and to tasks, for those
//! who ask for `type=task`.
//!
//! Each manager tells from its own store, so the stream goes on when the leader changes. With `since` in the
//! past it begins with what the store knows of the time from then on ([`event::of_past`]); with `until` it ends
//! then.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mesh_api::engine::filter::Filters;
use mesh_core::store::{Change, Delta, Store};
use mesh_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::backend::{Feed, Ledger, Peers};
use super::convert::event::{self, FILTERS, News};
use super::error::ApiError;
use super::extract::Params;
use super::mesh::{json_lines, line};
use crate::clock::now;

/// Events that wait for a slow reader before the store's news does.
const WAITING: usize = 64;

/// `GET /events`
pub async fn events(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let ledger = api.backend.manager()?;
    let filters = params.filters(&FILTERS)?;
    let (since, until) = (params.time("since")?, params.time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(ApiError::field("until", "it is before since"));
    }
    let (lines, reader) = mpsc::channel(WAITING);
    // Whoever has the answer's head misses nothing from then on: news is asked for first, the store looked at
    // second.
    let news = Sources { feed: ledger.feed(), peers: ledger.follow_peers(), ledger: Arc::clone(&ledger) };
    let mut teller = Teller { filters, since, until, lines, store: ledger.store(), peers: ledger.peers() };
    let mut closing = api.closing.clone();
    tokio::spawn(async move {
        let reader_left = teller.lines.clone();
        tokio::select! {
            // The reader went away; nothing is left to do.
            _ = teller.run(news) => {}
            () = reader_left.closed() => {}
            // A closed channel means that the server is gone, which is the same.
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
    Ok(json_lines(Body::from_stream(ReceiverStream::new(reader).map(Ok::<_, Infallible>))))
}

/// Sleeps until then; for ever without a time.
async fn sleep_until(time: Option<Timestamp>) {
    match time {
        // A moment is left for what happens at that very time.
        Some(time) => tokio::time::sleep(time.since(now()) + Duration::from_millis(10)).await,
        None => std::future::pending().await,
    }
}

/// Where news comes from.
struct Sources {
    feed: BoxStream<'static, Feed>,
    peers: BoxStream<'static, Peers>,
    ledger: Arc<dyn Ledger>,
}

/// The reader went away.
struct Gone;

/// Tells one reader.
struct Teller {
    filters: Filters,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: mpsc::Sender<Bytes>,
    /// The store up to which everything is told.
    store: Store,
    /// The managers, with the last leader that was known.
    peers: Peers,
}

impl Teller {
    async fn run(&mut self, news: Sources) -> Result<(), Gone> {
        let Sources { mut feed, mut peers, ledger } = news;
        if let Some(since) = self.since {
            for news in event::of_past(&self.store, since) {
                self.tell(news).await?;
            }
        }
        // What is past is told whole, however slow the reader; the time is up for what comes after.
        let mut end = pin!(sleep_until(self.until));
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                news = feed.next() => match news {
                    Some(Feed::Applied(entry)) if entry.index <= self.store.index() => {}
                    Some(Feed::Applied(entry)) => self.follow(entry.index, &entry.changes).await?,
                    Some(Feed::Lagged) => {
                        let store = ledger.store();
                        self.follow(store.index(), &difference(&self.store, &store)).await?;
                    }
                    None => return Ok(()),
                },
                Some(seen) = peers.next() => self.follow_peers(seen).await?,
            }
        }
    }

    async fn follow(&mut self, index: u64, changes: &[Change]) -> Result<(), Gone> {
        self.store.replay(index, changes);
        for change in changes {
            if let Some(news) = event::of_change(change, &self.store, now()) {
                self.tell(news).await?;
            }
        }
        Ok(())
    }

    async fn follow_peers(&mut self, seen: Peers) -> Result<(), Gone> {
        let leader = seen.leader.or(self.peers.leader);
        let before = std::mem::replace(&mut self.peers, Peers { leader, ..seen });
        for node in self.store.clone().nodes() {
            if let Some(news) = event::of_peers(node, &before, &self.peers, now()) {
                self.tell(news).await?;
            }
        }
        Ok(())
    }

    async fn tell(&self, news: News) -> Result<(), Gone> {
        let time = Timestamp(u64::try_from(news.event.time_nano).unwrap_or(0));
        if self.until.is_some_and(|until| time > until) || !news.matches(&self.filters) {
            return Ok(());
        }
        self.lines.send(line(&news.event)).await.map_err(|_| Gone)
    }
}

/// The changes that lead from one store to a later one, several of one object taken together.
fn difference(before: &Store, after: &Store) -> Vec<Change> {
    let nodes = deltas(before.nodes(), after.nodes(), |node| (node.id, node.meta.version));
    let networks = deltas(before.networks(), after.networks(), |network| (network.id, network.meta.version));
    let services = deltas(before.services(), after.services(), |service| (service.id, service.meta.version));
    let tasks = deltas(before.tasks(), after.tasks(), |task| (task.id, task.meta.version));
    let secrets = deltas(before.secrets().iter(), after.secrets().iter(), |it| (it.id, it.meta.version));
    let configs = deltas(before.configs().iter(), after.configs().iter(), |it| (it.id, it.meta.version));
    (nodes.into_iter().map(Change::Node))
        .chain(networks.into_iter().map(Change::Network))
        .chain(secrets.into_iter().map(Change::Secret))
        .chain(configs.into_iter().map(Change::Config))
        .chain(services.into_iter().map(Change::Service))
        .chain(tasks.into_iter().map(Change::Task))
        .collect()
}

fn deltas<'a, T: 'a, K: Ord>(
    before: impl Iterator<Item = &'a Arc<T>>,
    after: impl Iterator<Item = &'a Arc<T>>,
    key: impl Fn(&T) -> (K, u64),
) -> Vec<Delta<T>> {
    let mut old: BTreeMap<K, &Arc<T>> = before.map(|object| (key(object).0, object)).collect();
    let mut deltas = Vec::new();
    for new in after {
        let (id, version) = key(new);
        let old = old.remove(&id);
        if old.is_none_or(|old| key(old).1 != version) {
            deltas.push(Delta { old: old.cloned(), new: Some(Arc::clone(new)) });
        }
    }
    deltas.extend(old.into_values().map(|gone| Delta { old: Some(Arc::clone(gone)), new: None }));
    deltas
}
