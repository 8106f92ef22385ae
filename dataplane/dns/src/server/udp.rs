//! Questions in datagrams: one thread that answers own names itself, in batches, and leaves the others to
//! the runtime.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::batch::{Answers, Received};
use super::shared::{Next, Pending, Shared};
use crate::answer::Transport;

/// Pause after such a refusal.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends the thread.
#[derive(Debug)]
pub struct Stop(Arc<EventFd>);

impl Stop {
    /// The thread answers what it has taken from the socket and ends.
    pub fn stop(&self) {
        if let Err(error) = self.0.write(1) {
            tracing::warn!(%error, "the thread that answers datagrams is not told to end");
        }
    }
}

/// Starts the thread. Every datagram that it takes from the socket is answered, so that another process that
/// shares the socket finds all the others. `alive` is held until the last answer is sent.
pub fn start(shared: Arc<Shared>, socket: Arc<UdpSocket>, alive: mpsc::Sender<()>) -> io::Result<Stop> {
    let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let thread_stop = Arc::clone(&stop);
    let asker = Asker { runtime: Handle::current(), shared, socket, alive };
    let work = move || {
        // A server that is deaf but lives would not be replaced; one that is gone is.
        if catch_unwind(AssertUnwindSafe(|| asker.serve(&thread_stop))).is_err() {
            std::process::abort();
        }
    };
    std::thread::Builder::new().name("dns-udp".to_owned()).spawn(work)?;
    Ok(Stop(stop))
}

/// The kernel refused to wait or to receive, for want of memory for instance.
fn pause(error: &io::Error) {
    tracing::warn!(%error, "receiving questions failed");
    std::thread::sleep(PAUSE);
}

/// What the thread works with.
struct Asker {
    runtime: Handle,
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    alive: mpsc::Sender<()>,
}

impl Asker {
    fn serve(&self, stop: &EventFd) {
        let (mut received, mut answers) = (Received::new(), Answers::new());
        loop {
            match self.wait(stop) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => pause(&error),
            }
            match received.receive(&self.socket) {
                Ok(()) => self.answer(&received, &mut answers),
                Err(error) => pause(&error),
            }
        }
    }

    /// Waits for questions; true when it is time to end.
    fn wait(&self, stop: &EventFd) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&*self.socket, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(_) => Ok(!descriptors[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&self, received: &Received, answers: &mut Answers) {
        for (packet, source) in received.iter() {
            let Some(out) = answers.next() else { break };
            match self.shared.answer(source.ip(), Transport::Udp, packet, out) {
                Next::Send => answers.add(source),
                Next::Drop => {}
                Next::Ask(pending) => self.ask(pending, source),
            }
        }
        answers.send(&self.socket);
    }

    /// Leaves a question to the runtime.
    fn ask(&self, pending: Pending, source: SocketAddr) {
        let (shared, socket, alive) =
            (Arc::clone(&self.shared), Arc::clone(&self.socket), self.alive.clone());
        self.runtime.spawn(async move {
            let mut out = Vec::new();
            shared.ask(pending, &mut out).await;
            if let Err(error) = socket.send_to(&out, source) {
                tracing::debug!(%error, %source, "an answer is not sent");
            }
            drop(alive);
        });
    }
}
