//! The node's part in planted mistakes.

use raft::ReadOnlyOption;
use raft::eraftpb::{ConfChangeV2, ConfState};

use super::Node;

impl Node {
    pub(crate) fn lease_reads(&mut self) {
        self.raw.raft.read_only.option = ReadOnlyOption::LeaseBased;
    }

    pub(crate) fn skip_joint(&mut self) {
        self.skips_joint = true;
    }

    /// Leaves a joint configuration as soon as it is entered, if that mistake is planted.
    pub(super) fn leave_at_once(&mut self, conf: ConfState) -> raft::Result<ConfState> {
        if !self.skips_joint || conf.voters_outgoing.is_empty() {
            return Ok(conf);
        }
        self.raw.apply_conf_change(&ConfChangeV2::default())
    }
}
