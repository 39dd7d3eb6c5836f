//! The `driftline` program.

use std::process::ExitCode;

use clap::Parser;
use driftline::cli::{self, ExitStatus};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::finish(Box::pin(cli::run(cli, &mut std::io::stdout())).await.unwrap_or_else(|error| {
        cli::report(&error);
        ExitStatus::Error
    }))
}
