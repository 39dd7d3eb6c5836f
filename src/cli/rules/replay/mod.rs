//! `driftline rules replay`: what rules would have done over the stored reports, beside the rules in force.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::figures::{ModelReplay, Side};
use crate::alert::replay::Replay;
use crate::alert::{RetrainRequest, RuleSet};
use crate::app;
use crate::cli::ExitStatus;
use crate::config::Settings;
use crate::model::ModelName;
use crate::retrain::policy::Decision;
use crate::retrain::rehearsal::{PastRun, Rehearsal};
use crate::retrain::{RunState, Source};
use crate::store;

mod figures;
mod page;
mod table;

/// Reports that are read at a time; as many are read ahead.
const BATCH: usize = 16;

/// Windows from which on a bar is worth its flicker.
const WORTH_SHOWING: usize = 200;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Rule files to replay beside the rules in force; without any, only those in force are replayed
    #[arg(long, value_name = "FILE", num_args = 1.., value_delimiter = ',')]
    rules: Vec<PathBuf>,
    /// How far to go back, in days before the end of a model's newest window
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Only this model
    #[arg(short, long)]
    model: Option<ModelName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write one HTML file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Replays, prints, and writes the page if there is to be one.
///
/// # Errors
///
/// Rules that cannot be used, a model without reports, a database that is not reached.
pub(super) async fn run(
    arguments: &Arguments,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let in_force = app::load_rules(settings)?;
    let changed = if arguments.rules.is_empty() { None } else { Some(load(arguments, settings)?) };
    if in_force.rules.is_empty() && changed.is_none() {
        bail!("the settings name no rules (`rules`), and `--rules` names none either");
    }
    let database = app::open_database(settings).await?;
    let replayed = models(&database.pool, arguments, settings, &in_force, changed.as_ref()).await;
    database.close().await?;
    let replayed = replayed?;
    if arguments.json {
        let document = serde_json::json!({ "days": arguments.days, "models": replayed });
        writeln!(out, "{document:#}")?;
    } else {
        for model in &replayed {
            table::print(model, out)?;
        }
    }
    if let Some(path) = &arguments.html {
        let page = page::render(&replayed, arguments.days);
        std::fs::write(path, page).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(ExitStatus::Success)
}

/// The rules of `--rules`, which may name the receivers of the settings and no others.
fn load(arguments: &Arguments, settings: &Settings) -> anyhow::Result<RuleSet> {
    let mut texts = Vec::new();
    for path in &arguments.rules {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        texts.push((path.display().to_string(), text));
    }
    let refuse = |problems: Vec<crate::alert::Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the rules were refused:\n{}", lines.join("\n"))
    };
    let rules = RuleSet::parse(&texts).map_err(refuse)?;
    let receivers: Vec<String> = settings.receivers.keys().cloned().collect();
    rules.check_receivers(&receivers).map_err(refuse)?;
    Ok(rules)
}

async fn models(
    db: &PgPool,
    arguments: &Arguments,
    settings: &Settings,
    in_force: &RuleSet,
    changed: Option<&RuleSet>,
) -> anyhow::Result<Vec<ModelReplay>> {
    let chosen: Vec<ModelName> = match &arguments.model {
        Some(model) => {
            store::model::active_baseline(db, model).await?;
            vec![model.clone()]
        }
        None => store::model::list(db).await?.into_iter().map(|(model, _)| model).collect(),
    };
    let mut found = Vec::new();
    for model in &chosen {
        let Some(newest) = store::history::newest(db, model).await? else { continue };
        let from = newest - TimeDelta::days(i64::from(arguments.days));
        found.push(replay(db, settings, model, from, in_force, changed).await?);
    }
    if found.is_empty() {
        match &arguments.model {
            Some(model) => bail!("no window of `{model}` has been judged yet: there is nothing to replay"),
            None => bail!("no window has been judged yet: there is nothing to replay"),
        }
    }
    Ok(found)
}

/// One run of rules, with the runs that they ask for.
struct Running<'a> {
    replay: Replay<'a>,
    rehearsal: Rehearsal,
}

impl<'a> Running<'a> {
    fn new(rules: &'a RuleSet, past: &[PastRun], length: Duration) -> Self {
        Self { replay: Replay::new(rules), rehearsal: Rehearsal::new(past.to_vec(), length) }
    }
}

/// Replays the windows of one model that end after `from`.
async fn replay(
    db: &PgPool,
    settings: &Settings,
    model: &ModelName,
    from: DateTime<Utc>,
    in_force: &RuleSet,
    changed: Option<&RuleSet>,
) -> anyhow::Result<ModelReplay> {
    let training = settings.model(model).and_then(|model| model.training.as_ref());
    let needs_labels = training.is_some_and(|training| training.source == Source::Captured);
    let length = store::history::run_length(db, model).await?;
    let past = store::history::runs_of_people(db, model).await?;
    let mean = length.map(|(mean, _)| mean);
    let mut sides: Vec<Running<'_>> = [Some(in_force), changed]
        .into_iter()
        .flatten()
        .map(|rules| Running::new(rules, &past, mean.unwrap_or_default()))
        .collect();
    let ids = store::history::reports(db, model, from).await?;
    let bar = progress(ids.len());
    let mut batches = ids.chunks(BATCH).map(<[Uuid]>::to_vec);
    // The next batch is read while one is judged; no more than one, so that they come in order.
    let mut ahead = JoinSet::new();
    let mut read_on = |ahead: &mut JoinSet<_>| {
        if let Some(batch) = batches.next() {
            let db = db.clone();
            ahead.spawn(async move { store::history::read(&db, &batch).await });
        }
    };
    read_on(&mut ahead);
    while let Some(batch) = ahead.join_next().await {
        let batch = batch??;
        read_on(&mut ahead);
        for (id, report, judged_at) in batch {
            for side in &mut sides {
                let evaluation = side.replay.window(&report, id, judged_at);
                for request in evaluation.retrains.iter().filter(|_| training.is_some()) {
                    if let Some(state) = decide(db, &side.rehearsal, request, judged_at, needs_labels).await?
                    {
                        side.rehearsal.run(request, state, judged_at);
                    }
                }
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut sides = sides
        .into_iter()
        .map(|side| Side { replayed: side.replay.finish(), runs: side.rehearsal.runs().to_vec() });
    let in_force_side = sides.next().context("the rules in force were not replayed")?;
    let rules = [Some(in_force), changed];
    let wants_runs = rules
        .into_iter()
        .flatten()
        .flat_map(|rules| &rules.rules)
        .any(|rule| rule.applies_to(model) && rule.retrain.is_some());
    let mut notes = Vec::new();
    if wants_runs && training.is_none() {
        notes.push(format!("`{model}` has no `training` in the settings: no rule retrains it"));
    } else if wants_runs && length.is_none() {
        notes.push("no run of the model has come to a result yet: what one takes is unknown".to_owned());
    }
    let left_out: BTreeSet<&str> = rules
        .into_iter()
        .flatten()
        .flat_map(|rules| &rules.rules)
        .filter(|rule| rule.applies_to(model) && rule.watch.is_some())
        .map(|rule| rule.name.as_str())
        .collect();
    if !left_out.is_empty() {
        let names = left_out.into_iter().collect::<Vec<_>>().join(", ");
        notes
            .push(format!("not replayed, as they look between windows, of which nothing is stored: {names}"));
    }
    Ok(ModelReplay::new(model, &in_force_side, sides.next().as_ref(), length, notes))
}

/// The state in which `request` would be written down, if it would.
async fn decide(
    db: &PgPool,
    rehearsal: &Rehearsal,
    request: &RetrainRequest,
    now: DateTime<Utc>,
    needs_labels: bool,
) -> anyhow::Result<Option<RunState>> {
    let mut decision = rehearsal.decide(request, now, None);
    // Labels are counted only where all else allows a run, and a suggestion asks for none.
    if needs_labels && matches!(&decision, Decision::Run(state) if *state != RunState::Suggested) {
        let after = rehearsal.last_started(now);
        let fresh = store::history::labels_between(db, &request.model, after, now).await?;
        decision = rehearsal.decide(request, now, Some(fresh));
    }
    Ok(match decision {
        Decision::Run(state) => Some(state),
        Decision::Hold(_) => None,
    })
}

fn progress(windows: usize) -> ProgressBar {
    let bar = if windows < WORTH_SHOWING { ProgressBar::hidden() } else { ProgressBar::new(windows as u64) };
    let style = ProgressStyle::with_template("replaying windows {wide_bar} {pos} of {len} {eta_precise}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
