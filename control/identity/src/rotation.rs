//! Changing the cluster's root while it runs: a pure state machine over which root signed which node's
//! certificate.
//!
//! 1. *Started*: the new root signs every new certificate, all nodes trust both roots and are asked to renew;
//!    nodes that do not know the new root yet take it by its cross-signature.
//! 2. *Renewed*: every node has a certificate of the new root. A node that comes back with an old one (its
//!    disk was restored) leads back to *started*.
//! 3. *Finished*: the old root is trusted no more and join tokens name the new one.
//!
//! Invariant: the old root is trusted for as long as a node of the cluster hangs on it.

use std::collections::BTreeMap;

use mesh_core::id::NodeId;

use crate::token::{JoinToken, RootDigest, TokenSecret};

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStage {
    /// Some nodes still have a certificate of the old root.
    Started,
    /// Every node has a certificate of the new root; both are trusted.
    Renewed,
    /// The old root is gone.
    Finished,
}

/// Why a rotation does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The new root is the present one.
    #[error("the new root is the cluster's root already")]
    SameRoot,
    /// The old root cannot go yet.
    #[error(
        "the old root is still needed: {} nodes have no certificate of the new root (the first is {}). They \
         renew when they are reachable; one that will not return is removed with `node rm`", waiting.len(),
        waiting.first().map(ToString::to_string).unwrap_or_default()
    )]
    Waiting {
        /// Nodes without a certificate of the new root.
        waiting: Vec<NodeId>,
    },
}

/// A change from one root to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    old: RootDigest,
    new: RootDigest,
    waiting: Vec<NodeId>,
    finished: bool,
}

impl Rotation {
    /// Starts to change from `old` to `new` in a cluster whose nodes have certificates of these issuers.
    pub fn start(
        old: RootDigest,
        new: RootDigest,
        issuers: &BTreeMap<NodeId, RootDigest>,
    ) -> Result<Self, RotationError> {
        if old == new {
            return Err(RotationError::SameRoot);
        }
        let mut rotation = Self { old, new, waiting: Vec::new(), finished: false };
        rotation.observe(issuers);
        Ok(rotation)
    }

    /// Takes in which root signed the certificate that each node of the cluster uses now. A node that is not
    /// in the map was removed: it is waited for no longer. Without effect once finished.
    pub fn observe(&mut self, issuers: &BTreeMap<NodeId, RootDigest>) -> RotationStage {
        if !self.finished {
            let without = issuers.iter().filter(|(_, issuer)| **issuer != self.new);
            self.waiting = without.map(|(node, _)| *node).collect();
        }
        self.stage()
    }

    /// Gives up the old root; refused while a node still hangs on it. Repeating it changes nothing.
    pub fn finish(&mut self) -> Result<(), RotationError> {
        if self.waiting.is_empty() {
            self.finished = true;
            Ok(())
        } else {
            Err(RotationError::Waiting { waiting: self.waiting.clone() })
        }
    }

    /// How far it is.
    pub fn stage(&self) -> RotationStage {
        match (self.finished, self.waiting.is_empty()) {
            (true, _) => RotationStage::Finished,
            (false, true) => RotationStage::Renewed,
            (false, false) => RotationStage::Started,
        }
    }

    /// Nodes that have to renew, in order of their ids.
    pub fn waiting(&self) -> &[NodeId] {
        &self.waiting
    }

    /// The root that signs: the new one from the start.
    pub fn signer(&self) -> RootDigest {
        self.new
    }

    /// The roots that are trusted.
    pub fn trusted(&self) -> Vec<RootDigest> {
        if self.finished { vec![self.new] } else { vec![self.old, self.new] }
    }

    /// The join token with this secret. It names the old root until the rotation is finished, since every
    /// manager can prove that one until then, and the new one after.
    pub fn join_token(&self, secret: TokenSecret) -> JoinToken {
        JoinToken { root: if self.finished { self.new } else { self.old }, secret }
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
