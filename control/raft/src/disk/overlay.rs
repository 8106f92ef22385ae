//! A view of a file on which redb may repair as it likes while the file stays as it is.
//!
//! redb repairs what it opens. A state file is therefore opened through this view first, and for writing
//! only when nothing was wrong with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::behind::forward_locks;

const PAGE: u64 = 4096;

/// Reads fall through to the file where nothing was written; writes stay in memory. Locks are the file's.
#[derive(Debug)]
pub(crate) struct Overlay<B> {
    file: B,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    pages: HashMap<u64, Vec<u8>>,
    len: u64,
    /// What of the file still shows; less than its length once the view was cut.
    visible: u64,
}

impl<B: StorageBackend> Overlay<B> {
    /// A view of `file`, which is never written to (it must be open for writing to be locked).
    pub fn new(file: B) -> io::Result<Self> {
        let len = file.len()?;
        let changed = Mutex::new(Changed { pages: HashMap::new(), len, visible: len });
        Ok(Self { file, changed })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Page `number` as the file has it, zeros after its end.
    fn original(&self, number: u64, visible: u64) -> io::Result<Vec<u8>> {
        let mut page = vec![0; to_usize(PAGE)];
        let start = number * PAGE;
        let there = to_usize(visible.saturating_sub(start).min(PAGE));
        if there > 0 {
            self.file.read(start, &mut page[..there])?;
        }
        Ok(page)
    }
}

/// The pieces of `[offset, offset + len)`: page, place in the page, place in the buffer.
fn pieces(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = to_usize(at % PAGE);
        let count = (to_usize(PAGE) - start).min(len - done);
        let piece = (at / PAGE, start..start + count, done..done + count);
        done += count;
        Some(piece)
    })
}

/// Only used for what is at most a page or a buffer in memory.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changed.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, in_page, in_out) in pieces(offset, out.len()) {
            match changed.pages.get(&number) {
                Some(page) => out[in_out].copy_from_slice(&page[in_page]),
                None => out[in_out].copy_from_slice(&self.original(number, changed.visible)?[in_page]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed();
        changed.pages.retain(|number, _| number * PAGE < len);
        if let Some(page) = changed.pages.get_mut(&(len / PAGE)) {
            page[to_usize(len % PAGE)..].fill(0);
        }
        changed.visible = changed.visible.min(len);
        changed.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed();
        let visible = changed.visible;
        for (number, in_page, in_data) in pieces(offset, data.len()) {
            let page = match changed.pages.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(free) => free.insert(self.original(number, visible)?),
            };
            page[in_page].copy_from_slice(&data[in_data]);
        }
        changed.len = changed.len.max(offset + data.len() as u64);
        Ok(())
    }

    forward_locks!(file);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_seen_and_the_file_is_not_changed() {
        let dir = crate::testing::TempDir::new("overlay");
        let path = dir.path().join("file");
        let original: Vec<u8> =
            (0..10_000_u32).map(|byte| u8::try_from(byte % 251).expect("small")).collect();
        std::fs::write(&path, &original).expect("written");
        let file = std::fs::File::options().read(true).write(true).open(&path).expect("opens");
        let file = redb::backends::FileBackend::new(file).expect("a file");
        let view = Overlay::new(file).expect("a view");

        view.write(4_090, &[0xee; 20]).expect("written");
        view.set_len(20_000).expect("grown");
        let mut seen = vec![0; 20_000];
        view.read(0, &mut seen).expect("read");
        let mut wanted = original.clone();
        wanted[4_090..4_110].fill(0xee);
        wanted.resize(20_000, 0);
        assert!(seen == wanted);
        assert!(view.read(19_999, &mut [0; 2]).is_err());

        view.set_len(100).expect("cut");
        view.set_len(8_192).expect("grown");
        let mut seen = vec![1; 8_192];
        view.read(0, &mut seen).expect("read");
        assert!(seen[..100] == original[..100] && seen[100..].iter().all(|byte| *byte == 0));
        assert!(std::fs::read(&path).expect("read") == original);
    }
}
