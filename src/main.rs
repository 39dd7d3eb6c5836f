//! The `driftline` program.

use std::process::ExitCode;

use clap::Parser;
use driftline::cli::{self, ExitStatus};

/// Gives memory back after a burst, and is cheap for the many small vectors of a row.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::finish(cli::run(cli, &mut std::io::stdout()).await.unwrap_or_else(|error| {
        cli::report(&error);
        ExitStatus::Error
    }))
}
