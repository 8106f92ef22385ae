//! For tests: handshakes between two in-memory connections, and numbers to draw.

use std::io::{Read, Result as IoResult, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_core::id::{ClusterId, Entropy, NodeId};
use mesh_core::spec::Role;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};

use crate::authority::{Authority, CertificateRequest, NODE_CERTIFICATE_LIFE};
use crate::tls::{NodeIdentity, manager_name};

/// The root of a cluster that is a year old, so that its nodes' certificates can be old, too.
pub(crate) fn authority() -> Authority {
    let made = SystemTime::now() - Duration::from_hours(365 * 24);
    Authority::create(ClusterId::from_bits(1), made).unwrap()
}

pub(crate) fn node(authority: &Authority, id: u128, role: Role) -> NodeIdentity {
    node_made(authority, id, role, SystemTime::now())
}

/// A node whose certificate was made at that time.
pub(crate) fn node_made(authority: &Authority, id: u128, role: Role, made: SystemTime) -> NodeIdentity {
    let request = CertificateRequest::create().unwrap();
    let subject = (NodeId::from_bits(id), role, ClusterId::from_bits(1));
    let certificate = authority.issue(&request.request_pem, subject, made, NODE_CERTIFICATE_LIFE).unwrap();
    NodeIdentity::new(&certificate, &request.key_pem).unwrap()
}

/// What each side says of a handshake, what the server read of the client's secret, and whose certificates
/// they saw: the server's, then the client's.
pub(crate) struct Meeting {
    pub(crate) client: Result<(), Error>,
    pub(crate) server: Result<Vec<u8>, Error>,
    pub(crate) saw: [Option<CertificateDer<'static>>; 2],
}

/// Carries bytes to and fro until nothing more is to be said. The client writes `secret` as soon as it is
/// created.
pub(crate) fn meeting(client: Arc<ClientConfig>, server: Arc<ServerConfig>, secret: &[u8]) -> Meeting {
    let mut client = ClientConnection::new(client, manager_name()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    client.writer().write_all(secret).unwrap();
    let (mut says, mut heard) = (Ok(()), Ok(Vec::new()));
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| server.read_tls(bytes));
        if let Err(error) = server.process_new_packets() {
            heard = heard.and(Err(error));
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| client.read_tls(bytes));
        if let Err(error) = client.process_new_packets() {
            says = says.and(Err(error));
        }
    }
    let mut read = vec![0; secret.len()];
    let got = server.reader().read(&mut read).unwrap_or(0);
    read.truncate(got);
    let first = |shown: Option<&[CertificateDer<'static>]>| shown.and_then(<[_]>::first).cloned();
    let saw = [first(client.peer_certificates()), first(server.peer_certificates())];
    Meeting { client: says, server: heard.map(|_: Vec<u8>| read), saw }
}

/// What the server read of the client's secret, or the first refusal, the client's before the server's.
pub(crate) fn meet(client: ClientConfig, server: ServerConfig, secret: &[u8]) -> Result<Vec<u8>, Error> {
    let meeting = meeting(Arc::new(client), Arc::new(server), secret);
    meeting.client?;
    meeting.server
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut dyn Read) -> IoResult<usize>) {
    while !wire.is_empty() && read(&mut wire).unwrap() > 0 {}
}

/// Numbers that are never the same twice.
#[derive(Default)]
pub(crate) struct Counting(u128);

impl Entropy for Counting {
    fn next_u128(&mut self) -> u128 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0
    }
}
