//! `driftline docs`: pages of the documentation that are made from the program itself.

use std::io::Write;

use super::ExitStatus;
use crate::metrics;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the reference of all metrics as Markdown
    Metrics,
}

/// Prints a page.
pub(super) fn run(command: &Command, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Metrics => write!(out, "{}", metrics::reference()?)?,
    }
    Ok(ExitStatus::Success)
}
