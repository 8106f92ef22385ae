//! `meshctl completion`

use clap::{Args, Command};
use clap_complete::{Shell as Kind, generate};

use crate::error::CliError;
use crate::output::Shell;

/// `meshctl completion`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl completion bash > /etc/bash_completion.d/meshctl\n  source <(meshctl completion zsh)"
)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Kind,
}

/// Prints the script.
pub fn run(args: &CompletionArgs, command: &mut Command, shell: &mut Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    generate(args.shell, command, "meshctl", &mut script);
    Ok(shell.raw(&String::from_utf8_lossy(&script))?)
}
