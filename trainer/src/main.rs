//! The retraining worker: claims queued runs, or carries out one run from a file.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use driftline::store;
use driftline::store::cluster::Cluster;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

mod journal;
mod captured;
mod dataset;
mod features;
mod linear;
mod tree;
mod device;
mod usage;
mod architecture;
mod network;
mod batches;
mod loss;
mod schedule;
mod checkpoint;
mod training;
mod search;
mod deep;
mod held_out;
mod simple;
mod contest;
mod skew;
mod register;
mod job;
mod local;
mod bench;

/// Retrains models: linear first, then deep, gated and registered
#[derive(Debug, Parser)]
#[command(name = "driftline-trainer", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Claim queued runs until stopped
    Work(Work),
    /// Measure how fast this machine trains
    Bench(bench::Bench),
    /// Carry out one run without a queue
    Run {
        /// Specification with a `file` source
        spec: PathBuf,
        /// Artifact to beat, as if it were in production
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Folder to write the winner to
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Work {
    /// The database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// File with the password of the database
    #[arg(long, env = "DATABASE_PASSWORD_FILE", value_name = "FILE", conflicts_with = "data_dir")]
    database_password_file: Option<PathBuf>,
    /// Folder of a sidecar with a private Postgres, which is shared with it
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    data_dir: Option<PathBuf>,
    /// Leave after one run, or when there is none
    #[arg(long)]
    once: bool,
    /// Seconds between looks at an empty queue
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    poll: f64,
    /// Seconds without a heartbeat after which another worker takes over
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, hide = true)]
    lease: f64,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // Nothing is left to tell when standard error is closed.
            writeln!(io::stderr(), "error: {error:#}").unwrap_or_default();
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Run { spec, against, out } => {
            local::run(&spec, against.as_deref(), out.as_deref(), &mut io::stdout(), &mut io::stderr())
        }
        Command::Bench(bench) => bench::run(&bench, &mut io::stdout()),
        Command::Work(work) => {
            tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_writer(io::stderr)
                .with_env_filter(
                    tracing_subscriber::EnvFilter::try_from_default_env()
                        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn")),
                )
                .init();
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("the runtime could not be started")?
                .block_on(work_until_stopped(work))
        }
    }
}

async fn work_until_stopped(work: Work) -> Result<bool> {
    // Kept until the end: the private server stops when the last program that uses it does.
    let mut cluster = None;
    let url = match (work.database_url, work.data_dir) {
        (Some(url), _) => url,
        (None, Some(folder)) => cluster.insert(Cluster::start(&folder, None).await?).url().to_owned(),
        (None, None) => bail!("no database: give --database-url, DATABASE_URL or --data-dir"),
    };
    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .ok()
            .filter(|span| !span.is_zero())
            .with_context(|| format!("--{name} {value} is not a number of seconds"))
    };
    let (pause, lease) = (seconds("poll", work.poll)?, seconds("lease", work.lease)?);
    let password = work.database_password_file.as_deref().map(store::read_password).transpose()?;
    let database = store::connect_with(&url, password.as_deref(), 4).await?;
    let (stop, shutdown) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    let mut watchers = JoinSet::new();
    watchers.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.send_replace(true);
        // Kept open, so that the loop sees the value and not a closed channel.
        std::future::pending::<()>().await;
    });
    let name = format!("{}-{}", host_name(), std::process::id());
    tracing::info!(worker = name, "waiting for runs");
    let worker = job::Worker { pool: database, name, lease, poll: pause, once: work.once, shutdown };
    let outcome = worker.work().await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    outcome
}

/// The machine's name, as far as it is known.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "worker".to_owned())
}
