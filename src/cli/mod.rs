//! The command line: one file per noun; output is a parameter, findings are not errors.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::app;
use crate::config::Settings;

mod alerts;
mod baseline;
mod baseline_traffic;
mod capture;
mod check;
mod compare;
mod demo;
mod docs;
mod drift;
mod expectations;
mod healthcheck;
mod labels;
mod models;
mod performance;
mod receivers;
pub mod retrain;
mod rules;
mod run;
mod schema;
mod tokens;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: clean.
    Success,
    /// 1: findings: drift found, a rule refused, a run rejected.
    Failure,
    /// 2: it could not run.
    Error,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Success => 0,
            ExitStatus::Failure => 1,
            ExitStatus::Error => 2,
        })
    }
}

/// Watches a model server for drift, alerts by rule, and retrains
#[derive(Debug, Parser)]
#[command(name = "driftline", version, propagate_version = true)]
pub struct Cli {
    /// Settings file; without it, `driftline.yaml` in the current folder when there is one
    #[arg(short, long, global = true, env = "DRIFTLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole loop on real data, nothing to set up
    Demo(demo::Arguments),
    /// Run the sidecar
    Run,
    /// Check settings, rules, baselines and connections, and report every problem
    Check,
    /// Ask the sidecar of these settings whether it lives; exit status 1 when it does not answer
    Healthcheck,
    /// Compare two data files, without a server
    Compare(Box<compare::Arguments>),
    /// Build, list, show and compare baselines
    #[command(subcommand)]
    Baseline(baseline::Command),
    /// List, show and recompute drift reports
    #[command(subcommand)]
    Drift(drift::Command),
    /// Propose, check, try and import what is expected of rows and columns
    #[command(subcommand)]
    Expectations(expectations::Command),
    /// Learn which columns a model's predictions have
    #[command(subcommand)]
    Schema(schema::Command),
    /// List, show, acknowledge and silence alerts
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Check and test rule files, and replay them over what is stored
    #[command(subcommand)]
    Rules(rules::Command),
    /// List and test receivers, and have messages tried again
    #[command(subcommand)]
    Receivers(receivers::Command),
    /// Show, check and move captured rows
    #[command(subcommand)]
    Capture(capture::Command),
    /// Import delayed labels
    #[command(subcommand)]
    Labels(labels::Command),
    /// How good predictions were, once their labels had come
    #[command(subcommand)]
    Performance(performance::Command),
    /// The registry
    #[command(subcommand)]
    Models(models::Command),
    /// Make, list and revoke tokens for the API and the page
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Queue and follow training runs (also the `retrain` program)
    #[command(subcommand)]
    Retrain(retrain::Command),
    /// Print pages of the documentation
    #[command(subcommand, hide = true)]
    Docs(docs::Command),
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command given on the command line, writing results to `out`.
///
/// # Errors
///
/// Whatever kept it from running; findings are an [`ExitStatus`], not an error.
pub async fn run(cli: Cli, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    app::install_crypto();
    let config = cli.config.as_deref();
    match cli.command {
        Command::Demo(arguments) => demo::run(arguments, out).await,
        Command::Run => run::run(load_settings(config)?, settings_file(config)).await,
        Command::Check => check::run(config, out).await,
        Command::Healthcheck => healthcheck::run(&load_settings(config)?, out).await,
        Command::Compare(arguments) => compare::run(&arguments, &load_settings(config)?, out),
        Command::Baseline(command) => baseline::run(command, load_settings(config)?, out).await,
        Command::Drift(command) => drift::run(command, load_settings(config)?, out).await,
        Command::Expectations(command) => expectations::run(command, || load_settings(config), out),
        Command::Schema(command) => schema::run(command, load_settings(config)?, out).await,
        Command::Alerts(command) => alerts::run(command, load_settings(config)?, out).await,
        Command::Receivers(command) => receivers::run(command, &load_settings(config)?, out).await,
        Command::Rules(command) => rules::run(command, || load_settings(config), out).await,
        Command::Capture(command) => capture::run(command, load_settings(config)?, out).await,
        Command::Labels(command) => labels::run(command, load_settings(config)?, out).await,
        Command::Models(command) if !command.needs_registry() => models::run_alone(command, out),
        Command::Performance(command) => {
            let settings = load_settings(config)?;
            let database = app::open_database(&settings).await?;
            let outcome = performance::run(command, &settings, &database.pool, out).await;
            database.close().await?;
            outcome
        }
        Command::Models(command) => {
            let database = app::open_database(&load_settings(config)?).await?;
            let outcome = models::run(&database.pool, command, app::now(), out).await;
            database.close().await?;
            outcome.map(|()| ExitStatus::Success)
        }
        Command::Tokens(command) => tokens::run(command, &load_settings(config)?, out).await,
        Command::Retrain(command) => run_retrain(command, load_settings(config)?, out).await,
        Command::Docs(command) => docs::run(&command, out),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "driftline", out);
            Ok(ExitStatus::Success)
        }
    }
}

/// The `retrain` program: the same as `driftline retrain`.
#[derive(Debug, Parser)]
#[command(name = "retrain", version, about = "Queue and follow training runs")]
pub struct RetrainCli {
    /// Settings file; without it, `driftline.yaml` in the current folder when there is one
    #[arg(short, long, global = true, env = "DRIFTLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: retrain::Command,
}

/// Runs the command given to the `retrain` program.
///
/// # Errors
///
/// Whatever kept it from running.
pub async fn run_retrain_cli(cli: RetrainCli, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    app::install_crypto();
    run_retrain(cli.command, load_settings(cli.config.as_deref())?, out).await
}

async fn run_retrain(
    command: retrain::Command,
    settings: Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let database = app::open_database(&settings).await?;
    let spec = command.model().and_then(|model| app::training_spec(&settings, model));
    let outcome = retrain::run(&database.pool, command, spec, app::now(), out).await;
    database.close().await?;
    Ok(if outcome? { ExitStatus::Success } else { ExitStatus::Failure })
}

/// The settings file: the given one, else `driftline.yaml` when it exists.
fn settings_file(config: Option<&Path>) -> Option<&Path> {
    let default = Path::new("driftline.yaml");
    config.or_else(|| default.exists().then_some(default))
}

/// Reads the settings file: the given one, else `driftline.yaml` when it exists, else the defaults.
fn load_settings(config: Option<&Path>) -> anyhow::Result<Settings> {
    let environment = std::env::vars();
    let Some(path) = settings_file(config) else {
        return Ok(Settings::parse_with("", "settings", environment)?);
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let mut settings = Settings::parse_with(&text, &path.display().to_string(), environment)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    settings.resolve_paths(folder);
    Ok(settings)
}

/// Prints an error and its causes to stderr; a closed pipe on stdout is no error to speak of.
pub fn report(error: &anyhow::Error) {
    let closed_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
    if !closed_pipe && writeln!(std::io::stderr(), "driftline: {error:#}").is_err() {
        tracing::error!("the error could not be printed");
    }
}

/// The exit code of `status`.
pub fn finish(status: ExitStatus) -> std::process::ExitCode {
    status.into()
}

#[cfg(test)]
mod docs_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_cover_every_command() {
        Cli::command().debug_assert();
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "driftline", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in ["rules,replay", "rules,test", "baseline,activate"] {
            let (noun, verb) = command.split_once(',').unwrap();
            assert!(script.contains(&format!("driftline__subcmd__{noun}__subcmd__{verb}")), "{command}");
        }
    }
}
