//! The calling side: a gRPC channel over our own TLS.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use mesh_core::spec::Role;
use mesh_identity::{Moment, PeerIdentity, Refusal};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::error::chain;

/// How soon a connection that cannot be made, or is dead, is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// How long the other side may take to accept a connection, TLS included.
    pub connect: Duration,
    /// A connection on which nothing comes is asked for a sign of life this often,
    pub keep_alive: Duration,
    /// and given up when none comes within this.
    pub keep_alive_timeout: Duration,
    /// How long what was sent may go without the other kernel's acknowledgement (`TCP_USER_TIMEOUT`).
    pub unacknowledged: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            keep_alive: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(3),
            unacknowledged: Duration::from_secs(3),
        }
    }
}

impl Liveness {
    /// For those who have another manager to turn to: one that is frozen or cut off is known within a second.
    pub const QUICK: Self = Self {
        connect: Duration::from_secs(1),
        keep_alive: Duration::from_millis(300),
        keep_alive_timeout: Duration::from_millis(600),
        unacknowledged: Duration::from_secs(1),
    };
}

/// Opens a channel to the manager at `addr` (`address:port`). It is one connection: when that is lost, so is
/// the channel.
pub async fn connect(addr: String, tls: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    connect_with(addr, tls, Liveness::default()).await
}

/// Asks one of `managers` after the other until one answers, or refuses with a code that is the `last_word` for
/// all of them; else the last refusal. A refusal names who gave it.
pub async fn ask<T, F>(
    managers: &[SocketAddr],
    tls: &Arc<ClientConfig>,
    patience: Duration,
    last_word: impl Fn(Code) -> bool,
    call: impl Fn(Channel) -> F,
) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let mut last = Status::unavailable("no manager is known");
    for manager in managers {
        let answered = timeout(patience, async {
            let channel = connect(manager.to_string(), Arc::clone(tls))
                .await
                .map_err(|error| Status::unavailable(chain(&error)))?;
            call(channel).await
        });
        last = match answered.await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => Status::new(status.code(), format!("{manager}: {}", status.message())),
            Err(_) => Status::deadline_exceeded(format!("{manager} does not answer")),
        };
        if last_word(last.code()) {
            break;
        }
    }
    Err(last)
}

/// [`connect`] with a patience of its own.
pub async fn connect_with(
    addr: String,
    tls: Arc<ClientConfig>,
    liveness: Liveness,
) -> Result<Channel, tonic::transport::Error> {
    connect_as(addr, tls, liveness, Role::Manager).await
}

/// [`connect_with`], to a node whose certificate says this role.
pub async fn connect_as(
    addr: String,
    tls: Arc<ClientConfig>,
    liveness: Liveness,
    role: Role,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_uri| {
        let (addr, tls) = (addr.clone(), Arc::clone(&tls));
        async move { dial_as(&addr, tls, liveness.unacknowledged, role).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://mesh")
        .connect_timeout(liveness.connect)
        .http2_keep_alive_interval(liveness.keep_alive)
        .keep_alive_timeout(liveness.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

/// One TLS connection to the manager at `addr`.
pub(super) async fn dial(
    addr: &str,
    tls: Arc<ClientConfig>,
    unacknowledged: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    dial_as(addr, tls, unacknowledged, Role::Manager).await
}

async fn dial_as(
    addr: &str,
    tls: Arc<ClientConfig>,
    unacknowledged: Duration,
    role: Role,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let milliseconds = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&stream, TcpUserTimeout, &milliseconds)?;
    TlsConnector::from(tls).connect(mesh_identity::tls::name_of(role), stream).await
}

/// The TLS error that caused `error`, if one did.
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let inside = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(found) = inside.or_else(|| current.downcast_ref::<rustls::Error>()) {
            return Some(found);
        }
        cause = current.source();
    }
    None
}

/// A TLS error in words that say what to do. `own` is what this node's certificate says.
pub fn explained(error: &rustls::Error, own: Option<&PeerIdentity>) -> String {
    let refusal = Refusal::of(error, own, Moment::from(SystemTime::now()));
    refusal.map_or_else(|| error.to_string(), |refusal| refusal.to_string())
}

/// Why a manager could not be reached, in words that say what to do.
pub fn unreached(error: &tonic::transport::Error, own: &PeerIdentity) -> String {
    tls_error(error).map_or_else(|| chain(error), |tls| explained(tls, Some(own)))
}
