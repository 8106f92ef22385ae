//! Forms the cluster out of started nodes, with the commands that a person would type.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::LabError;
use crate::layout::{Layout, NodeName};
use crate::state::{LabState, NodeRecord, NodeState};

/// How long nodes may take until every manager counts and every node is ready.
const SETTLE_DEADLINE: Duration = Duration::from_mins(1);

/// What `node ls` is asked for: see [`missing`].
const COLUMNS: &str = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";

/// Initialises the cluster on the first node and lets the others join, each in its role: the managers one
/// after the other, as their group grows, then the workers at once. Returns when all of them count.
pub fn form(layout: &Layout, state: &LabState, mut progress: impl FnMut(&str)) -> Result<(), LabError> {
    let Some((first, rest)) = state.nodes.split_first() else { return Ok(()) };
    progress(&format!("{}: swarm init", first.name));
    meshctl(layout, first.name, &["swarm", "init", "--advertise-addr", &first.name.address().to_string()])?;
    let (managers, workers): (Vec<_>, Vec<_>) = rest.iter().partition(|record| record.manager);
    for record in managers {
        progress(&format!("{}: swarm join as manager", record.name));
        join(layout, first.name, record)?;
    }
    for record in &workers {
        progress(&format!("{}: swarm join as worker", record.name));
    }
    thread::scope(|scope| {
        let joins: Vec<_> =
            workers.iter().map(|record| scope.spawn(|| join(layout, first.name, record))).collect();
        joins.into_iter().try_for_each(|join| {
            join.join().map_err(|_| LabError::Thread { place: layout.socket(first.name) })?
        })
    })?;
    let wanted: Vec<&NodeRecord> = state.nodes.iter().collect();
    settle(layout, first.name, &wanted)
}

/// Lets one more node join the cluster of those that are up, through whichever manager answers.
pub fn enlarge(layout: &Layout, state: &LabState, record: &NodeRecord) -> Result<(), LabError> {
    let running = |other: &&NodeRecord| other.state() == NodeState::Running;
    let mut others: Vec<_> = state.nodes.iter().filter(running).collect();
    // Who was started as a manager probably is one, and its refusal tells most.
    others.sort_by_key(|other| !other.manager);
    let mut refused = None;
    for other in others {
        match join(layout, other.name, record) {
            Ok(()) => return settle(layout, other.name, &[record]),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let nobody = || LabError::Step {
        step: format!("{}: swarm join", record.name),
        message: "no other node of the lab runs".to_owned(),
    };
    Err(refused.unwrap_or_else(nobody))
}

/// Lets a node join in its role, with the token that the manager `through` shows.
fn join(layout: &Layout, through: NodeName, record: &NodeRecord) -> Result<(), LabError> {
    let role = if record.manager { "manager" } else { "worker" };
    let token = meshctl(layout, through, &["swarm", "join-token", "-q", role])?;
    let (own, to) = (record.name.address().to_string(), format!("{}:2377", through.address()));
    let join = ["swarm", "join", "--token", token.trim(), "--advertise-addr", &own, &to];
    meshctl(layout, record.name, &join).map(|_| ())
}

/// Waits until `asked` lists every node of `wanted` as ready, the managers among them as members of the group,
/// and each of these answers for the cluster itself.
fn settle(layout: &Layout, asked: NodeName, wanted: &[&NodeRecord]) -> Result<(), LabError> {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let managers = wanted.iter().filter(|record| record.manager).map(|record| record.name);
    for manager in std::iter::once(asked).chain(managers.filter(|name| *name != asked)) {
        loop {
            let lacking = match meshctl(layout, manager, &["node", "ls", "--format", COLUMNS]) {
                Ok(listing) => missing(&listing, wanted),
                Err(error) => Some(error.to_string()),
            };
            let Some(message) = lacking else { break };
            if Instant::now() > deadline {
                return Err(LabError::Step { step: format!("{manager}: node ls"), message });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// What a listing of [`COLUMNS`] lacks, or `None`.
fn missing(listing: &str, wanted: &[&NodeRecord]) -> Option<String> {
    wanted.iter().find_map(|record| {
        let name = record.name.to_string();
        let listed = listing.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut same = listed.filter(|words| words.first() == Some(&name.as_str()));
        let counts = |words: Vec<&str>| {
            let manager = words.get(2).is_some_and(|status| ["Leader", "Reachable"].contains(status));
            words.get(1) == Some(&"Ready") && manager == record.manager
        };
        let role = if record.manager { "manager" } else { "worker" };
        (!same.any(counts)).then(|| format!("{name} is not a ready {role} yet"))
    })
}

/// Runs this very program against a node's socket and answers what it printed.
fn meshctl(layout: &Layout, node: NodeName, arguments: &[&str]) -> Result<String, LabError> {
    let own = std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"))?;
    let socket = format!("unix://{}", layout.socket(node).display());
    let output = Command::new(&own)
        .args(["-H", &socket])
        .args(arguments)
        .output()
        .map_err(LabError::file("run", &own))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Step {
        step: format!(
            "{node}: {}",
            arguments.first().zip(arguments.get(1)).map_or(String::new(), |(a, b)| format!("{a} {b}"))
        ),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Fault;

    fn record(number: u8, manager: bool) -> NodeRecord {
        let name = NodeName::numbered(number).unwrap();
        NodeRecord { name, manager, fault: Fault::None, pid: 0, started: 0 }
    }

    #[test]
    fn a_cluster_is_settled_when_all_are_ready_in_their_roles() {
        let (one, two, three) = (record(1, true), record(2, true), record(3, false));
        let wanted = [&one, &two, &three];
        let listing = |two: &str, three: &str| format!("n1 Ready Leader\n{two}\n{three}\n");
        assert_eq!(missing(&listing("n2 Ready Reachable", "n3 Ready "), &wanted), None);
        let lacking = [
            ("n2 Ready Unreachable", "n3 Ready ", "n2"),
            ("n2 Ready ", "n3 Ready ", "n2"),
            ("n2 Down Reachable", "n3 Ready ", "n2"),
            ("n2 Ready Reachable", "n3 Down ", "n3"),
            ("n2 Ready Reachable", "n3 Ready Reachable", "n3"),
            ("n2 Ready Reachable", "n33 Ready ", "n3"),
        ];
        for (second, third, node) in lacking {
            let told = missing(&listing(second, third), &wanted).expect(second);
            assert!(told.starts_with(&format!("{node} ")), "{second}, {third}: {told}");
        }
    }

    #[test]
    fn a_node_that_left_does_not_stand_for_the_one_that_came_back() {
        let two = record(2, true);
        assert_eq!(missing("n2 Down \nn2 Ready Reachable", &[&two]), None);
        assert!(missing("n2 Down Unreachable", &[&two]).is_some());
    }
}
