//! Changes of the members that wait for their turn on the thread.

use std::collections::VecDeque;
use std::time::Instant;

use super::change::ChangeOptions;
use super::error::ChangeError;
use super::surface::ChangeReply;
use crate::envelope::ProposalId;
use crate::members::{ChangeRefused, MemberChange};
use crate::node::Input;
use crate::replica::Replica;

/// One that waits.
struct Waiting {
    id: ProposalId,
    change: MemberChange,
    force: bool,
    until: Instant,
    reply: ChangeReply,
}

/// All of them, in order.
#[derive(Default)]
pub(super) struct Changes {
    waiting: VecDeque<Waiting>,
}

/// Of a deadline a tenth is left for the answer, so that a refusal is told instead of silence.
const TENTHS: u32 = 9;

impl Changes {
    pub fn take(&mut self, id: ProposalId, change: MemberChange, options: ChangeOptions, reply: ChangeReply) {
        let until = Instant::now() + options.deadline / 10 * TENTHS;
        self.waiting.push_back(Waiting { id, change, force: options.force, until, reply });
    }

    /// Begins the first, if it can be; what cannot be is answered. `Some`: begun, and this is whom to tell.
    pub fn begin(&mut self, replica: &mut Replica) -> Option<(ProposalId, ChangeReply)> {
        loop {
            let first = self.waiting.pop_front()?;
            if first.reply.is_closed() {
                continue;
            }
            match replica.change(first.id, first.change, first.force) {
                Ok(()) => return Some((first.id, first.reply)),
                Err(refused) if refused.is_temporary() && Instant::now() < first.until => {
                    if let (ChangeRefused::Leads { .. }, Some(heir)) = (refused, replica.node().heir()) {
                        // A refusal is tried again with the change.
                        let _ = replica.step(Input::Transfer(heir));
                    }
                    self.waiting.push_front(first);
                    return None;
                }
                Err(refused) => {
                    let _ = first.reply.send(Err(ChangeError::Refused(refused)));
                }
            }
        }
    }
}
