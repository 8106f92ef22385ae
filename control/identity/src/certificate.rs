//! Certificates as data: the root, and what a node's certificate says of its holder.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use mesh_core::id::{ClusterId, NodeId};
use mesh_core::spec::Role;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::error::IdentityError;
use crate::token::RootDigest;

/// The OU that stands for a role, as Swarm writes it; also the host name that a peer of that role is asked
/// for in TLS.
pub const fn organizational_unit(role: Role) -> &'static str {
    match role {
        Role::Manager => "swarm-manager",
        Role::Worker => "swarm-worker",
    }
}

/// A cluster's root certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCertificate {
    pem: String,
    der: CertificateDer<'static>,
}

impl RootCertificate {
    /// Reads the PEM form.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(IdentityError::certificate("reading the root certificate"))?;
        X509Certificate::from_der(&der)
            .map_err(IdentityError::certificate("reading the root certificate"))?;
        Ok(Self { pem: pem.to_owned(), der })
    }

    /// Takes up the DER form.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        Self::from_pem(&to_pem(der))
    }

    /// The PEM form.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The DER form.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What join tokens name it by.
    pub fn digest(&self) -> RootDigest {
        digest(&self.der)
    }

    /// What a certificate that it signed is shown to hang on.
    pub fn issuer(&self) -> Result<Issuer, IdentityError> {
        let (_, read) = X509Certificate::from_der(&self.der)
            .map_err(IdentityError::certificate("reading the root certificate"))?;
        Ok(Issuer { subject: read.subject().as_raw().to_vec(), public_key: read.public_key().raw.to_vec() })
    }
}

/// Whom a certificate was signed by, each part in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The subject of the signer's certificate (RFC 5280, Name).
    pub subject: Vec<u8>,
    /// The signer's key (RFC 5280, `SubjectPublicKeyInfo`).
    pub public_key: Vec<u8>,
}

/// Reads any certificate's PEM form.
pub fn read_certificate(pem: &str) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(IdentityError::certificate("reading a certificate"))
}

/// PEM form of any certificate (RFC 7468: lines of 64 characters).
pub fn to_pem(der: &CertificateDer<'_>) -> String {
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (place, character) in BASE64.encode(der).chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

/// Digest of any certificate.
pub(crate) fn digest(der: &CertificateDer<'_>) -> RootDigest {
    RootDigest(Sha256::digest(der).into())
}

/// What a node's certificate says of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// CN.
    pub node: NodeId,
    /// OU.
    pub role: Role,
    /// O.
    pub cluster: ClusterId,
    /// Start of its life, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of its life, seconds since the Unix epoch.
    pub not_after: i64,
}

impl PeerIdentity {
    /// Reads a certificate whose chain was verified before (by TLS).
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(IdentityError::certificate("reading a node's certificate"))?;
        let subject = certificate.subject();
        let validity = certificate.validity();
        Ok(Self {
            node: parsed("CN", only("CN", subject.iter_common_name())?)?,
            role: role(only("OU", subject.iter_organizational_unit())?)?,
            cluster: parsed("O", only("O", organizations(subject))?)?,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }
}

fn organizations<'a>(subject: &'a X509Name<'a>) -> impl Iterator<Item = &'a AttributeTypeAndValue<'a>> + 'a {
    subject.iter_organization()
}

/// The attribute's text; refused when it is missing or given twice.
fn only<'a>(
    field: &'static str,
    mut values: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Result<&'a str, IdentityError> {
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(IdentityError::Subject { field, value: String::new() });
    };
    value.as_str().map_err(IdentityError::certificate("reading a certificate's subject"))
}

fn parsed<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, IdentityError> {
    text.parse().map_err(|_| IdentityError::Subject { field, value: text.to_owned() })
}

fn role(text: &str) -> Result<Role, IdentityError> {
    [Role::Manager, Role::Worker]
        .into_iter()
        .find(|role| organizational_unit(*role) == text)
        .ok_or_else(|| IdentityError::Subject { field: "OU", value: text.to_owned() })
}
