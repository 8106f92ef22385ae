//! The mesh's own: virtual addresses, flows, the store's digest, and whether the nodes have what it says.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use mesh_api::mesh::{Counters, Digest, Settled, Vip};
use mesh_core::id::NodeId;
use mesh_core::store::Store;

use super::Api;
use super::error::ApiError;
use super::extract::Params;

/// `GET /mesh/v1/vips`
pub async fn vips(State(api): State<Api>) -> Result<Answer<Vec<Vip>>, ApiError> {
    Ok(Answer(api.backend.vips().await?))
}

/// `GET /mesh/v1/flows`: those remembered now; with `follow=1` what happens from now on, without end
pub async fn flows(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    if !params.switch("follow") {
        let lines: Vec<Bytes> = api.backend.flows().await?.iter().map(line).collect();
        return Ok(json_lines(Body::from(lines.concat())));
    }
    let flows = api.backend.follow_flows().await?;
    let mut closing = api.closing.clone();
    let closed = async move {
        // A closed channel means that the server is gone, which is the same.
        let _ = closing.wait_for(|closing| *closing).await;
    };
    let lines = flows.take_until(Box::pin(closed)).map(|flow| Ok::<_, Infallible>(line(&flow)));
    Ok(json_lines(Body::from_stream(lines)))
}

/// `GET /mesh/v1/counters`
pub async fn counters(State(api): State<Api>) -> Result<Answer<Counters>, ApiError> {
    Ok(Answer(api.backend.counters().await?))
}

/// `GET /mesh/v1/digest`
pub async fn digest(State(api): State<Api>) -> Result<Answer<Digest>, ApiError> {
    let store = api.backend.manager()?.read().await?;
    let mut digest = String::with_capacity(64);
    for byte in store.digest() {
        // Writing to a String cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    Ok(Answer(Digest { digest }))
}

/// How long [`settled`] waits: when nothing is asked for, and at most.
const SETTLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// `GET /mesh/v1/settled`: answers once every node's network and names are as the store was at `index`
/// (without it: as it is now), or `timeout` is over
pub async fn settled(State(api): State<Api>, params: Params) -> Result<Answer<Settled>, ApiError> {
    let ledger = api.backend.manager()?;
    let patience = params.duration("timeout")?.unwrap_or(SETTLE.0);
    if patience > SETTLE.1 {
        let reason = format!("{patience:?} is more than {:?}", SETTLE.1);
        return Err(ApiError::field("timeout", reason));
    }
    let asked = params.number("index")?;
    let known = ledger.read().await?.index();
    let index = asked.unwrap_or(known);
    let mut closing = api.closing.clone();
    let settlement = tokio::select! {
        settlement = api.backend.settled(known, index, patience) => settlement?,
        // A closed channel means that the server is gone, which is the same.
        _ = closing.wait_for(|closing| *closing) => return Err(closed()),
    };
    let store = ledger.store();
    let waiting = settlement.waiting.iter().map(|id| node_name(&store, *id)).collect();
    Ok(Answer(Settled { settled: settlement.settled, index, waiting }))
}

fn closed() -> ApiError {
    ApiError::Cluster { message: "meshd stops".to_owned(), retry: true }
}

fn node_name(store: &Store, id: NodeId) -> String {
    store.node(id).map_or_else(|| id.to_string(), |node| node.description.hostname.clone())
}

/// A value as one line.
pub fn line(value: &impl serde::Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}

/// An answer of JSON lines.
pub fn json_lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
