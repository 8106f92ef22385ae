//! Authenticated encryption of small secrets and of data at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha),
//! whose nonces are long enough to be drawn at random. A sealed text is the nonce, the cipher text and its
//! tag; the context that it was sealed for has to be named again to open it.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use mesh_core::id::Entropy;
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

const NONCE_LEN: usize = 24;

/// A key, wiped when it is dropped.
pub(crate) type SealKey = Zeroizing<[u8; KEY_LEN]>;

/// Draws a key.
pub(crate) fn new_key(entropy: &mut dyn Entropy) -> SealKey {
    Zeroizing::new(random(entropy))
}

/// Random bytes, as many as the caller's array holds.
fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(16) {
        part.copy_from_slice(&entropy.next_u128().to_be_bytes()[..part.len()]);
    }
    bytes
}

/// Seals `plain` for `context`; `None` when it is longer than the cipher can seal (256 GiB).
pub(crate) fn seal(
    key: &SealKey,
    context: &[u8],
    plain: &[u8],
    entropy: &mut dyn Entropy,
) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = random(entropy);
    let payload = Payload { msg: plain, aad: context };
    let text = cipher(key).encrypt(&XNonce::from(nonce), payload).ok()?;
    Some([nonce.as_slice(), &text].concat())
}

/// Opens what [`seal`] made; `None` when key or context is another, or the text was changed.
pub(crate) fn open(key: &SealKey, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let payload = Payload { msg: text, aad: context };
    cipher(key).decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
}

fn cipher(key: &SealKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(**key))
}
