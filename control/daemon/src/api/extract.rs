//! Bodies and parameters of requests, bounded and with Docker's errors.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use mesh_api::decode::decode;
use mesh_api::engine::filter::Filters;
use mesh_core::time::Timestamp;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The largest body, in bytes: a service with a thousand long environment variables is far below.
pub const BODY_MAX: usize = 2 << 20;

/// A body in JSON.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = axum::body::to_bytes(request.into_body(), BODY_MAX)
            .await
            .map_err(|_| ApiError::TooLarge { limit: BODY_MAX })?;
        Ok(Self(decode(&bytes)?))
    }
}

/// The parameters after the question mark.
pub struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(params)| params).unwrap_or_default()))
    }
}

impl Params {
    /// A parameter; empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A switch, on for anything but Docker's words for no.
    pub fn switch(&self, name: &str) -> bool {
        !matches!(self.text(name).to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number; `None` when it is not there.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.text(name) {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| ApiError::field(name, format!("{text:?} is no number")))
            }
        }
    }

    /// A time as `2s` or `500ms`; `None` when it is not there.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let text = self.text(name);
        let (number, unit): (_, fn(u64) -> Duration) = match text.strip_suffix("ms") {
            Some(number) => (number, Duration::from_millis),
            None => (text.strip_suffix('s').unwrap_or(text), Duration::from_secs),
        };
        match number.parse() {
            _ if text.is_empty() => Ok(None),
            Ok(number) => Ok(Some(unit(number))),
            Err(_) => Err(ApiError::field(name, format!("{text:?} is no time such as 2s or 500ms"))),
        }
    }

    /// A point in time as Docker's clients send it, `SECONDS[.NANOSECONDS]` since 1970; `None` when it is not
    /// there.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let text = self.text(name);
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let refused = || ApiError::field(name, format!("{text:?} is no time in seconds since 1970"));
        if matches!(text, "" | "0") {
            return Ok(None);
        }
        if part.len() > 9 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let seconds: u64 = whole.parse().map_err(|_| refused())?;
        // Behind the point nine digits are nanoseconds.
        let nanos: u64 = format!("{part:0<9}").parse().map_err(|_| refused())?;
        let time = seconds.checked_mul(1_000_000_000).and_then(|time| time.checked_add(nanos));
        time.map(|time| Some(Timestamp(time))).ok_or_else(refused)
    }

    /// The version of an object of `kind` that an update was made from.
    pub fn version(&self, kind: &'static str) -> Result<u64, ApiError> {
        let text = self.text("version");
        text.parse().map_err(|_| ApiError::NoVersion { kind, text: text.chars().take(64).collect() })
    }

    /// The filters of a list that knows `known`.
    pub fn filters(&self, known: &[&str]) -> Result<Filters, ApiError> {
        let filters = Filters::parse(self.text("filters"))?;
        filters.check(known)?;
        Ok(filters)
    }
}
