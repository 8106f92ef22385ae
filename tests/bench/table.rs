//! Tables of results.

use std::fmt;
use std::time::Duration;

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One row.
#[derive(Debug)]
pub struct Row {
    what: String,
    reference: &'static str,
    ours: String,
    target: String,
    /// `None`: there is nothing to compare.
    meets: Option<bool>,
}

impl Row {
    /// A figure with its unit. `reference` is what the reference reached, in the same unit.
    pub fn new(what: &str, reference: &'static str, figure: f64, unit: &str, target: Target) -> Self {
        let (word, bound, meets) = match target {
            Target::AtLeast(bound) => ("≥", bound, figure >= bound),
            Target::AtMost(bound) => ("≤", bound, figure <= bound),
        };
        Self {
            what: what.to_owned(),
            reference,
            ours: format!("{} {unit}", rounded(figure)),
            target: format!("{word} {} {unit}", rounded(bound)),
            meets: Some(meets),
        }
    }

    /// A figure that nothing is asked of.
    pub fn figure(what: &str, reference: &'static str, figure: f64, unit: &str) -> Self {
        let ours = format!("{} {unit}", rounded(figure));
        Self { what: what.to_owned(), reference, ours, target: String::new(), meets: None }
    }

    /// A figure that could not be had.
    pub fn not_measured(what: &str, why: &str) -> Self {
        let ours = format!("not measured: {why}");
        Self { what: what.to_owned(), reference: "", ours, target: String::new(), meets: None }
    }

    /// Adds how far single measurements lay apart, or what else there is to know.
    pub fn with(self, note: &str) -> Self {
        Self { ours: format!("{} ({note})", self.ours), ..self }
    }
}

/// Rows under a name.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new() }
    }

    /// How many rows miss their target.
    pub fn short(&self) -> usize {
        self.rows.iter().filter(|row| row.meets == Some(false)).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |row: &Row| {
            let verdict = match row.meets {
                Some(true) => "meets it",
                Some(false) => "FALLS SHORT",
                None => "",
            };
            [&row.what, row.reference, &row.ours, &row.target, verdict].map(str::to_owned)
        };
        let head = [self.name, "Swarm", "mesh", "target", ""].map(str::to_owned);
        let lines: Vec<[String; 5]> = std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for line in &lines {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// The middle one of several measurements.
pub fn median(measured: &[Duration]) -> Duration {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Three digits that count.
fn rounded(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}
