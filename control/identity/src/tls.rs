//! TLS settings: mutual TLS between nodes, and the joiner's side, which trusts the root that its token names.
//!
//! Only TLS 1.3 is spoken. A client asks for the host name `swarm-manager`, which only the certificates of
//! managers carry: so the check of the name is the check of the role.

use std::sync::{Arc, LazyLock};

use mesh_core::spec::Role;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use zeroize::Zeroizing;

use crate::certificate::{PeerIdentity, digest, organizational_unit};
use crate::error::IdentityError;
use crate::live::LiveTls;
use crate::refusal::Refusal;
use crate::renewal::Moment;
use crate::token::RootDigest;

pub(crate) const ALPN: &[u8] = b"h2";

/// Makes ring the process's one provider of cryptography. To be called once, first thing in `main`; further
/// calls change nothing.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // The only error is that another thread was faster, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Made once: each handshake asks for it.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The name under which managers are asked for.
pub fn manager_name() -> ServerName<'static> {
    name_of(Role::Manager)
}

/// The name under which nodes are asked for whose certificates say this role.
pub fn name_of(role: Role) -> ServerName<'static> {
    ServerName::try_from(organizational_unit(role))
        .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

/// A node's certificate and its key. Its `Debug` form shows what the certificate says.
#[derive(Clone)]
pub struct NodeIdentity {
    pem: Zeroizing<String>,
    shown: Arc<CertifiedKey>,
    certificate: CertificateDer<'static>,
    peer: PeerIdentity,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// Puts certificate and key (PEM) together; refused when they do not belong together.
    pub fn new(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        Self::from_pem(&Zeroizing::new([certificate_pem, key_pem].concat()))
    }

    /// Reads what [`Self::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(IdentityError::certificate("reading the node's certificate"))?;
        let peer = PeerIdentity::from_der(&certificate)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(IdentityError::certificate("reading the node's key"))?;
        let shown = CertifiedKey::from_der(vec![certificate.clone()], key, &provider()).map_err(pair)?;
        Ok(Self { pem: Zeroizing::new(pem.to_owned()), shown: Arc::new(shown), certificate, peer })
    }

    /// Certificate and key, PEM, in one text: so they are kept, and so they change together.
    pub fn to_pem(&self) -> &Zeroizing<String> {
        &self.pem
    }

    /// What the certificate says.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.shown.key)
    }
}

fn pair(error: rustls::Error) -> IdentityError {
    match error {
        rustls::Error::InconsistentKeys(_) => IdentityError::KeyMismatch,
        other => IdentityError::certificate("reading the node's key")(other),
    }
}

fn trusting(root: &CertificateDer<'static>) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).map_err(IdentityError::certificate("trusting the root certificate"))?;
    Ok(roots)
}

/// Verifies a server's certificate, whose chain `chain` verifies at a moment. A wrong certificate is called
/// wrong even when it is also expired; clocks may differ by an hour.
pub(crate) fn verified<T>(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
    chain: impl FnOnce(UnixTime) -> Result<T, rustls::Error>,
) -> Result<T, rustls::Error> {
    let (peer, verified) = genuine(certificate, now, chain)?;
    peer.check_life(Moment::from(now)).map_err(Refusal::into_tls)?;
    Ok(verified)
}

/// Verifies a client's certificate. One that is over is let through: its node has no other way to come back
/// than to join, which shows who it was; whoever serves it looks at the certificate's life again.
pub(crate) fn verified_or_over<T>(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
    chain: impl FnOnce(UnixTime) -> Result<T, rustls::Error>,
) -> Result<T, rustls::Error> {
    let (peer, verified) = genuine(certificate, now, chain)?;
    match peer.check_life(Moment::from(now)) {
        Ok(()) | Err(Refusal::Expired { .. }) => Ok(verified),
        Err(other) => Err(other.into_tls()),
    }
}

fn genuine<T>(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
    chain: impl FnOnce(UnixTime) -> Result<T, rustls::Error>,
) -> Result<(PeerIdentity, T), rustls::Error> {
    let peer = PeerIdentity::from_der(certificate).map_err(|_| Refusal::Foreign.into_tls())?;
    let verified = chain(peer.nearest(Moment::from(now)).unix()).map_err(foreign)?;
    Ok((peer, verified))
}

/// Every cluster's root has the like name: a certificate of another cluster looks like one of ours with a
/// wrong signature, and is told to be what it is.
fn foreign(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => Refusal::Foreign.into_tls(),
        other => other,
    }
}

pub(crate) fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let algorithms = provider().signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
}

pub(crate) fn schemes() -> Vec<SignatureScheme> {
    provider().signature_verification_algorithms.supported_schemes()
}

pub(crate) fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken between nodes".to_owned())
}

/// The calling side of a machine that has nothing but a token: it trusts the root with this digest, when the
/// other side shows it. A node that comes back shows what it was (`own`).
pub fn joiner_config(root: RootDigest, own: Option<&LiveTls>) -> Result<ClientConfig, IdentityError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IdentityError::certificate("setting up TLS to join"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedRoot { root }));
    let mut config = match own {
        Some(own) => config.with_client_cert_resolver(Arc::new(own.clone())),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Verifies a server against the root whose digest is known, taken from the chain that the server shows.
#[derive(Debug)]
struct PinnedRoot {
    root: RootDigest,
}

impl PinnedRoot {
    fn verifier(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let refused = |error: IdentityError| rustls::Error::General(error.to_string());
        let root = shown
            .iter()
            .find(|certificate| digest(certificate) == self.root)
            .ok_or_else(|| refused(IdentityError::ForeignRoot { expected: self.root.to_string() }))?;
        let roots = trusting(&root.clone().into_owned()).map_err(refused)?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.verifier(intermediates)?;
        verified(end_entity, now, |at| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
