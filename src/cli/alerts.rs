//! `driftline alerts`: what fires, who knows, and what people say of it.

use std::io::Write;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::ExitStatus;
use super::retrain::plain_table;
use crate::alert::{Happening, Matcher, Silence};
use crate::app;
use crate::config::{Settings, Span};
use crate::model::ModelName;
use crate::store::alert_ack::{self, Found};
use crate::store::alert_event::EventRow;
use crate::store::alert_life::{self, AlertLife, AlertView};
use crate::store::{self, silence};

/// Characters of an id that lists show; enough to name one.
const SHOWN: usize = 12;

/// Most silences that are listed.
const MAX_SILENCES: i64 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List alerts that fire or wait; exit code 1 when one fires
    List {
        /// Those that are over too
        #[arg(long)]
        all: bool,
        /// Only of this model
        #[arg(short, long)]
        model: Option<ModelName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the life of an alert, or of every alert of a group: each change with its evidence, who was told, why not
    Show {
        /// Beginning of an alert's or a group's id
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take an alert or a group on: no repeats and no escalation until it resolves
    Ack {
        /// Beginning of an alert's or a group's id
        id: String,
        #[command(flatten)]
        word: Word,
    },
    /// Keep matching alerts from being told for a time
    Silence {
        /// `model=fraud`, `rule="FeatureDrift"`, `subject=~"temp.*"`; all have to match
        #[arg(required = true, value_name = "MATCHER", value_parser = Matcher::parse)]
        matchers: Vec<Matcher>,
        /// How long: 30m, 2h, 7d
        #[arg(long, value_name = "TIME", value_parser = parse_span)]
        r#for: Span,
        /// From when on (RFC 3339); from now on when left out
        #[arg(long, value_name = "TIME")]
        from: Option<DateTime<Utc>>,
        #[command(flatten)]
        word: Word,
    },
    /// List silences
    Silences {
        /// Those that are over too
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a silence
    Unsilence {
        /// Beginning of the silence's id
        id: String,
    },
}

/// Who says it, and why.
#[derive(Debug, clap::Args)]
pub(super) struct Word {
    /// Who you are
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn parse_span(text: &str) -> Result<Span, String> {
    Span::try_from(text.to_owned())
}

/// Carries out `command`.
///
/// # Errors
///
/// When the database is not reached, or what is named does not exist.
pub(super) async fn run(
    command: Command,
    settings: Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let database = app::open_database(&settings).await?;
    let outcome = carry_out(command, &database.pool, app::now(), out).await;
    database.close().await?;
    outcome
}

async fn carry_out(
    command: Command,
    pool: &PgPool,
    now: DateTime<Utc>,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        Command::List { all, model, json } => {
            if let Some(model) = &model {
                store::model::active_baseline(pool, model).await?;
            }
            let alerts = alert_life::list(pool, model.as_ref(), all).await?;
            if json {
                writeln!(out, "{}", json!({ "alerts": alerts }))?;
            } else {
                print_list(&alerts, out)?;
            }
            let fires = alerts.iter().any(|view| view.alert.state.firing_since().is_some());
            return Ok(if fires { ExitStatus::Failure } else { ExitStatus::Success });
        }
        Command::Show { id, json } => {
            let lives = alert_life::show(pool, &id).await?;
            if json {
                writeln!(out, "{}", json!({ "alerts": lives }))?;
            } else {
                for life in &lives {
                    print_life(life, out)?;
                }
            }
        }
        Command::Ack { id, word } => {
            let (found, ack) = alert_ack::acknowledge(pool, &id, &word.by, &word.reason, now).await?;
            let what = match found {
                Found::Alert(alert) => format!("{} of {}", alert.rule, alert.subject),
                Found::Group(group) => {
                    format!("the group {} of {} alerts", short(&group.key), group.members.len())
                }
            };
            writeln!(out, "{} has taken {what} on, until it resolves: {}", ack.by, ack.reason)?;
        }
        Command::Silence { matchers, r#for, from, word } => {
            let starts_at = from.unwrap_or(now);
            let length = TimeDelta::from_std(r#for.0).context("`--for` is too long")?;
            let ends_at = starts_at.checked_add_signed(length).context("`--for` is too long")?;
            let silence = Silence {
                id: Uuid::now_v7(),
                matchers,
                starts_at,
                ends_at,
                by: word.by,
                reason: word.reason,
            };
            let silence = silence::insert(pool, silence, now).await?;
            writeln!(out, "{}  silenced until {}", silence.id, silence.ends_at.format("%F %T UTC"))?;
        }
        Command::Silences { all, json } => {
            let silences = if all {
                silence::latest(pool, MAX_SILENCES).await?
            } else {
                silence::standing(pool, now).await?
            };
            if json {
                writeln!(out, "{}", json!({ "silences": silences }))?;
            } else {
                print_silences(&silences, now, out)?;
            }
        }
        Command::Unsilence { id } => {
            let silence = silence::end(pool, &id, now).await?;
            writeln!(out, "{}  ended", silence.id)?;
        }
    }
    Ok(ExitStatus::Success)
}

/// As much of an id as names it.
fn short(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or(id)
}

/// Who knows of an alert, or why nobody does.
fn standing(view: &AlertView) -> String {
    if view.alert.state.firing_since().is_none() {
        return String::new();
    }
    if let Some(suppressed) = &view.suppressed {
        return suppressed.sentence();
    }
    match &view.acknowledged {
        Some(ack) => format!("acknowledged by {}: {}", ack.by, ack.reason),
        None if view.told => "told".to_owned(),
        None => "not told yet".to_owned(),
    }
}

fn print_list(alerts: &[AlertView], out: &mut impl Write) -> anyhow::Result<()> {
    let mut table =
        plain_table(&["ALERT", "STATE", "SINCE", "MODEL", "RULE", "SUBJECT", "SEVERITY", "STANDING"]);
    for view in alerts {
        let alert = &view.alert;
        table.add_row([
            short(&alert.fingerprint).to_owned(),
            alert.state.as_str().to_owned(),
            alert.state.firing_since().map(|since| since.format("%F %H:%M").to_string()).unwrap_or_default(),
            alert.model.to_string(),
            alert.rule.clone(),
            alert.subject.clone(),
            alert.labels.get("severity").cloned().unwrap_or_default(),
            standing(view),
        ]);
    }
    writeln!(out, "{table}")?;
    let keys: std::collections::BTreeSet<&str> =
        alerts.iter().flat_map(|view| view.groups.iter().map(|key| short(key))).collect();
    if !keys.is_empty() {
        writeln!(out, "groups: {}", keys.into_iter().collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}

fn print_silences(silences: &[Silence], now: DateTime<Utc>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = plain_table(&["SILENCE", "STATE", "FROM", "UNTIL", "BY", "REASON", "MATCHERS"]);
    for silence in silences {
        let state = match silence {
            silence if silence.is_active(now) => "holds",
            silence if silence.ends_at <= now => "over",
            _ => "to come",
        };
        let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
        table.add_row([
            silence.id.to_string(),
            state.to_owned(),
            silence.starts_at.format("%F %H:%M").to_string(),
            silence.ends_at.format("%F %H:%M").to_string(),
            silence.by.clone(),
            silence.reason.clone(),
            matchers.join(" "),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

/// Prints what happened to an alert: its transitions in event time, then what was told of it.
fn print_life(life: &AlertLife, out: &mut impl Write) -> anyhow::Result<()> {
    if let Some(view) = &life.alert {
        let alert = &view.alert;
        writeln!(out, "{} of {} ({}): {}", alert.rule, alert.subject, alert.model, alert.state.as_str())?;
        writeln!(out, "  {}", alert.summary)?;
        let standing = standing(view);
        if !standing.is_empty() {
            writeln!(out, "  {standing}")?;
        }
    } else if let Some(last) = life.transitions.last() {
        writeln!(out, "{} of {} ({}): inactive", last.rule, last.subject, last.model)?;
    }
    writeln!(out, "  fingerprint {}", life.fingerprint)?;
    let text = |evidence: &serde_json::Value, pointer: &str| {
        evidence.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or("-").to_owned()
    };
    writeln!(out, "\n  life (by the time of the windows)")?;
    for transition in &life.transitions {
        let evidence = &transition.evidence;
        writeln!(
            out,
            "  {}  {} -> {}: {}",
            transition.at.format("%F %H:%M"),
            transition.from,
            transition.to,
            text(evidence, "/item/summary")
        )?;
        writeln!(
            out,
            "      report {}, baseline {}, rule {}, {}",
            transition.report.map_or_else(|| "-".to_owned(), |report| report.to_string()),
            text(evidence, "/baseline"),
            text(evidence, "/rule_hash"),
            text(evidence, "/build"),
        )?;
    }
    if let Some(rule) = life.transitions.iter().rev().find_map(|t| t.evidence.get("rule_text")?.as_str()) {
        writeln!(out, "\n  the rule, as it last changed the state")?;
        for line in rule.lines() {
            writeln!(out, "  | {line}")?;
        }
    }
    writeln!(out, "\n  told (by the clock)")?;
    for event in &life.events {
        print_event(event, out)?;
    }
    writeln!(out)?;
    Ok(())
}

fn print_event(event: &EventRow, out: &mut impl Write) -> anyhow::Result<()> {
    let at = event.at.format("%F %T");
    let group = short(&event.group);
    match &event.happening {
        Happening::Told { occasion, receivers, .. } => {
            let occasion = format!("{occasion:?}").to_lowercase();
            writeln!(out, "  {at}  {occasion}: {} (group {group})", receivers.join(", "))?;
            for delivery in &event.deliveries {
                let when = delivery.sent_at.map(|sent| sent.format(" %F %T").to_string()).unwrap_or_default();
                let error =
                    delivery.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
                writeln!(
                    out,
                    "      {} to {}: {}{when}{error}",
                    delivery.id, delivery.receiver, delivery.state
                )?;
            }
        }
        Happening::Suppressed { why } => {
            writeln!(out, "  {at}  not told: {} (group {group})", why.sentence())?;
        }
        Happening::Released => writeln!(out, "  {at}  may be told again (group {group})")?,
        Happening::Acknowledged { who, reason } => writeln!(out, "  {at}  acknowledged by {who}: {reason}")?,
    }
    Ok(())
}
