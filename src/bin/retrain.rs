//! The `retrain` program: manual triggers and the state of training runs.

use std::process::ExitCode;

use clap::Parser;
use driftline::cli::{self, ExitStatus};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::RetrainCli::parse();
    cli::finish(cli::run_retrain_cli(cli, &mut std::io::stdout()).await.unwrap_or_else(|error| {
        cli::report(&error);
        ExitStatus::Error
    }))
}
