//! `retrain`: ask for a run, follow it, release it, stop it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value as Json, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::alert::Word;
use crate::model::ModelName;
use crate::retrain::{RunState, TrainingSpec};
use crate::store::operation;
use crate::store::training_log::{self, LogLine};
use crate::store::training_run::{self, RunError, TrainingRun};

/// Who asks where nothing says it.
pub(super) const COMMAND_LINE: &str = "command line";

mod compare;
mod curve;
mod mlflow;
mod show;

/// Pause between two looks at a run that is followed.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// What `retrain` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Queue a run
    Now {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Why, for the registry
        #[arg(long)]
        reason: String,
        /// Who you are
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = COMMAND_LINE)]
        by: String,
        /// Follow the run to its end
        #[arg(long)]
        wait: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List runs, newest first
    List {
        /// Only of this model
        #[arg(short, long)]
        model: Option<ModelName>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one run: how it ended, its evaluation, its learning curves
    Show {
        /// The run
        run: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set two runs side by side
    Compare {
        /// The run
        first: Uuid,
        /// The run that it is compared with
        second: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a run to a folder of runs that mlflow reads
    Export {
        /// The run
        run: Uuid,
        /// The folder, often called `mlruns`; other runs in it stay
        #[arg(long, value_name = "DIR")]
        mlflow: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the log of a run
    Logs {
        /// The run
        run: Uuid,
        /// Go on until the run ends
        #[arg(short, long)]
        follow: bool,
        /// Print JSON, one line each
        #[arg(long)]
        json: bool,
    },
    /// Release a suggested or waiting run
    Approve {
        /// The run
        run: Uuid,
        /// Who says so, and why.
        #[command(flatten)]
        word: Said,
    },
    /// Stop a run, or take it out of the queue
    Cancel {
        /// The run
        run: Uuid,
        /// Who says so, and why.
        #[command(flatten)]
        word: Said,
    },
}

/// Who releases or stops a run, and why.
#[derive(Debug, clap::Args)]
pub struct Said {
    /// Who you are
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = COMMAND_LINE)]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    reason: String,
}

impl Said {
    fn checked(&self) -> Result<Word> {
        Ok(Word::new(&self.by, &self.reason)?)
    }
}

impl Command {
    /// The model that needs a specification from the settings: that of `now`.
    pub fn model(&self) -> Option<&ModelName> {
        match self {
            Self::Now { model, .. } => Some(model),
            _ => None,
        }
    }
}

/// How a command ended: false where the run it followed brought no version.
pub type Succeeded = bool;

/// Carries out `command`; `spec` is what the settings say about the model of `now`.
///
/// # Errors
///
/// When the command could not be carried out.
pub async fn run(
    pool: &PgPool,
    command: Command,
    spec: Option<TrainingSpec>,
    now: DateTime<Utc>,
    out: &mut impl Write,
) -> Result<Succeeded> {
    match command {
        Command::Now { model, reason, by, wait, json } => {
            let Some(spec) = spec else { bail!("model `{model}` has no `training` part in the settings") };
            begin(pool, &spec, &Word::new(&by, &reason)?, wait, json, now, out).await
        }
        Command::List { model, limit, json } => list(pool, model.as_ref(), limit, json, out).await,
        Command::Show { run, json } => show::run(pool, run, json, out).await,
        Command::Compare { first, second, json } => compare::run(pool, first, second, json, out).await,
        Command::Export { run, mlflow, json } => mlflow::run(pool, run, &mlflow, json, out).await,
        Command::Logs { run, follow, json } => logs(pool, run, follow, json, out).await,
        Command::Approve { run, word } => {
            operation::approve(pool, run, &word.checked()?, now).await?;
            writeln!(out, "run {run} is queued")?;
            Ok(true)
        }
        Command::Cancel { run, word } => {
            let state = operation::cancel(pool, run, &word.checked()?, now).await?;
            if state == RunState::Running {
                writeln!(out, "run {run} is asked to stop; its worker does so after the epoch")?;
            } else {
                writeln!(out, "run {run} is {}", state.as_str())?;
            }
            Ok(true)
        }
    }
}

/// Queues a run for a person and, when asked, follows it.
async fn begin(
    pool: &PgPool,
    spec: &TrainingSpec,
    word: &Word,
    wait: bool,
    json: bool,
    now: DateTime<Utc>,
    out: &mut impl Write,
) -> Result<Succeeded> {
    let run = operation::retrain(pool, spec, word, now).await?;
    if wait {
        let ended = follow(pool, run).await?;
        show::write(pool, &ended, json, out).await?;
        return Ok(ended.state == RunState::Succeeded);
    }
    if json {
        writeln!(out, "{}", json!({"run": run, "state": RunState::Queued}))?;
    } else {
        writeln!(out, "run {run} is queued; follow it with `retrain logs -f {run}`")?;
    }
    Ok(true)
}

/// Shows a progress bar on standard error until the run ends.
async fn follow(pool: &PgPool, run: Uuid) -> Result<TrainingRun> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}")?);
    let mut seen = 0;
    loop {
        let found = training_run::show(pool, run).await?;
        for line in training_log::lines(pool, run, seen).await? {
            seen = line.seq;
            bar.suspend(|| print_line(&line, &mut std::io::stderr()))?;
        }
        if found.state.is_final() {
            bar.finish_and_clear();
            return Ok(found);
        }
        let number = |key: &str| found.progress.get(key).and_then(Json::as_u64).unwrap_or(0);
        let candidate = found.progress.get("candidate").and_then(Json::as_str).unwrap_or("");
        bar.set_length(number("max_epochs"));
        bar.set_position(number("epoch"));
        bar.set_message(format!("{} {candidate}", found.state.as_str()));
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}

fn print_line(line: &LogLine, out: &mut impl Write) -> std::io::Result<()> {
    let mark = if line.level == "warn" { "warning: " } else { "" };
    writeln!(out, "{}  {mark}{}", line.at.format("%H:%M:%S"), line.message)
}

async fn list(
    pool: &PgPool,
    model: Option<&ModelName>,
    limit: u32,
    json: bool,
    out: &mut impl Write,
) -> Result<Succeeded> {
    let runs = training_run::list(pool, model, limit).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&runs)?)?;
        return Ok(true);
    }
    let mut table = plain_table(&["RUN", "MODEL", "STATE", "VERSION", "REASON", "ASKED", "OUTCOME"]);
    for run in runs {
        table.add_row([
            run.id.to_string(),
            run.model,
            run.state.as_str().to_owned(),
            run.version.map(|version| version.to_string()).unwrap_or_default(),
            short(&format!("{}: {}", run.reason_kind, run.reason)),
            run.created_at.format("%F %T").to_string(),
            short(&run.outcome.unwrap_or_default()),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(true)
}

/// At most as much as a column of a list can hold; `show` and `--json` have it all.
fn short(text: &str) -> String {
    match text.char_indices().nth(56) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A table without lines.
pub(super) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header);
    table
}

async fn logs(pool: &PgPool, run: Uuid, follow: bool, json: bool, out: &mut impl Write) -> Result<Succeeded> {
    let mut seen = 0;
    loop {
        // The state first: lines written between the two reads are then still shown.
        let state = match training_run::show(pool, run).await {
            Ok(found) => found.state,
            Err(problem @ RunError::Unknown(_)) => bail!("{problem}; `retrain list` shows the runs"),
            Err(problem) => return Err(problem.into()),
        };
        for line in training_log::lines(pool, run, seen).await? {
            seen = line.seq;
            if json {
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            } else {
                print_line(&line, out)?;
            }
        }
        if !follow || state.is_final() {
            return Ok(!follow || state == RunState::Succeeded);
        }
        out.flush()?;
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}
