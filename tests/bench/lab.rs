//! A lab for measuring: release binaries, taken down when it is dropped.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failed;
use crate::http::Client;

/// How long anything may take before the measurement is given up.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A lab that is up.
pub struct Lab {
    name: String,
}

impl Lab {
    /// Brings up `nodes` nodes, so many of them managers.
    pub fn up(nodes: u8, managers: u8) -> Result<Self, Failed> {
        let lab = Self { name: format!("bench-{}", std::process::id()) };
        let (nodes, managers) = (nodes.to_string(), managers.to_string());
        lab.lab(&["up", "--nodes", &nodes, "--managers", &managers])?;
        Ok(lab)
    }

    /// A lab verb; its output.
    pub fn lab(&self, arguments: &[&str]) -> Result<String, Failed> {
        run(&[&["lab", "--name", &self.name], arguments].concat())
    }

    /// `meshctl` against a node.
    pub fn ctl(&self, node: u8, arguments: &[&str]) -> Result<String, Failed> {
        let host = format!("unix://{}", self.socket(node).display());
        run(&[&["-H", &host], arguments].concat())
    }

    pub fn socket(&self, node: u8) -> PathBuf {
        PathBuf::from(format!("/run/mesh/lab/{}/n{node}.sock", self.name))
    }

    pub fn client(&self, node: u8) -> io::Result<Client> {
        Client::open(&self.socket(node), PATIENCE)
    }

    /// The process of a node's meshd.
    pub fn pid(&self, node: u8) -> Result<i32, Failed> {
        let status: Value = serde_json::from_str(&self.lab(&["status", "--format", "json"])?)?;
        let name = format!("n{node}");
        let nodes = status["nodes"].as_array().into_iter().flatten();
        let found = nodes.into_iter().find(|found| found["name"] == name.as_str());
        let pid = found.and_then(|found| found["pid"].as_i64()).and_then(|pid| i32::try_from(pid).ok());
        Ok(pid.ok_or_else(|| format!("meshd of {name} does not run"))?)
    }

    /// The resident memory of a node's meshd, in MiB.
    pub fn memory(&self, node: u8) -> Result<f64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(node)?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kibibytes.ok_or("no VmRSS in /proc")? / 1024.0)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.lab(&["down"]) {
            eprintln!("the lab {} was not taken down: {error}", self.name);
        }
    }
}

/// Asks until there is something.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, Failed>) -> Result<T, Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("no {what} within {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run(arguments: &[&str]) -> Result<String, Failed> {
    let program =
        std::env::var_os("MESH_BIN").map(PathBuf::from).ok_or("MESH_BIN is not set: `make bench` does")?;
    let output = Command::new(program.join("meshctl")).args(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // Above the error are steps that were made.
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.trim().lines().last().unwrap_or("meshctl failed and said nothing").into())
}
