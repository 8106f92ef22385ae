//! Long lists as answers.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;

/// Where a list begins to grow.
const ROOM: usize = 64 << 10;

/// A list in JSON. Each item is made, written and dropped before the next, so that the answer's text is all
/// that a long list takes.
pub fn list<T: Serialize>(items: impl Iterator<Item = T>) -> Result<Response, ApiError> {
    let mut text = Vec::with_capacity(ROOM);
    text.push(b'[');
    for item in items {
        if text.len() > 1 {
            text.push(b',');
        }
        let written = serde_json::to_writer(&mut text, &item);
        written.map_err(|error| ApiError::Cluster { message: error.to_string(), retry: false })?;
    }
    text.push(b']');
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_what_serde_makes_of_it() {
        for items in [vec![], vec!["a\"b"], vec!["a", "b", "c"]] {
            let answer = list(items.iter()).unwrap();
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body, serde_json::to_vec(&items).unwrap());
        }
    }
}
