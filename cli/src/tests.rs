//! What the tests of several modules use.

mod content;
mod fake;
mod node;
mod service;
mod swarm;

use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::error::CliError;
use crate::output::Shell;

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that `action` writes to either stream, and its error's line.
pub fn captured(action: impl FnOnce(&mut Shell) -> Result<(), CliError>) -> String {
    let kept = Kept::default();
    let mut shell = Shell::to(kept.clone(), kept.clone());
    if let Err(error) = action(&mut shell) {
        shell.note(&error.to_string());
    }
    kept.text()
}
