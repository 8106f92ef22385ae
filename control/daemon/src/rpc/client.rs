//! The calling side: a gRPC channel over our own TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// How long a manager may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// An idle connection is asked for a sign of life this often,
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// and given up when none comes within this.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens a channel to the manager at `addr` (`address:port`). It is one connection: when that is lost, so is
/// the channel.
pub async fn connect(addr: String, tls: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_uri| {
        let (addr, tls) = (addr.clone(), Arc::clone(&tls));
        async move { dial(&addr, tls).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://mesh")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

async fn dial(addr: &str, tls: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(tls).connect(mesh_identity::tls::manager_name(), stream).await
}
