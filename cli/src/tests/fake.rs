//! A daemon that answers from a list and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::Kept;
use crate::cli::{self, Cli};
use crate::error::CliError;
use crate::output::Shell;

/// Answers by `METHOD PATH` (without its query), in order; the last one stays.
type Answers = BTreeMap<String, VecDeque<(u16, String)>>;

/// A daemon on a socket of its own.
pub struct Fake {
    dir: TempDir,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Answers with these: `METHOD PATH`, status, body.
    pub fn new(answers: &[(&str, u16, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let fake = Self { dir, answers: Arc::default(), asked: Arc::default() };
        for (key, status, body) in answers {
            let mut known = fake.answers.lock().unwrap();
            known.entry((*key).to_owned()).or_default().push_back((*status, (*body).to_owned()));
        }
        let (answers, asked) = (fake.answers.clone(), fake.asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, asked) = (answers.clone(), asked.clone());
                let service = service_fn(move |request| answer(request, answers.clone(), asked.clone()));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        fake
    }

    /// What `meshctl` writes to either stream, errors at its end, when it is called with these words.
    pub async fn says(&self, words: &[&str]) -> String {
        let host = format!("unix://{}", self.dir.path().join("sock").display());
        let line = ["meshctl", "-H", &host].into_iter().chain(words.iter().copied());
        let cli = match Cli::try_parse_from(line) {
            Ok(cli) => cli,
            Err(error) => return error.to_string(),
        };
        let kept = Kept::default();
        let mut shell = Shell::to(kept.clone(), kept.clone());
        match cli::ask_socket(cli, &mut shell).await {
            Ok(()) | Err(CliError::Told) => {}
            Err(error) => shell.note(&error.to_string()),
        }
        kept.text()
    }

    /// Takes its socket away.
    pub fn goes_away(&self) {
        std::fs::remove_file(self.dir.path().join("sock")).unwrap();
    }

    /// The changes that were asked for since the last call: `METHOD PATH BODY`.
    pub fn changes(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.retain(|line| !line.starts_with("GET "));
        asked
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let target = unversioned(&target).to_owned();
    let method = request.method().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    asked.lock().unwrap().push(format!("{method} {target} {}", String::from_utf8_lossy(&body)));
    let key = format!("{method} {}", target.split('?').next().unwrap_or_default());
    let (status, text) = next(&mut answers.lock().unwrap(), &key);
    Ok(Response::builder().status(status).body(Full::new(text.into())).unwrap())
}

fn next(answers: &mut Answers, key: &str) -> (u16, String) {
    match answers.get_mut(key) {
        Some(list) if list.len() > 1 => list.pop_front().unwrap(),
        Some(list) => list[0].clone(),
        None => (404, format!(r#"{{"message":"the fake has no answer to {key}"}}"#)),
    }
}

/// The target without `/v1.NN` in front.
fn unversioned(target: &str) -> &str {
    match target.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, _)) if version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            &target[version.len() + 2..]
        }
        _ => target,
    }
}
