//! `make bench`: what the design promises in numbers, measured on this machine beside what the references
//! reached on such a one. It says which rows fall short and never fails: numbers depend on the machine.
//!
//! `cargo bench -p mesh-tests --bench bench -- WORD …` measures the parts whose names hold one of the words.

mod control;
mod http;
mod lab;
mod schedule;
mod table;

use std::error::Error;

use table::{Row, Table};

/// What went wrong while something was measured; told in the table.
type Failed = Box<dyn Error + Send + Sync>;

/// One part: its name, and what measures it.
type Part = (&'static str, fn(&mut Vec<Row>) -> Result<(), Failed>);

const PARTS: [Part; 5] = [
    ("control plane: scheduler", schedule::scheduler),
    ("control plane: simulation", schedule::simulation),
    ("control plane: one manager", control::one_manager),
    ("control plane: three managers", control::three_managers),
    ("control plane: tasks", control::tasks),
];

fn main() {
    // Cargo passes flags of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut short, mut missing) = (0, 0);
    for (name, measure) in PARTS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("==> measuring {name}");
        let mut table = Table::new(name);
        if let Err(error) = measure(&mut table.rows) {
            table.rows.push(Row::not_measured("the rest", &error.to_string()));
            missing += 1;
        }
        short += table.short();
        println!("{table}");
    }
    match (short, missing) {
        (0, 0) => println!("every row meets its target"),
        (short, 0) => println!("{short} rows fall short"),
        (short, missing) => println!("{short} rows fall short, and {missing} parts were not measured whole"),
    }
}
