//! Questions in datagrams.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::shared::{Next, Pending, Shared};
use crate::answer::Transport;

/// Longest question; what is longer is cut by the socket and then malformed.
const QUESTION_MAX: usize = 4096;
/// Datagrams that are answered before others get their turn.
const BATCH: usize = 64;

/// Answers datagrams until `stop` is set. Every datagram that was taken from the socket is answered, so
/// another process that shares the socket finds all the others.
pub async fn serve(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let mut server =
        Server { shared, socket, alive, packet: [0; QUESTION_MAX], out: Vec::with_capacity(4096) };
    loop {
        let ready = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            ready = server.socket.readable() => ready,
        };
        if let Err(error) = ready.and_then(|()| server.batch()) {
            tracing::warn!(%error, "receiving a question failed");
        }
        tokio::task::yield_now().await;
    }
}

struct Server {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    alive: mpsc::Sender<()>,
    packet: [u8; QUESTION_MAX],
    out: Vec<u8>,
}

impl Server {
    fn batch(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.socket.try_recv_from(&mut self.packet) {
                Ok((length, source)) => self.question(length, source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn question(&mut self, length: usize, source: SocketAddr) {
        match self.shared.answer(source.ip(), Transport::Udp, &self.packet[..length], &mut self.out) {
            Next::Send => send(&self.socket, &self.out, source),
            Next::Drop => {}
            Next::Ask(pending) => self.ask(pending, source),
        }
    }

    fn ask(&self, pending: Pending, source: SocketAddr) {
        let (shared, socket, alive) =
            (Arc::clone(&self.shared), Arc::clone(&self.socket), self.alive.clone());
        tokio::spawn(async move {
            let mut out = Vec::with_capacity(1500);
            shared.ask(pending, &mut out).await;
            send(&socket, &out, source);
            drop(alive);
        });
    }
}

/// A full send buffer loses the answer, as the network would; the client asks again.
fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) {
    if let Err(error) = socket.try_send_to(packet, to) {
        tracing::debug!(%error, %to, "sending an answer failed");
    }
}
