//! The server listens in a namespace of its own and asks upstreams from the node's.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use nix::sched::{CloneFlags, unshare};

use crate::support::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 53, 53);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace that lives as long as its one thread, and runs jobs on it.
struct Netns {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Netns {
    fn new() -> Self {
        let (jobs, received) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            for arguments in ["link set lo up", &format!("address add {SERVER}/32 dev lo")] {
                assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success());
            }
            let thread = nix::unistd::gettid();
            ready.send(format!("/proc/{}/task/{thread}/ns/net", std::process::id())).unwrap();
            for job in received {
                job();
            }
        });
        let path = is_ready.recv().unwrap().into();
        Self { path, jobs: Some(jobs), thread: Some(thread) }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move || done.send(job()).unwrap();
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
        result.recv_timeout(PATIENCE).unwrap()
    }

    /// The answer to a question that is asked inside.
    fn ask(&self, server: SocketAddr, question: &Message) -> Message {
        let packet = question.to_vec().unwrap();
        let answer = self.run(move || {
            let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&packet, server).unwrap();
            let mut buffer = [0; 4096];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(from, server);
            buffer[..length].to_vec()
        });
        Message::from_vec(&answer).unwrap()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_listens_inside_and_asks_outside() {
    let (netns, upstream, mut place) = (Netns::new(), Upstream::start(found).await, Place::new());
    place.launch.netns = Some(netns.path.clone());
    place.launch.listen = (SERVER, 53).into();
    let control = place.serving(&table(1, 3, &[upstream.address])).await;
    let server = place.launch.listen;
    let own = netns.ask(server, &question("web.", RecordType::A));
    assert_eq!(addresses(&own), (ResponseCode::NoError, vec!["10.0.1.2".parse().unwrap()]));
    let other = netns.ask(server, &question("example.com.", RecordType::A));
    assert_eq!(addresses(&other), (ResponseCode::NoError, vec!["192.0.2.80".parse().unwrap()]));
    assert_eq!(upstream.count(), (1, 0), "asked in the namespace that the server is not listening in");
    assert!(netns.run(move || TcpStream::connect(server)).is_ok());

    // The same namespace: adopted. Another, for instance after the node left and joined again: replaced.
    assert!(place.launch.is(control.identity()));
    let again = Netns::new();
    place.launch.netns = Some(again.path.clone());
    assert!(!place.launch.is(control.identity()));
    let (successor, _) = place.server().await;
    tokio::time::timeout(PATIENCE, control.gone()).await.unwrap();
    assert_ne!(successor.pid(), control.pid());
    let own = again.ask(server, &question("web.", RecordType::A));
    assert_eq!(addresses(&own).1.len(), 1);
}
