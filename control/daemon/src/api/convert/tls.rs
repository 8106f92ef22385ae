//! What certificates hang on, as the API shows it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use mesh_api::engine::swarm::TlsInfo;
use mesh_core::object::Cluster;
use mesh_identity::{RootCertificate, TrustBundle};

/// The cluster's roots. Read from its text once for a whole list of nodes.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// As the store has them.
    text: String,
    /// The trusted roots, the old one of a rotation first.
    trusted: Vec<RootCertificate>,
    /// SHA-256 of the root that signs now.
    signer: [u8; 32],
}

impl Roots {
    /// The roots of this cluster.
    pub fn of(cluster: &Cluster) -> Self {
        // What cannot be read is shown as it is, without what would be read from it.
        let bundle = TrustBundle::from_pem(&cluster.trust);
        let trusted = bundle.map_or_else(|_| Vec::new(), |bundle| bundle.roots().cloned().collect());
        Self { text: cluster.trust.clone(), trusted, signer: cluster.signer }
    }

    /// Whether one root is being replaced by another.
    pub fn are_changing(&self) -> bool {
        self.trusted.len() > 1
    }

    /// For the cluster: the root that everybody trusts, and who signs.
    pub fn of_cluster(&self) -> TlsInfo {
        let root = self.trusted.first().map_or(self.text.as_str(), RootCertificate::pem);
        TlsInfo { trust_root: root.to_owned(), ..self.issued_by(self.signer) }
    }

    /// For a node whose certificate the root of digest `issuer` signed: the roots that it trusts, and who
    /// signed.
    pub fn of_node(&self, issuer: [u8; 32]) -> TlsInfo {
        let roots: String = self.trusted.iter().map(RootCertificate::pem).collect();
        TlsInfo { trust_root: roots, ..self.issued_by(issuer) }
    }

    fn issued_by(&self, digest: [u8; 32]) -> TlsInfo {
        let signer = self.trusted.iter().find(|root| root.digest().0 == digest);
        signer.and_then(|root| root.issuer().ok()).map_or_else(TlsInfo::default, |issuer| TlsInfo {
            trust_root: String::new(),
            cert_issuer_subject: BASE64.encode(issuer.subject),
            cert_issuer_public_key: BASE64.encode(issuer.public_key),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use mesh_core::id::ClusterId;
    use mesh_core::secret::Secret;
    use mesh_core::spec::ClusterSpec;
    use mesh_identity::Authority;

    use super::*;

    fn authority() -> Authority {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        Authority::create(ClusterId::from_bits(9), now).unwrap()
    }

    fn cluster(trust: String, signer: [u8; 32]) -> Cluster {
        Cluster {
            id: ClusterId::from_bits(9),
            meta: mesh_core::object::Meta::default(),
            spec: ClusterSpec::default(),
            trust,
            signer,
            signing_key: Secret::default(),
            worker_token: Secret::default(),
            manager_token: Secret::default(),
            unlock_key: Secret::default(),
            next_endpoint: 1,
            next_vni: 4096,
        }
    }

    #[test]
    fn one_root_is_trusted_and_signs() {
        let root = authority().root().clone();
        let roots = Roots::of(&cluster(root.pem().to_owned(), root.digest().0));
        let shown = roots.of_cluster();
        assert!(!roots.are_changing());
        assert_eq!(shown.trust_root, root.pem());
        let key = BASE64.decode(&shown.cert_issuer_public_key).unwrap();
        assert_eq!(key, root.issuer().unwrap().public_key);
        assert!(shown.cert_issuer_subject.starts_with('M'), "a DER sequence");
        assert_eq!(roots.of_node(root.digest().0), shown);
    }

    #[test]
    fn while_the_root_changes_the_old_is_shown_and_the_new_signs() {
        let (old, new) = (authority(), authority());
        let cross = old.cross_sign(&new).unwrap();
        let bundle = TrustBundle::rotating(old.root().clone(), new.root().clone(), cross).unwrap();
        let roots = Roots::of(&cluster(bundle.to_pem(), new.root().digest().0));
        let key = |root: &RootCertificate| BASE64.encode(root.issuer().unwrap().public_key);
        assert!(roots.are_changing());
        assert_eq!(roots.of_cluster().trust_root, old.root().pem());
        assert_eq!(roots.of_cluster().cert_issuer_public_key, key(new.root()));
        let behind = roots.of_node(old.root().digest().0);
        assert_eq!(behind.cert_issuer_public_key, key(old.root()));
        assert_eq!(behind.trust_root.matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(roots.of_node([7; 32]).cert_issuer_public_key, "", "of a root that is gone");
    }
}
