//! Questions over connections (RFC 7766), one after the other on each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::shared::{Next, Shared};
use crate::answer::Transport;

/// Longest question; a connection that announces more is closed.
const QUESTION_MAX: u16 = 4096;
/// A connection without a question for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Time for the rest of a question once it began, and for taking an answer.
const TRANSFER: Duration = Duration::from_secs(5);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stop` is set.
pub async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => connection(&shared, stream, peer, stop.clone(), alive.clone()),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let Some(slot) = shared.connection(peer.ip()) else { return };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(error) = converse(&shared, stream, peer.ip(), &mut stop).await {
            tracing::debug!(%error, %peer, "a connection ended");
        }
        drop((slot, alive));
    });
}

async fn converse(
    shared: &Shared,
    mut stream: TcpStream,
    peer: IpAddr,
    stop: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    loop {
        let length = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            length = timeout(IDLE, stream.read_u16()) => length??,
        };
        if length > QUESTION_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        packet.resize(usize::from(length), 0);
        timeout(TRANSFER, stream.read_exact(&mut packet)).await??;
        match shared.answer(peer, Transport::Tcp, &packet, &mut out) {
            Next::Send => {}
            Next::Drop => return Ok(()),
            Next::Ask(pending) => shared.ask(pending, &mut out).await,
        }
        timeout(TRANSFER, send(&mut stream, &out)).await??;
    }
}

async fn send(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    let length = u16::try_from(packet.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    stream.write_all(&[&length.to_be_bytes()[..], packet].concat()).await
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Seconds after which a connection is closed that sends this and then nothing.
    async fn open_for(sent: &[u8]) -> u64 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let (alive, mut under_way) = mpsc::channel(1);
        let server = tokio::spawn(serve(Arc::default(), listener, stopping, alive));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let start = Instant::now();
        let end = stream.read(&mut [0; 1]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        stop.send_replace(true);
        server.await.unwrap();
        assert_eq!(under_way.recv().await, None, "the connection's slot is given back");
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_are_closed() {
        assert_eq!(open_for(&[]).await, IDLE.as_secs());
        assert_eq!(open_for(&[0]).await, IDLE.as_secs());
        assert_eq!(open_for(&[0, 30, 1, 2, 3]).await, TRANSFER.as_secs());
        assert_eq!(open_for(&[0xff, 0xff, 1]).await, 0);
    }
}
