//! TLS settings of a running node whose certificate and trusted roots change while they are in use: each
//! handshake takes what is set at that moment. Connections that stand are not touched. Whether a genuine node
//! is still one of the cluster is for its store to say, not for TLS.
//!
//! Sessions are never resumed: a resumed one would skip the look at certificate and roots.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use crate::certificate::PeerIdentity;
use crate::error::IdentityError;
use crate::tls::{
    ALPN, NodeIdentity, no_tls12, provider, schemes, verified, verified_or_over, verify_signature,
};
use crate::trust::TrustBundle;

/// What a running node shows and trusts in TLS. Clones share it.
#[derive(Debug, Clone)]
pub struct LiveTls {
    current: Arc<ArcSwap<Current>>,
    clock: Arc<dyn TimeProvider>,
}

/// What holds at a moment.
#[derive(Debug, Clone)]
struct Current {
    own: Own,
    trust: Trust,
    /// `own` with the chain that `trust` asks to be shown.
    shown: Arc<CertifiedKey>,
}

#[derive(Debug, Clone)]
struct Own {
    peer: PeerIdentity,
    certificate: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
}

#[derive(Debug, Clone)]
struct Trust {
    bundle: Arc<TrustBundle>,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Own {
    fn new(identity: &NodeIdentity) -> Self {
        let (peer, certificate) = (*identity.peer(), identity.certificate().clone());
        Self { peer, certificate, key: identity.signing_key() }
    }
}

impl Trust {
    fn new(bundle: TrustBundle) -> Result<Self, IdentityError> {
        const WHAT: &str = "trusting the root certificate";
        let roots = Arc::new(bundle.store()?);
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(IdentityError::certificate(WHAT))?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(IdentityError::certificate(WHAT))?;
        Ok(Self { bundle: Arc::new(bundle), servers, clients })
    }
}

impl Current {
    fn new(own: Own, trust: Trust) -> Self {
        let chain = std::iter::once(own.certificate.clone()).chain(trust.bundle.shown()).collect();
        let shown = Arc::new(CertifiedKey::new(chain, Arc::clone(&own.key)));
        Self { own, trust, shown }
    }
}

impl LiveTls {
    /// Starts with this certificate and this trust. Handshakes go by the system's clock.
    pub fn new(identity: &NodeIdentity, trust: TrustBundle) -> Result<Self, IdentityError> {
        Self::with_clock(identity, trust, Arc::new(DefaultTimeProvider))
    }

    /// As [`Self::new`], with another clock.
    pub fn with_clock(
        identity: &NodeIdentity,
        trust: TrustBundle,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, IdentityError> {
        let current = Current::new(Own::new(identity), Trust::new(trust)?);
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(current)), clock })
    }

    /// Shows this certificate from now on. In a rotation, both roots are trusted before a certificate of the
    /// new one is shown: the cross-signed root that goes with it comes from the trust.
    pub fn present(&self, identity: &NodeIdentity) {
        let own = Own::new(identity);
        self.current.rcu(|now| Current::new(own.clone(), now.trust.clone()));
    }

    /// Trusts these roots, and no others, from now on.
    pub fn trust(&self, bundle: TrustBundle) -> Result<(), IdentityError> {
        let trust = Trust::new(bundle)?;
        self.current.rcu(|now| Current::new(now.own.clone(), trust.clone()));
        Ok(())
    }

    /// What the certificate that is shown now says.
    pub fn own(&self) -> PeerIdentity {
        self.current.load().own.peer
    }

    /// What is trusted now.
    pub fn trusted(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.current.load().trust.bundle)
    }

    /// The listening side of a manager. A client may come without a certificate (to join); one that shows a
    /// certificate must show one of this cluster, which may be over. Who may call what is decided for each call.
    pub fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        let mut config = ServerConfig::builder_with_details(provider(), Arc::clone(&self.clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::certificate("setting up TLS for other nodes"))?
            .with_client_cert_verifier(Arc::new(self.clone()))
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// The calling side of any node, towards managers.
    pub fn client_config(&self) -> Result<ClientConfig, IdentityError> {
        let mut config = ClientConfig::builder_with_details(provider(), Arc::clone(&self.clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::certificate("setting up TLS towards managers"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.clone()))
            .with_client_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl ResolvesServerCert for LiveTls {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().shown))
    }
}

impl ResolvesClientCert for LiveTls {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for LiveTls {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let servers = Arc::clone(&self.current.load().trust.servers);
        verified(end_entity, now, |at| {
            servers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
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

impl ClientCertVerifier for LiveTls {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a node has one certificate and shows that, and a list could not follow a rotation.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let clients = Arc::clone(&self.current.load().trust.clients);
        verified_or_over(end_entity, now, |at| clients.verify_client_cert(end_entity, intermediates, at))
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
#[path = "live_tests.rs"]
mod tests;
