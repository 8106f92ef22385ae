//! What people who learn Swarm type, and what they are shown: transcripts with `meshctl` in the place of `docker`
//! and the built-in images in the place of others, replayed in labs. Tables, states and messages are the same.

mod compare;
mod pattern;
mod terminal;
mod transcript;

use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::compare::compare;
use self::pattern::{Bound, fill};
use self::terminal::Shown;
use self::transcript::{Step, Transcript, Who, words};
use crate::harness::{Lab, PATIENCE, bin};

/// Commands that only look: what they show comes about in a moment, so that they are asked again.
const LOOKS: [&[&str]; 4] = [&["ls"], &["ps"], &["inspect"], &["info"]];

struct Replay {
    lab: Lab,
    bound: Bound,
}

fn replay(name: &str, story: &str) {
    let file = format!("{}/lab/seeds/{story}.txt", env!("CARGO_MANIFEST_DIR"));
    let Transcript { nodes, steps } = Transcript::parse(&std::fs::read_to_string(file).unwrap());
    let mut replay = Replay { lab: Lab::up(name, nodes), bound: Bound::new() };
    for step in &steps {
        let begun = Instant::now();
        replay.take(step);
        println!("{:>5} ms  {:?} {}", begun.elapsed().as_millis(), step.who, step.command);
    }
}

impl Replay {
    fn take(&mut self, step: &Step) {
        let words = words(&fill(&step.command, &self.bound));
        if words[0] == "kill" {
            return self.kill(&words[1]);
        }
        let looks = LOOKS.iter().any(|verb| words.iter().any(|word| verb.contains(&word.as_str())));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.run(step.who, &words, step.input.as_deref());
            let Err(difference) = self.compare(step, &shown) else { return };
            assert!(
                looks && Instant::now() < deadline,
                "line {}: {}\n{difference}\n--- expected\n{}\n--- shown ({:?})\n{}\n{}",
                step.line,
                step.command,
                step.prints.join("\n"),
                shown.code,
                shown.lines.join("\n"),
                self.lab.report(),
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    fn run(&self, who: Who, words: &[String], input: Option<&str>) -> Shown {
        let Who::Node(node) = who else {
            // What a lab starts lives on: no terminal may wait for its end.
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = self.lab.lab(&words);
            return Shown { code: Some(ran.code), lines: ran.stdout.lines().map(str::to_owned).collect() };
        };
        assert_eq!(words[0], "meshctl", "{words:?}");
        let mut command = Command::new(bin().join("meshctl"));
        command.arg("-H").arg(format!("unix://{}", self.lab.socket(node).display())).args(&words[1..]);
        terminal::run(command, input)
    }

    fn compare(&mut self, step: &Step, shown: &Shown) -> Result<(), String> {
        if (shown.code == Some(0)) == step.fails {
            return Err(format!("it ended with {:?}", shown.code));
        }
        let mut bound = self.bound.clone();
        compare(&step.prints, &shown.lines, &mut bound)?;
        self.bound = bound;
        Ok(())
    }

    /// Ends the process of the task that runs in this slot.
    fn kill(&self, slot: &str) {
        let (service, slot) = slot.rsplit_once('.').unwrap();
        let slot: u64 = slot.parse().unwrap();
        let tasks = self.lab.running(service);
        let task = tasks.iter().find(|task| task.value["Slot"] == slot).expect("no such task runs");
        kill(Pid::from_raw(i32::try_from(task.pid).unwrap()), Signal::SIGKILL).unwrap();
    }
}

#[test]
fn services_are_deployed_updated_and_rolled_back() {
    replay("seed-1", "deploy");
}

#[test]
fn services_live_on_while_they_grow_and_nodes_are_drained() {
    replay("seed-2", "life");
}

#[test]
fn services_take_their_settings() {
    replay("seed-3", "settings");
}

#[test]
fn a_swarm_is_made_loses_nodes_and_recovers() {
    replay("seed-4", "swarm");
}

#[test]
fn a_first_service_is_made_and_scaled() {
    replay("seed-5", "first");
}
