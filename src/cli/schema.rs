//! `driftline schema learn`: watches the first predictions of a model and writes the columns it saw for approval.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::ExitStatus;
use super::baseline::parse_span;
use super::run::stop_signal;
use crate::app;
use crate::capture;
use crate::config::{ModelSettings, Settings, Span, Tap};
use crate::decode::Naming;
use crate::metrics::Metrics;
use crate::model::{Batch, Column, Exchange, ModelName};
use crate::privacy::Policy;
use crate::schema::{Declared, Learned, Learner, declared, settings_fragment};
use crate::store::captured::{self, CapturedRow};
use crate::tap::{self, ExchangeReceiver, Ledger, Proxy, Received, TapSettings};
use crate::tasks;

/// How long the model server may take to describe itself.
const METADATA: Duration = Duration::from_secs(2);
/// Bytes of such a description that are read.
const METADATA_BYTES: usize = 4 << 20;
/// How long the decoding thread waits for an exchange before it looks whether it should end.
const RECEIVE: Duration = Duration::from_millis(100);
/// How long predictions in flight may take once enough were seen.
const DRAIN: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Watch the first predictions of a model, and write its columns as settings for approval
    Learn(Learn),
}

#[derive(Debug, Args)]
pub(super) struct Learn {
    /// The model
    #[arg(short, long)]
    model: ModelName,
    /// Predictions to learn from
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    predictions: u64,
    /// Longest time to wait for them
    #[arg(long, value_parser = parse_span, default_value = "10m")]
    wait: Span,
    /// Learn from the rows that are in the database, and not from a proxy
    #[arg(long, conflicts_with_all = ["listen", "wait"])]
    captured: bool,
    /// Where clients are to send predictions meanwhile; by default `listen.proxy` of the settings
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The model server; by default `tap.upstream` of the settings
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Write to this file and not to the standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite the file
    #[arg(long, requires = "out")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    command: Command,
    settings: Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let Command::Learn(arguments) = command;
    if let Some(path) = &arguments.out
        && path.exists()
        && !arguments.force
    {
        bail!("`{}` exists; `--force` overwrites it", path.display());
    }
    let policies = tasks::load_privacy(&settings)?;
    let policy = policies.of(&arguments.model);
    let upstream = arguments.upstream.as_ref().or(settings.tap.upstream.as_ref());
    let said = match upstream {
        Some(upstream) => ask(upstream, &arguments.model).await,
        None => Vec::new(),
    };
    let learned = if arguments.captured {
        from_database(&settings, &arguments).await?
    } else {
        let upstream = upstream.context(
            "there is no model server to watch: give `--upstream http://host:port`, or `--captured` to learn from the database",
        )?;
        from_proxy(&settings, &arguments, upstream, Arc::clone(policy)).await?
    };
    let text = if arguments.json {
        let document = json!({
            "model": arguments.model, "learned": learned, "declared": said, "schema": learned.expected() });
        format!("{document}\n")
    } else {
        settings_fragment(&arguments.model, &learned, &said)
    };
    match &arguments.out {
        Some(path) => write_whole(path, &text)?,
        None => out.write_all(text.as_bytes())?,
    }
    Ok(ExitStatus::Success)
}

/// What the model server says of the model; nothing when it does not.
async fn ask(upstream: &str, model: &ModelName) -> Vec<Declared> {
    let client = reqwest::Client::builder()
        .timeout(METADATA)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build();
    let Ok(client) = client else { return Vec::new() };
    let base = upstream.trim_end_matches('/');
    for path in [format!("/v2/models/{model}"), format!("/v1/models/{model}/metadata")] {
        let Ok(mut answer) = client.get(format!("{base}{path}")).send().await else { continue };
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > METADATA_BYTES {
                break;
            }
        }
        let found = serde_json::from_slice(&body).map(|said: Json| declared(&said)).unwrap_or_default();
        if answer.status().is_success() && !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Learns from the rows that a sidecar has kept; privacy was applied to them before.
async fn from_database(settings: &Settings, arguments: &Learn) -> anyhow::Result<Learned> {
    let database = app::open_database(settings).await?;
    let place = tasks::capture_place(settings)?;
    let rows = capture::newest(&database.pool, &place, &arguments.model, arguments.predictions).await;
    database.close().await?;
    let rows = rows?;
    if rows.is_empty() {
        bail!(
            "no row of model `{}` is in the database; only models with `training` keep rows",
            arguments.model
        );
    }
    let mut learner = Learner::default();
    for row in rows {
        learner.observe(&exchange(&arguments.model, row));
    }
    Ok(learner.learned())
}

fn exchange(model: &ModelName, row: CapturedRow) -> Exchange {
    let columns = |members: &serde_json::Map<String, Json>| -> Vec<Column> {
        let column = |(name, value): (&String, &Json)| Column {
            name: name.into(),
            values: vec![captured::value(value)],
        };
        members.iter().map(column).collect()
    };
    Exchange {
        id: row.row_id,
        model: model.clone(),
        model_version: None,
        event_time: row.event_time,
        other_ids: Vec::new(),
        batch: Batch { rows: 1, features: columns(&row.features), outputs: columns(&row.outputs) },
    }
}

/// What came of watching.
#[derive(Debug, Default)]
struct Watched {
    learner: Learner,
    /// Why exchanges had no rows, with their number.
    failures: BTreeMap<&'static str, u64>,
}

/// Stands in front of the model server until enough was seen, the time is over, or somebody stops it.
async fn from_proxy(
    settings: &Settings,
    arguments: &Learn,
    upstream: &str,
    policy: Arc<Policy>,
) -> anyhow::Result<Learned> {
    let configured = settings.model(&arguments.model);
    let metrics = Metrics::new()?;
    let ledger = Ledger::new([arguments.model.clone()], &metrics);
    let (queue, receiver) = tap::queue(settings.tap.queue_bytes.0, metrics.tap.queue_bytes.clone());
    let models: Vec<ModelSettings> = configured.cloned().into_iter().collect();
    let tap = TapSettings {
        tap: Tap { upstream: Some(upstream.to_owned()), ..settings.tap.clone() },
        paths: TapSettings::paths(&models),
        ledger,
        queue,
        metrics,
        now: app::now,
        grace: DRAIN,
    };
    let proxy = Proxy::bind(arguments.listen.unwrap_or(settings.listen.proxy), tap).await?;
    writeln!(
        std::io::stderr(),
        "watching predictions of `{}`: send them to http://{} instead of {upstream}",
        arguments.model,
        proxy.local_addr()
    )?;
    let naming = Naming {
        features: configured.map(|model| model.features.clone().into()).unwrap_or_default(),
        format: configured.and_then(|model| model.format.clone()).map(Arc::new),
    };
    let bar = ProgressBar::new(arguments.predictions);
    let style = ProgressStyle::with_template("{pos} of {len} predictions {wide_bar} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (enough, over) = (CancellationToken::new(), CancellationToken::new());
    let decoding = {
        let (enough, over, bar, wanted) = (enough.clone(), over.clone(), bar.clone(), arguments.predictions);
        tokio::task::spawn_blocking(move || watch(&receiver, &naming, &policy, wanted, &bar, &enough, &over))
    };
    let stopped = stop_signal()?;
    let shutdown = CancellationToken::new();
    let until = async {
        tokio::select! {
            () = enough.cancelled() => {}
            () = tokio::time::sleep(arguments.wait.0) => {}
            () = stopped => {}
        }
        shutdown.cancel();
    };
    tokio::join!(proxy.run(shutdown.clone()), until);
    over.cancel();
    let watched = decoding.await?;
    bar.finish_and_clear();
    finish(&watched, arguments)
}

/// Decodes and learns, on a thread of its own, until there is enough or it is over.
fn watch(
    receiver: &ExchangeReceiver,
    naming: &Naming,
    policy: &Policy,
    wanted: u64,
    bar: &ProgressBar,
    enough: &CancellationToken,
    over: &CancellationToken,
) -> Watched {
    let mut watched = Watched::default();
    loop {
        match receiver.recv_timeout(RECEIVE) {
            Received::Exchange(recorded) if watched.learner.predictions() < wanted => {
                match recorded.decode(naming) {
                    Ok(mut decoded) => {
                        policy.apply(&mut decoded.exchange);
                        watched.learner.observe(&decoded.exchange);
                        decoded.ticket.kept();
                        bar.set_position(watched.learner.predictions());
                        if watched.learner.predictions() >= wanted {
                            enough.cancel();
                        }
                    }
                    Err(failure) => *watched.failures.entry(failure.reason()).or_default() += 1,
                }
            }
            Received::Nothing | Received::Closed if over.is_cancelled() => return watched,
            Received::Exchange(_) | Received::Nothing => {}
            Received::Closed => std::thread::sleep(RECEIVE),
        }
    }
}

fn finish(watched: &Watched, arguments: &Learn) -> anyhow::Result<Learned> {
    let failures: Vec<String> =
        watched.failures.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let seen = watched.learner.predictions();
    if seen == 0 {
        let why = if failures.is_empty() {
            format!("no prediction of model `{}` came within {}", arguments.model, arguments.wait)
        } else {
            format!("no prediction of model `{}` could be read: {}", arguments.model, failures.join(", "))
        };
        return Err(anyhow!(why));
    }
    let mut stderr = std::io::stderr();
    if seen < arguments.predictions {
        writeln!(stderr, "note: only {seen} of {} predictions came", arguments.predictions)?;
    }
    if !failures.is_empty() {
        writeln!(stderr, "note: not read: {}", failures.join(", "))?;
    }
    Ok(watched.learner.learned())
}

/// Writes a file in one step.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("failed to write `{}`", path.display());
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).with_context(context)?;
    std::fs::rename(&partial, path).with_context(context)
}
