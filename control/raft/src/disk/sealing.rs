//! With what the rows of a state file are sealed.

use std::fmt;

/// The key that rows are sealed with. Whoever hands it in keeps it, sealed in turn or not.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey {
    /// Its number: rows name the key that opens them. Never used again for another.
    pub id: u32,
    /// The key itself.
    pub bytes: [u8; 32],
}

/// The bytes are for nobody's log.
impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

/// Keys of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    current: DataKey,
    earlier: Vec<DataKey>,
    plain: bool,
}

impl Keys {
    /// Rows are sealed with `current`, and only such rows are opened.
    pub fn new(current: DataKey) -> Self {
        Self { current, earlier: Vec::new(), plain: false }
    }

    /// Rows that `key` sealed are opened too, and sealed with the current one when they are next written.
    #[must_use]
    pub fn after(mut self, key: DataKey) -> Self {
        self.earlier.push(key);
        self
    }

    /// Rows from before there was a key are opened too. Without this a row that somebody put there unsealed
    /// is refused.
    #[must_use]
    pub fn after_plain(mut self) -> Self {
        self.plain = true;
        self
    }

    pub(super) fn current(&self) -> &DataKey {
        &self.current
    }

    pub(super) fn find(&self, id: u32) -> Option<&DataKey> {
        std::iter::once(&self.current).chain(&self.earlier).find(|key| key.id == id)
    }

    pub(super) fn opens_plain(&self) -> bool {
        self.plain
    }
}

/// How rows are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sealing {
    /// As they are.
    #[default]
    Plain,
    /// Sealed with XChaCha20-Poly1305, their table and key bound to them.
    Key(Keys),
}

impl Sealing {
    /// The key that rows sealed by `earlier` need and this has not; 0 when they are not sealed.
    pub(super) fn lacks(&self, earlier: &Self) -> Option<u32> {
        match (self, earlier) {
            (Self::Plain, Self::Plain) => None,
            (Self::Key(keys), Self::Plain) => (!keys.opens_plain()).then_some(0),
            (Self::Plain, Self::Key(keys)) => Some(keys.current().id),
            (Self::Key(now), Self::Key(before)) => {
                Some(before.current()).filter(|key| now.find(key.id) != Some(key)).map(|key| key.id)
            }
        }
    }
}
