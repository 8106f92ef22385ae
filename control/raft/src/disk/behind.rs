//! A state file as redb sees it: what is behind the first page.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use super::witness::PAGE;

/// The bytes of a state file, held by redb and by the page that it does not see.
pub(crate) type Medium = Arc<dyn StorageBackend>;

/// Hands locks, and the end of them, on to `self.$inner`.
macro_rules! forward_locks {
    ($inner:tt) => {
        fn close(&self) -> io::Result<()> {
            self.$inner.close()
        }

        fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.$inner.try_lock_range(start, end)
        }

        fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.$inner.try_lock_shared_range(start, end)
        }

        fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.$inner.lock_range(start, end)
        }

        fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.$inner.lock_shared_range(start, end)
        }

        fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.$inner.unlock_range(start, end)
        }

        fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.$inner.query_lock_range(start, end)
        }
    };
}
pub(super) use forward_locks;

/// Everything but the first page. Locked ranges are redb's own agreement: they are not moved.
#[derive(Debug)]
pub(crate) struct Behind(pub Medium);

impl StorageBackend for Behind {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()?.saturating_sub(PAGE))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(moved(offset)?, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(moved(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(moved(offset)?, data)
    }

    forward_locks!(0);
}

/// A damaged file can name any offset.
fn moved(offset: u64) -> io::Result<u64> {
    offset.checked_add(PAGE).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
