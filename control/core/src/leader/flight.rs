//! The batch that is on its way: what it touches, how much of it is settled, and when the next may follow.

use std::time::Duration;

use crate::store::Object;
use crate::time::Timestamp;

/// How long a batch that failed is not made again while the store stays as it was.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The outstanding batch.
#[derive(Debug, Default)]
pub(super) struct Flight {
    waiting: usize,
    /// Log entry up to which the leader must have come before it decides again.
    until: u64,
    touched: Vec<Object>,
    failed: bool,
    /// Store that the batch was made from.
    base: u64,
    /// A batch failed; the next waits for the store to move on from this index, or for this time.
    hold: Option<(u64, Timestamp)>,
}

impl Flight {
    pub(super) fn launch(&mut self, base: u64, transactions: usize, touched: Vec<Object>) {
        *self = Self { waiting: transactions, base, touched, ..Self::default() };
    }

    /// Notes that one transaction is done. Gives back what the batch touched when it was the last one and
    /// not all of them were applied.
    pub(super) fn settle(&mut self, index: Option<u64>, now: Timestamp) -> Option<Vec<Object>> {
        self.waiting = self.waiting.checked_sub(1)?;
        self.failed |= index.is_none();
        self.until = self.until.max(index.unwrap_or(0));
        if self.waiting > 0 || !self.failed {
            return None;
        }
        self.hold = Some((self.base, now + RETRY_AFTER));
        Some(std::mem::take(&mut self.touched))
    }

    /// Whether nothing is outstanding.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.hold.is_none()
    }

    /// Whether the next batch may be made from the store at `index`.
    pub(super) fn is_landed(&mut self, index: u64, now: Timestamp) -> bool {
        if self.hold.is_some_and(|(stale, until)| index > stale || now >= until) {
            self.hold = None;
        }
        self.is_idle() && index >= self.until
    }

    /// When a batch that failed is made again at the latest.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.hold.map(|(_, until)| until)
    }
}
