//! A manager's endpoint: accepts TCP, does the TLS handshake, and hands streams with their peer's identity
//! to gRPC. A client certificate is optional here; [`member`] is what every call but Join begins with.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mesh_core::id::ClusterId;
use mesh_identity::PeerIdentity;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::transport::server::Connected;

/// A client that does not finish its handshake within this is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes and connections that wait to be taken up.
const BACKLOG: usize = 128;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// From its certificate, when it showed one.
    pub identity: Option<PeerIdentity>,
    /// Its address.
    pub addr: SocketAddr,
}

/// The peer of a request, which must be a node of this cluster.
pub fn member<T>(request: &tonic::Request<T>, cluster: ClusterId) -> Result<PeerIdentity, Status> {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.identity);
    let identity =
        peer.ok_or_else(|| Status::unauthenticated("this call needs the certificate of a node"))?;
    if identity.cluster == cluster {
        Ok(identity)
    } else {
        Err(Status::permission_denied("the certificate belongs to another cluster"))
    }
}

/// A TLS connection from a node or a joiner.
#[derive(Debug)]
pub struct NodeStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for NodeStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Accepts connections until the receiver is dropped. A failed handshake costs that client alone.
pub fn incoming(listener: TcpListener, config: ServerConfig) -> mpsc::Receiver<io::Result<NodeStream>> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(accept(listener, acceptor, sender));
    receiver
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<io::Result<NodeStream>>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((stream, addr)) => {
                tokio::spawn(handshake(stream, addr, acceptor.clone(), sender.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may be closed meanwhile.
                tracing::warn!(%error, "cannot accept a node's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    addr: SocketAddr,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<NodeStream>>,
) {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(stream, addr, acceptor)).await {
        Ok(Ok(stream)) => {
            // Closed only when the endpoint stops.
            let _ = sender.send(Ok(stream)).await;
        }
        Ok(Err(error)) => tracing::info!(%addr, %error, "TLS handshake failed"),
        Err(_) => tracing::info!(%addr, "TLS handshake took too long"),
    }
}

async fn shake(stream: TcpStream, addr: SocketAddr, acceptor: TlsAcceptor) -> io::Result<NodeStream> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identity = shown.map(PeerIdentity::from_der).transpose().map_err(io::Error::other)?;
    Ok(NodeStream { stream, peer: Peer { identity, addr } })
}
