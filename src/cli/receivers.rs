//! `driftline receivers`: where alerts go, whether it works, and what was given up.

use std::io::Write;

use anyhow::{Context, bail};
use serde::Serialize;
use uuid::Uuid;

use super::ExitStatus;
use super::retrain::plain_table;
use crate::alert::sample;
use crate::app;
use crate::config::Settings;
use crate::model::ModelName;
use crate::notify::{self, Receivers};
use crate::store::outbox;
use crate::yaml::hint;

/// The verbs of `receivers`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List receivers with what they got, what waits, what was given up, and why
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a test message with made-up data, at once and past the queue, and say what happened
    Test {
        /// Name of the receiver
        name: String,
    },
    /// Have messages that were given up tried again
    RetryDead {
        /// Name of the receiver
        name: String,
    },
}

/// Runs a verb.
///
/// # Errors
///
/// When the settings name no such receiver, or the database is not reached.
pub(super) async fn run(
    command: Command,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        Command::List { json } => list(settings, json, out).await,
        Command::Test { name } => test(settings, &name, out).await,
        Command::RetryDead { name } => retry_dead(settings, &name, out).await,
    }
}

/// One line of the list.
#[derive(Debug, Default, Serialize)]
struct Line {
    name: String,
    /// Absent for a receiver that only messages name.
    kind: Option<&'static str>,
    target: Option<String>,
    limit: Option<String>,
    sent: i64,
    waiting: i64,
    given_up: i64,
    /// Why the newest message that is not delivered is not.
    last_error: Option<String>,
}

async fn list(settings: &Settings, json: bool, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let receivers = build(settings)?;
    let database = app::open_database(settings).await?;
    let counts = outbox::counts(&database.pool).await;
    let errors = outbox::last_errors(&database.pool).await;
    database.close().await?;
    let mut lines: Vec<Line> = (receivers.names().into_iter())
        .filter_map(|name| {
            let (kind, target, limit) = receivers.describe(&name)?;
            let (kind, target, limit) = (Some(kind), Some(target), Some(limit.to_string()));
            Some(Line { name, kind, target, limit, ..Line::default() })
        })
        .collect();
    for count in counts? {
        let line = line_of(&mut lines, &count.receiver);
        match count.state.as_str() {
            "sent" => line.sent = count.messages,
            "dead" => line.given_up = count.messages,
            _ => line.waiting = count.messages,
        }
    }
    for (receiver, error) in errors? {
        line_of(&mut lines, &receiver).last_error = Some(error);
    }
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&lines)?)?;
        return Ok(ExitStatus::Success);
    }
    let mut table = plain_table(&["RECEIVER", "KIND", "TO", "LIMIT", "SENT", "WAITING", "GIVEN UP"]);
    for line in &lines {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([
            line.name.clone(),
            line.kind.unwrap_or("not configured").to_owned(),
            text(&line.target),
            text(&line.limit),
            line.sent.to_string(),
            line.waiting.to_string(),
            line.given_up.to_string(),
        ]);
    }
    writeln!(out, "{table}")?;
    for line in &lines {
        let Some(error) = &line.last_error else { continue };
        writeln!(out, "\n{}: {error}", line.name)?;
        if let Some(hint) = notify::hint(error) {
            writeln!(out, "  hint: {hint}")?;
        }
        if line.given_up > 0 && line.kind.is_some() {
            writeln!(
                out,
                "  hint: `driftline receivers retry-dead {}` has what was given up tried again",
                line.name
            )?;
        }
    }
    Ok(ExitStatus::Success)
}

/// The line of `name`, added when it is not there.
fn line_of<'a>(lines: &'a mut Vec<Line>, name: &str) -> &'a mut Line {
    let at = lines.iter().position(|line| line.name == name).unwrap_or(lines.len());
    if at == lines.len() {
        lines.push(Line { name: name.to_owned(), ..Line::default() });
    }
    &mut lines[at]
}

async fn test(settings: &Settings, name: &str, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let receivers = build(settings)?;
    let (kind, target, _) = known(&receivers, name)?;
    let model = match settings.models.first() {
        Some(model) => model.name.clone(),
        None => ModelName::parse("example").context("the name of the example")?,
    };
    let message = sample(name, &model, Uuid::now_v7(), app::now());
    match receivers.send(&message, None, app::now()).await {
        Ok(()) => {
            writeln!(out, "sent: {kind} to {target} took the test message {}", message.id)?;
            Ok(ExitStatus::Success)
        }
        Err(failure) => {
            let fate = if failure.permanent {
                "an alert would be given up"
            } else {
                "an alert would be tried again"
            };
            writeln!(out, "not sent: {kind} to {target}: {failure} ({fate})")?;
            if let Some(hint) = notify::hint(&failure.reason) {
                writeln!(out, "  hint: {hint}")?;
            }
            Ok(ExitStatus::Failure)
        }
    }
}

async fn retry_dead(settings: &Settings, name: &str, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let receivers = build(settings)?;
    known(&receivers, name)?;
    let database = app::open_database(settings).await?;
    let again = outbox::retry_dead(&database.pool, name, app::now()).await;
    let counts = outbox::counts(&database.pool).await;
    database.close().await?;
    let left = counts?.into_iter().find(|count| count.receiver == name && count.state == "dead");
    writeln!(out, "{} messages to {name} are tried again", again?)?;
    if let Some(left) = left {
        writeln!(
            out,
            "{} stay given up: {name} has been told something newer of the same alerts since",
            left.messages
        )?;
    }
    Ok(ExitStatus::Success)
}

fn build(settings: &Settings) -> anyhow::Result<Receivers> {
    Receivers::build(settings).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the receivers were refused:\n{}", lines.join("\n"))
    })
}

fn known(receivers: &Receivers, name: &str) -> anyhow::Result<(&'static str, String, crate::config::Limit)> {
    let names = receivers.names();
    match receivers.describe(name) {
        Some(found) => Ok(found),
        None if names.is_empty() => bail!("the settings have no `receivers`"),
        None => bail!(
            "the settings have no receiver `{name}`{}; they have `{}`",
            hint(name, names.iter().map(String::as_str)),
            names.join("`, `")
        ),
    }
}
