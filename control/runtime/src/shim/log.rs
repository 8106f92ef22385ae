//! A task's output: a file that never grows beyond a bound, with one older part beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Most bytes of one part, so twice that is kept.
pub const PART_MAX: u64 = 1 << 20;

/// One stream's log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    written: u64,
    part_max: u64,
}

impl Log {
    /// Opens the log at `path`; `path` with `.1` appended becomes the older part.
    pub fn open(path: PathBuf, part_max: u64) -> io::Result<Self> {
        let file = create(&path)?;
        Ok(Self { path, file, written: 0, part_max })
    }

    /// Appends; begins a new part first when this one is full.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.written > 0 && self.written.saturating_add(length) > self.part_max {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            fs::rename(&self.path, older)?;
            self.file = create(&self.path)?;
            self.written = 0;
        }
        self.written = self.written.saturating_add(length);
        self.file.write_all(bytes)
    }
}

fn create(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_output_is_kept_within_the_bound() {
        let dir = std::env::temp_dir().join(format!("mesh-log-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("directory");
        let path = dir.join("out");
        let mut log = Log::open(path.clone(), 10).expect("open");
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            log.append(line.as_bytes()).expect("append");
        }
        let read = |name| fs::read_to_string(dir.join(name)).expect("read");
        assert_eq!((read("out.1"), read("out")), ("three\n".into(), "four\nfive\n".into()));
        fs::remove_dir_all(&dir).expect("remove");
    }
}
