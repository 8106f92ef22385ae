//! `meshd dataplane`: a node's network from a file, without a cluster.

use std::io;
use std::path::PathBuf;

use mesh_dataplane::check::FileError;
use mesh_dataplane::{ApplyErrors, Dataplane, DataplaneError, read_state};

use crate::args::DataplaneAction;

/// Why the network was not made so.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneCommandError {
    /// The file could not be read, or holds no desired state.
    #[error(transparent)]
    File(#[from] FileError),
    /// The dataplane could not be opened.
    #[error(transparent)]
    Open(#[from] DataplaneError),
    /// Not everything was done.
    #[error(transparent)]
    Apply(#[from] ApplyErrors),
    /// The asynchronous runtime.
    #[error("the system refused what meshd needs to run: {0}")]
    System(#[from] io::Error),
}

/// Runs the command.
pub fn run(run_dir: PathBuf, action: &DataplaneAction) -> Result<(), DataplaneCommandError> {
    // A wrong file is refused before anything is touched.
    let state = match action {
        DataplaneAction::Apply { file } => Some(read_state(file)?),
        DataplaneAction::Clear => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let config = mesh_dataplane::Config { run_dir, ..mesh_dataplane::Config::default() };
        let dataplane = Dataplane::open(config).await?;
        match state {
            Some(state) => {
                let report = dataplane.apply(state).await?;
                for step in report.devices.iter().chain(&report.tables) {
                    println!("{step}");
                }
            }
            None => dataplane.leave().await?,
        }
        Ok(())
    })
}
