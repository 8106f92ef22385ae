//! The cluster's certificate authority: one P-256 root that signs the nodes' certificates.

use std::time::{Duration, SystemTime};

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;

use crate::certificate::{RootCertificate, organizational_unit};
use crate::error::IdentityError;

/// How long a root lives: 20 years.
const ROOT_LIFE: Duration = Duration::from_hours(20 * 365 * 24);

/// How long a node's certificate lives: 90 days.
pub const NODE_CERTIFICATE_LIFE: Duration = Duration::from_hours(90 * 24);

/// Clocks differ: certificates begin this much before they are made.
pub(crate) const BACKDATE: Duration = Duration::from_hours(1);

/// A cluster's root with its key.
pub struct Authority {
    root: RootCertificate,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("root", &self.root.digest()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes the root of a new cluster.
    pub fn create(cluster: ClusterId, now: SystemTime) -> Result<Self, IdentityError> {
        let key = new_key()?;
        // One level below the root is left for a cross-signed root of a rotation.
        let mut params = root_params(&cluster.to_string(), 1);
        set_life(&mut params, now, ROOT_LIFE);
        let certificate =
            params.self_signed(&key).map_err(IdentityError::certificate("making the root certificate"))?;
        let root = RootCertificate::from_pem(&certificate.pem())?;
        Ok(Self { root, issuer: Issuer::new(params, key) })
    }

    /// Takes up a root that was made before.
    pub fn load(root: RootCertificate, key_pem: &str) -> Result<Self, IdentityError> {
        const WHAT: &str = "reading the root's key";
        let key = KeyPair::from_pem(key_pem).map_err(IdentityError::certificate(WHAT))?;
        if !belongs(&key, &root)? {
            return Err(IdentityError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(root.der(), key).map_err(IdentityError::certificate(WHAT))?;
        Ok(Self { root, issuer })
    }

    /// The root certificate.
    pub fn root(&self) -> &RootCertificate {
        &self.root
    }

    /// The root's key, PEM. Whoever has it is the cluster's authority.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Certifies another root's key under this one, for a rotation from this root to the other: whoever
    /// trusts this root then trusts what the other signs. It ends with this root.
    pub fn cross_sign(&self, new: &Self) -> Result<RootCertificate, IdentityError> {
        let (cluster, begins, _) = described(&new.root)?;
        let (_, _, ends) = described(&self.root)?;
        let mut params = root_params(&cluster, 0);
        (params.not_before, params.not_after) = (begins, ends);
        params.use_authority_key_identifier_extension = true;
        let cross = params
            .signed_by(new.issuer.key(), &self.issuer)
            .map_err(IdentityError::certificate("cross-signing the new root"))?;
        RootCertificate::from_pem(&cross.pem())
    }

    /// Signs the key of a request (PEM). Nothing else of the request is taken over: the subject is what the
    /// caller says. Returns the certificate, PEM.
    pub fn issue(
        &self,
        request_pem: &str,
        subject_of: (NodeId, Role, ClusterId),
        now: SystemTime,
        life: Duration,
    ) -> Result<String, IdentityError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(IdentityError::certificate("reading the certificate request"))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(IdentityError::Certificate {
                what: "reading the certificate request",
                reason: "its key is not P-256".to_owned(),
            });
        }
        node_params(subject_of, now, life)?
            .signed_by(&request.public_key, &self.issuer)
            .map(|certificate| certificate.pem())
            .map_err(IdentityError::certificate("signing a node's certificate"))
    }
}

/// What a root's certificate says; `below` more levels of roots may follow under it.
fn root_params(cluster: &str, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&[
        (DnType::CommonName, "swarm-ca".to_owned()),
        (DnType::OrganizationName, cluster.to_owned()),
    ]);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A root's cluster and its life.
fn described(root: &RootCertificate) -> Result<(String, OffsetDateTime, OffsetDateTime), IdentityError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(root.der())
        .map_err(IdentityError::certificate("reading the root certificate"))?;
    let organization = certificate.subject().iter_organization().next();
    let cluster = organization.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
    let validity = certificate.validity();
    Ok((cluster, validity.not_before.to_datetime(), validity.not_after.to_datetime()))
}

/// What a node's certificate says.
fn node_params(
    (node, role, cluster): (NodeId, Role, ClusterId),
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams, IdentityError> {
    let unit = organizational_unit(role);
    let mut params = CertificateParams::new(vec![unit.to_owned(), node.to_string()])
        .map_err(IdentityError::certificate("naming a node's certificate"))?;
    params.distinguished_name = subject(&[
        (DnType::CommonName, node.to_string()),
        (DnType::OrganizationalUnitName, unit.to_owned()),
        (DnType::OrganizationName, cluster.to_string()),
    ]);
    set_life(&mut params, now, life);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn subject(parts: &[(DnType, String)]) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind.clone(), value.clone());
    }
    name
}

fn set_life(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let now = OffsetDateTime::from(now);
    params.not_before = now - BACKDATE;
    params.not_after = now + life;
}

fn belongs(key: &KeyPair, root: &RootCertificate) -> Result<bool, IdentityError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(root.der())
        .map_err(IdentityError::certificate("reading the root certificate"))?;
    Ok(certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}

fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::certificate("making a key"))
}

/// A fresh key and the request to certify it, made on the node that will use it; the key never leaves it.
#[derive(Debug)]
pub struct CertificateRequest {
    /// Private key, PEM (PKCS #8).
    pub key_pem: String,
    /// Request, PEM (PKCS #10).
    pub request_pem: String,
}

impl CertificateRequest {
    /// Makes a key and the request for it.
    pub fn create() -> Result<Self, IdentityError> {
        let key = new_key()?;
        let request = CertificateParams::default()
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(IdentityError::certificate("making a certificate request"))?;
        Ok(Self { key_pem: key.serialize_pem(), request_pem: request })
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::certificate::PeerIdentity;

    fn subject() -> (NodeId, Role, ClusterId) {
        (NodeId::from_bits(5), Role::Worker, ClusterId::from_bits(9))
    }

    #[test]
    fn a_certificate_says_node_role_and_cluster_and_begins_an_hour_ago() {
        let now = SystemTime::now();
        let authority = Authority::create(subject().2, now).unwrap();
        let request = CertificateRequest::create().unwrap();
        let pem = authority.issue(&request.request_pem, subject(), now, NODE_CERTIFICATE_LIFE).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let identity = PeerIdentity::from_der(&der).unwrap();
        assert_eq!((identity.node, identity.role, identity.cluster), subject());
        let now = OffsetDateTime::from(now).unix_timestamp();
        assert_eq!(now - identity.not_before, 3600);
        assert_eq!(identity.not_after - now, 90 * 86_400);
    }

    #[test]
    fn an_authority_comes_back_from_its_files_and_refuses_another_key() {
        let now = SystemTime::now();
        let authority = Authority::create(subject().2, now).unwrap();
        let again = Authority::load(authority.root().clone(), &authority.key_pem()).unwrap();
        let request = CertificateRequest::create().unwrap();
        assert!(again.issue(&request.request_pem, subject(), now, NODE_CERTIFICATE_LIFE).is_ok());
        let other = Authority::create(subject().2, now).unwrap();
        let error = Authority::load(authority.root().clone(), &other.key_pem()).unwrap_err();
        assert!(matches!(error, IdentityError::KeyMismatch), "{error}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let authority = Authority::create(subject().2, SystemTime::now()).unwrap();
        for text in
            ["", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
        {
            let issued = authority.issue(text, subject(), SystemTime::now(), NODE_CERTIFICATE_LIFE);
            assert!(issued.is_err(), "{text}");
        }
    }
}
