//! Lines of an answer without an end.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use mesh_api::decode::decode;
use serde::de::DeserializeOwned;

use super::double::Client;

/// Lines of an answer, one at a time.
pub struct Lines {
    body: BodyDataStream,
    rest: Vec<u8>,
}

impl Lines {
    pub async fn open(client: &Client, path: &str) -> Self {
        let answer = client.send("GET", path, "").await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        Self { body: answer.into_body().into_data_stream(), rest: Vec::new() }
    }

    pub async fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.drain(..=end).collect();
                return Some(line);
            }
            let piece = tokio::time::timeout(Duration::from_secs(10), self.body.next());
            self.rest.extend(piece.await.expect("a line within 10 s")?.unwrap());
        }
    }

    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.next_line().await.map(|line| decode(&line).unwrap())
    }
}
