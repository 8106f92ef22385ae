//! A terminal for one command: what stands on it when the command has ended.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};

/// Wide enough for every line.
const SIZE: Winsize = Winsize { ws_row: 200, ws_col: 1000, ws_xpixel: 0, ws_ypixel: 0 };

/// Longer than any command of a transcript takes.
const PATIENCE: Duration = Duration::from_mins(4);

/// What a command did at its terminal.
#[derive(Debug)]
pub struct Shown {
    pub code: Option<i32>,
    /// Lines that are not empty, without what was drawn over.
    pub lines: Vec<String>,
}

/// Runs a command at a terminal of its own; `input` comes from a pipe.
pub fn run(mut command: Command, input: Option<&str>) -> Shown {
    let OpenptyResult { master, slave } = openpty(&SIZE, None).unwrap();
    plain_newlines(&slave);
    let out = || Stdio::from(slave.try_clone().unwrap());
    command.env("TERM", "xterm").stdout(out()).stderr(out()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Else the terminal would not end with the command.
    drop((slave, command));
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may be gone already.
    let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    drop(stdin);
    let reader = thread::spawn(move || read(master));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    let lines = screen(&reader.join().unwrap());
    Shown { code: status.and_then(|status| status.code()), lines }
}

/// Lines end as the command writes them.
fn plain_newlines(terminal: &OwnedFd) {
    let mut settings = tcgetattr(terminal).unwrap();
    settings.output_flags.remove(OutputFlags::OPOST);
    tcsetattr(terminal, SetArg::TCSANOW, &settings).unwrap();
}

/// All that is written until the last writer is gone, which is an error on this side.
fn read(master: OwnedFd) -> String {
    let (mut file, mut all, mut part) = (File::from(master), Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = file.read(&mut part) {
        all.extend_from_slice(&part[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// What stands there in the end: the few control sequences by which lines are drawn over are followed.
fn screen(text: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => (row, column) = (row + 1, 0),
            '\r' => column = 0,
            '\u{1b}' if letters.peek() == Some(&'[') => {
                letters.next();
                let mut count = String::new();
                let end = letters.by_ref().find(|letter| {
                    count.push(*letter);
                    letter.is_ascii_alphabetic()
                });
                let count =
                    count.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).parse().unwrap_or(1);
                match end {
                    Some('A') => row = row.saturating_sub(count),
                    Some('B') => row += count,
                    Some('G') => column = count - 1,
                    Some('K') => lines[row].truncate(if count == 2 { 0 } else { column }),
                    Some('J') => {
                        lines.truncate(row + 1);
                        lines[row].truncate(column);
                    }
                    _ => {}
                }
            }
            letter => {
                // Behind the last column a line goes on in the next.
                if column == usize::from(SIZE.ws_col) {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let text = lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned());
    text.filter(|line| !line.is_empty()).collect()
}

#[test]
fn lines_that_are_drawn_over_stand_there_once() {
    let text = "id\r\n\u{1b}[2K\rhalf\n\u{1b}[2Kone\u{1b}[1A\r\u{1b}[2Kwhole\n\r\u{1b}[2Ktwo\ttabs\n\ndone";
    assert_eq!(screen(text), ["id", "whole", "two\ttabs", "done"]);
    let full = "x".repeat(SIZE.ws_col.into());
    assert_eq!(screen(&format!("id\n{full}{full}\u{1b}[1A\r\u{1b}[2Kone\nlast\r\u{1b}[2K")), ["id", "one"]);
    let ran = run(Command::new("cat"), Some("a\nb\n"));
    assert_eq!((ran.code, ran.lines), (Some(0), vec!["a".to_owned(), "b".to_owned()]));
}
