//! The operating system's random numbers, for the pure core.

use mesh_core::id::Entropy;
use rand::RngExt;

/// Draws from a generator that the operating system seeds.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u128(&mut self) -> u128 {
        rand::rng().random()
    }
}
