//! Everything that is written: results on standard output, the rest on standard error. Commands hand in
//! what is to be said; how it looks on a terminal, in a pipe, or as JSON is decided here.

pub mod list;
pub mod natural;
pub mod progress;
pub mod table;
pub mod template;
pub mod words;

use std::io::{self, IsTerminal, Write};

/// Where a command's words go.
pub struct Shell {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Standard error is a terminal, where lines can be drawn over.
    pub interactive: bool,
}

impl Shell {
    /// The process's own streams.
    pub fn standard() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            interactive: io::stdout().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// Streams of a test.
    #[cfg(test)]
    pub fn to(out: impl Write + 'static, err: impl Write + 'static) -> Self {
        Self { out: Box::new(out), err: Box::new(err), interactive: false }
    }

    /// A line of the result.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A piece of the result, as it is.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// A line beside the result: progress, warnings.
    pub fn note(&mut self, text: &str) {
        // Nothing can be done for a reader of notes that went away.
        let _ = writeln!(self.err, "{text}");
    }

    /// A question to the one at the keyboard; the answer is typed on the same line.
    pub fn prompt(&mut self, text: &str) -> io::Result<()> {
        self.err.write_all(text.as_bytes())?;
        self.err.flush()
    }

    /// A value as indented JSON, as docker's inspect shows it.
    pub fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(value, &mut serializer)?;
        text.push(b'\n');
        self.out.write_all(&text)
    }
}

impl mesh_lab::Terminal for Shell {
    fn progress(&mut self, line: &str) {
        self.note(line);
    }

    fn print(&mut self, text: &str) {
        // The lab's verbs go on when nobody reads what they print.
        let _ = self.line(text);
    }

    fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) {
        let header = header.iter().map(|&word| word.to_owned()).collect();
        let _ = self.raw(&table::render(std::iter::once(header).chain(rows)));
    }
}
