//! The last step of a change: until every node's network and names have it. Then a request to any of them
//! is answered as the service now is.

use mesh_api::mesh::Settled;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// Waits for the nodes, at most the daemon's two seconds. A node that is late is told of and is no failure:
/// it comes to it by itself.
pub async fn settle(client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match client.settled().await {
        Ok(settled) => {
            if let Some(note) = note(&settled) {
                shell.note(&note);
            }
            Ok(())
        }
        // The daemon is of a version that does not tell.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

fn note(settled: &Settled) -> Option<String> {
    (!settled.settled).then(|| match settled.waiting.as_slice() {
        [] => "not every node has it yet".to_owned(),
        waiting => format!("not every node has it yet: {}", waiting.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_nodes_are_named() {
        let settled = |settled, waiting: &[&str]| {
            let waiting = waiting.iter().map(|&name| name.to_owned()).collect();
            note(&Settled { settled, index: 7, waiting })
        };
        assert_eq!(settled(true, &[]), None);
        assert_eq!(settled(false, &["n2", "n3"]).unwrap(), "not every node has it yet: n2, n3");
        assert_eq!(settled(false, &[]).unwrap(), "not every node has it yet");
    }
}
