//! Isolation, partition and loss: a BPF program at the fabric's ports that drops by the ports a packet comes
//! from and goes to. It is attached with the first such fault and removed by `heal`.

use crate::error::LabError;
use crate::layout::{Layout, Member};

/// Packets of one direction between two members, and the share of them that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Sender.
    pub from: Member,
    /// Receiver.
    pub to: Member,
    /// Packets lost of 1,000.
    pub loss_permille: u32,
}

/// Adds rules to those in force.
pub async fn add(_layout: &Layout, _members: &[Member], _rules: &[Rule]) -> Result<(), LabError> {
    Err(LabError::Unsupported { fault: "a partition", needs: "x" })
}

/// Removes every rule and the program.
pub fn remove(_layout: &Layout) -> Result<(), LabError> {
    Ok(())
}
