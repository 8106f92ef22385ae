//! The roots that a node trusts: one, or two while the root is rotated.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use crate::certificate::RootCertificate;
use crate::error::IdentityError;
use crate::token::RootDigest;

/// The roots that a node trusts. While the root is rotated there are two, and with them the new root's key
/// certified by the old root, which a node shows to those that know the old root only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    root: RootCertificate,
    rotation: Option<Crossed>,
}

/// What a rotation adds to the old root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Crossed {
    new: RootCertificate,
    /// The new root's key, certified by the old root.
    cross: RootCertificate,
}

impl TrustBundle {
    /// Trust in one root.
    pub fn of(root: RootCertificate) -> Self {
        Self { root, rotation: None }
    }

    /// Trust in the old and the new root of a rotation; `cross` is what
    /// [`crate::Authority::cross_sign`] made of them. Refused when it is not.
    pub fn rotating(
        old: RootCertificate,
        new: RootCertificate,
        cross: RootCertificate,
    ) -> Result<Self, IdentityError> {
        if !signed_by(cross.der(), &old)? || public_key(cross.der())? != public_key(new.der())? {
            return Err(IdentityError::CrossSignature);
        }
        Ok(Self { root: old, rotation: Some(Crossed { new, cross }) })
    }

    /// The trusted roots, the old one of a rotation first.
    pub fn roots(&self) -> impl Iterator<Item = &RootCertificate> {
        std::iter::once(&self.root).chain(self.rotation.as_ref().map(|rotation| &rotation.new))
    }

    /// The trusted root with this digest.
    pub fn root(&self, digest: RootDigest) -> Option<&RootCertificate> {
        self.roots().find(|root| root.digest() == digest)
    }

    /// The root that join tokens name: the old one of a rotation, which every manager can prove.
    pub fn named(&self) -> RootDigest {
        self.root.digest()
    }

    /// The trusted root that signed this certificate; `None` when none did.
    pub fn issuer_of(&self, certificate: &CertificateDer<'_>) -> Result<Option<RootDigest>, IdentityError> {
        for root in self.roots() {
            if signed_by(certificate, root)? {
                return Ok(Some(root.digest()));
            }
        }
        Ok(None)
    }

    /// What a node shows beside its own certificate: the cross-signed root, for those that know the old one
    /// only, and the roots, for joiners, which know no more than a digest.
    pub(crate) fn shown(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        let cross = self.rotation.as_ref().map(|rotation| &rotation.cross);
        cross.into_iter().chain(self.roots()).map(|certificate| certificate.der().clone())
    }

    pub(crate) fn store(&self) -> Result<RootCertStore, IdentityError> {
        let mut store = RootCertStore::empty();
        for root in self.roots() {
            store
                .add(root.der().clone())
                .map_err(IdentityError::certificate("trusting the root certificate"))?;
        }
        Ok(store)
    }

    /// The PEM form, one certificate after the other: one for a root, three during a rotation.
    pub fn to_pem(&self) -> String {
        let rotation = self.rotation.iter().flat_map(|rotation| [&rotation.new, &rotation.cross]);
        std::iter::once(&self.root).chain(rotation).map(RootCertificate::pem).collect()
    }

    /// Reads what [`Self::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        const WHAT: &str = "reading the trusted roots";
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|der| {
                der.map_err(IdentityError::certificate(WHAT)).and_then(|der| RootCertificate::from_der(&der))
            })
            .collect::<Result<Vec<_>, _>>()?;
        match <[_; 3]>::try_from(certificates) {
            Ok([old, new, cross]) => Self::rotating(old, new, cross),
            Err(certificates) => match <[_; 1]>::try_from(certificates) {
                Ok([root]) => Ok(Self::of(root)),
                Err(other) => Err(IdentityError::Certificate {
                    what: WHAT,
                    reason: format!("{} certificates where one or three belong", other.len()),
                }),
            },
        }
    }
}

fn signed_by(certificate: &CertificateDer<'_>, root: &RootCertificate) -> Result<bool, IdentityError> {
    const WHAT: &str = "reading a certificate's issuer";
    let (_, certificate) = parse_x509_certificate(certificate).map_err(IdentityError::certificate(WHAT))?;
    let (_, root) = parse_x509_certificate(root.der()).map_err(IdentityError::certificate(WHAT))?;
    Ok(certificate.verify_signature(Some(root.public_key())).is_ok())
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, IdentityError> {
    let (_, certificate) = parse_x509_certificate(certificate)
        .map_err(IdentityError::certificate("reading a certificate's key"))?;
    Ok(certificate.public_key().raw.to_vec())
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
