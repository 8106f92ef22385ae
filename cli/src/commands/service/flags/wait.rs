//! Waiting for what a command asked for.

use clap::Args;

/// Whether and how a command waits.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct WaitFlags {
    /// Do not wait until the tasks run
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    pub detach: bool,
    /// Do not show progress
    #[arg(short, long)]
    pub quiet: bool,
    /// When the tasks run, watch for the time of --update-monitor whether they stay up
    #[arg(long)]
    pub monitor: bool,
}
