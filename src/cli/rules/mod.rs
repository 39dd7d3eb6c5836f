//! `driftline rules`: check, test, replay.

use std::io::Write;
use std::path::PathBuf;

use super::ExitStatus;
use crate::config::Settings;

mod check;
mod replay;
mod trial;

pub(super) use trial::check_beside;

/// The verbs of `rules`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check rule files and report every problem
    Check {
        /// Rule files to check
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the tests of rules: files that end in `.test.yaml`
    Test {
        /// Test files, or folders that hold some; by default those beside the rules of the settings
        #[arg(value_name = "FILE|DIR")]
        places: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what rules would have done over the stored reports, beside the rules in force
    Replay(replay::Arguments),
}

/// Runs a verb; only some look at the settings.
///
/// # Errors
///
/// When a file cannot be read, the database is not reached, or `out` not written.
pub(super) async fn run(
    command: Command,
    settings: impl FnOnce() -> anyhow::Result<Settings>,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Check { files, json } => check::check(&files, json, out),
        Command::Test { places, json } => trial::run(&places, settings, json, out),
        Command::Replay(arguments) => replay::run(&arguments, &settings()?, out).await,
    }
}
