//! The mesh's own: virtual addresses, flows, the store's digest.

use std::convert::Infallible;
use std::fmt::Write as _;

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use mesh_api::mesh::{Counters, Digest, Vip};

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
