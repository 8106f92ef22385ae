//! A thin client for what bollard does not model, or not without loss: one request, one connection.

use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use mesh_api::decode::{decode, decode_value};
use mesh_api::engine::ErrorResponse;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::CliError;

/// The daemon behind a unix socket.
#[derive(Debug, Clone)]
pub struct Http {
    path: PathBuf,
    host: String,
}

impl Http {
    /// The daemon at this socket.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), host: format!("unix://{}", path.display()) }
    }

    /// The socket, as the user would write it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `GET`, with the answer's JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        let bytes = self.send(Method::GET, path, Bytes::new()).await?;
        self.read(&bytes)
    }

    /// `POST` of a JSON body; the answer's JSON.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreadable(&error))?;
        let bytes = self.send(Method::POST, path, body.into()).await?;
        if bytes.is_empty() {
            return decode_value(serde_json::Value::Object(serde_json::Map::new()))
                .map_err(|error| self.unreadable(&error));
        }
        self.read(&bytes)
    }

    /// `GET` of an answer that is lines of JSON, maybe without end.
    pub async fn lines(&self, path: &str) -> Result<Lines, CliError> {
        let answer = self.request(Method::GET, path, Bytes::new()).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        Ok(Lines { http: self.clone(), body: answer.into_body(), rest: Vec::new() })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CliError> {
        let answer = self.request(method, path, body).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        self.collect(answer).await
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, CliError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        // Its end is seen by the request that waits for the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "meshd")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(&error))?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, CliError> {
        Ok(answer.into_body().collect().await.map_err(|error| self.broken(&error))?.to_bytes())
    }

    async fn refusal(&self, answer: Response<Incoming>) -> CliError {
        let status = answer.status().as_u16();
        match self.collect(answer).await {
            Ok(bytes) => {
                let said = decode::<ErrorResponse>(&bytes).map(|error| error.message).unwrap_or_default();
                let message = if said.is_empty() { format!("HTTP status {status}") } else { said };
                CliError::Daemon { status, message }
            }
            Err(error) => error,
        }
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CliError> {
        // A daemon spells its answers as this does; what another spelled is read more slowly.
        serde_json::from_slice(bytes).or_else(|_| decode(bytes)).map_err(|error| self.unreadable(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> CliError {
        CliError::Unreachable { host: self.host.clone(), reason: error.to_string() }
    }

    fn broken(&self, error: &dyn std::error::Error) -> CliError {
        CliError::Broken { host: self.host.clone(), reason: error.to_string() }
    }

    /// The error for an answer that cannot be read.
    pub fn unreadable(&self, error: &dyn std::error::Error) -> CliError {
        CliError::Answer { host: self.host.clone(), reason: error.to_string() }
    }
}

/// Lines of an answer.
pub struct Lines {
    http: Http,
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CliError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return self.http.read(&line).map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(mut data) = frame.into_data() {
                        while data.has_remaining() {
                            let piece = data.chunk().len();
                            self.rest.extend_from_slice(data.chunk());
                            data.advance(piece);
                        }
                    }
                }
                Some(Err(error)) => return Err(self.http.broken(&error)),
                None => return Ok(None),
            }
        }
    }
}
