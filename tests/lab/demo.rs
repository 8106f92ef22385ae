//! What the README's first screen shows.

use std::process::Command;
use std::time::Instant;

use crate::harness::{bin, take_turn};

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing_behind() {
    let _turn = take_turn();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let start = Instant::now();
    let output = Command::new(script).arg(bin()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for promised in
        ["client 192.0.2.200", "failed=0 tasks=3", "non-zero exit (137)", "Down", "nothing is left behind"]
    {
        assert!(text.contains(promised), "{promised:?} is missing from\n{text}\n{errors}");
    }
    println!("the demo took {:?}", start.elapsed());
}
