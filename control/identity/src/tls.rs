//! TLS settings: mutual TLS between nodes, and the joiner's side, which trusts the root that its token names.
//!
//! Only TLS 1.3 is spoken. A client asks for the host name `swarm-manager`, which only the certificates of
//! managers carry: so the check of the name is the check of the role.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_core::id::NodeId;
use mesh_core::spec::Role;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::certificate::{PeerIdentity, RootCertificate, digest, organizational_unit};
use crate::error::IdentityError;
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

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The name under which managers are asked for.
pub fn manager_name() -> ServerName<'static> {
    const NAME: &str = organizational_unit(Role::Manager);
    ServerName::try_from(NAME).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

/// A node's certificate and key with the root it hangs on.
#[derive(Clone)]
pub struct NodeIdentity {
    root: RootCertificate,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_pem: String,
    peer: PeerIdentity,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// Puts the parts together; refused when they do not belong together.
    pub fn new(
        root: RootCertificate,
        certificate_pem: String,
        key_pem: String,
    ) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(IdentityError::certificate("reading the node's certificate"))?;
        let peer = PeerIdentity::from_der(&certificate)?;
        let identity = Self { root, certificate_pem, certificate, key_pem, peer };
        identity.client_config()?;
        Ok(identity)
    }

    /// What the certificate says.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The root.
    pub fn root(&self) -> &RootCertificate {
        &self.root
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key, PEM.
    pub(crate) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The listening side of a manager. A client may come without a certificate (to join); one that shows a
    /// certificate must show one of this cluster. Which call needs which role is the services' business.
    pub fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        const WHAT: &str = "setting up TLS for other nodes";
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider())
            .allow_unauthenticated()
            .build()
            .map_err(IdentityError::certificate(WHAT))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::certificate(WHAT))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain(), self.key()?)
            .map_err(IdentityError::certificate(WHAT))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// The calling side of any node, towards managers.
    pub fn client_config(&self) -> Result<ClientConfig, IdentityError> {
        const WHAT: &str = "setting up TLS towards managers";
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::certificate(WHAT))?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain(), self.key()?)
            .map_err(IdentityError::certificate(WHAT))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// The certificate and the root: a joiner has nothing but the root's digest, so the root is shown too.
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.root.der().clone()]
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        read_key(&self.key_pem)
    }

    fn roots(&self) -> Result<RootCertStore, IdentityError> {
        trusting(self.root.der())
    }
}

pub(crate) fn read_key(pem: &str) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(IdentityError::certificate("reading the node's key"))
}

fn trusting(root: &CertificateDer<'static>) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).map_err(IdentityError::certificate("trusting the root certificate"))?;
    Ok(roots)
}

/// Verifies the other side's certificate, whose chain `chain` verifies at a moment. A wrong certificate is
/// called wrong even when it is also expired; clocks may differ by an hour.
pub(crate) fn verified<T>(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
    removed: &BTreeSet<NodeId>,
    chain: impl FnOnce(UnixTime) -> Result<T, rustls::Error>,
) -> Result<T, rustls::Error> {
    let peer = PeerIdentity::from_der(certificate).map_err(|_| Refusal::Foreign.into_tls())?;
    let now = Moment::from(now);
    let verified = chain(peer.nearest(now).unix()).map_err(foreign)?;
    if removed.contains(&peer.node) {
        return Err(Refusal::Removed.into_tls());
    }
    peer.check_life(now).map_err(Refusal::into_tls)?;
    Ok(verified)
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
/// other side shows it.
pub fn joiner_config(root: RootDigest) -> Result<ClientConfig, IdentityError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IdentityError::certificate("setting up TLS to join"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedRoot { root, provider: provider() }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Verifies a server against the root whose digest is known, taken from the chain that the server shows.
#[derive(Debug)]
struct PinnedRoot {
    root: RootDigest,
    provider: Arc<CryptoProvider>,
}

impl PinnedRoot {
    fn verifier(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let refused = |error: IdentityError| rustls::Error::General(error.to_string());
        let root = shown
            .iter()
            .find(|certificate| digest(certificate) == self.root)
            .ok_or_else(|| refused(IdentityError::ForeignRoot { expected: self.root.to_string() }))?;
        let roots = trusting(&root.clone().into_owned()).map_err(refused)?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
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
        verified(end_entity, now, &BTreeSet::new(), |at| {
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
