//! What is asked of the one at the keyboard.

use std::io::{self, BufRead, IsTerminal};
use std::os::fd::AsFd;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

use crate::error::CliError;
use crate::output::Shell;

/// A line that is for nobody's eyes: on a terminal after `prompt` and without echo, else from standard input.
pub async fn secret(prompt: &str, shell: &mut Shell) -> Result<String, CliError> {
    let stdin = io::stdin();
    let interactive = stdin.is_terminal();
    // Restores the echo however this ends; a key press of Ctrl-C is heard as a signal.
    let _quiet = if interactive {
        shell.prompt(prompt)?;
        Some(Quiet::new(&stdin)?)
    } else {
        None
    };
    let (told, line) = oneshot::channel();
    // A thread of its own: the runtime would wait for a blocked one of its pool.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        // Nobody waits after Ctrl-C.
        let _ = told.send(read);
    });
    let line = tokio::select! {
        line = line => line.map_err(|_| CliError::Interrupted)??,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            shell.note("");
            return Err(CliError::Interrupted);
        }
    };
    if interactive {
        shell.note("");
    }
    Ok(line.trim().to_owned())
}

/// A terminal that does not show what is typed.
struct Quiet<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a io::Stdin) -> io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(terminal.as_fd(), SetArg::TCSANOW, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing can be done for a terminal that went away.
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSANOW, &self.before);
    }
}
