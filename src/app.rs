//! The wiring: `build` connects and binds, `run` serves and drains.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::baseline::Baseline;
use crate::config::{ModelSettings, Settings};
use crate::expectations::{ByModel, Expectations};
use crate::http::{self, ApiError, AppState, Auth, Explain, Feed, SinkState, Tokens};
use crate::metrics::Metrics;
use crate::model::ModelName;
use crate::notify::Receivers;
use crate::privacy::{Policies, Policy};
use crate::retrain::TrainingSpec;
use crate::store;
use crate::store::cluster::Cluster;
use crate::tap::ingest::{Ingest, Waiting};
use crate::tap::{self, Ledger, Names, Proxy, SourceContext, Sources, TapSettings};
use crate::tasks::{
    self, Canary, CatalogTask, Evaluator, ExplainError, Faults, Gauges, Grouping, Ingestion, KeepAlive,
    Labels, Notifier, Performance, Recorder, Retention, RuleReload, RunTraces, SelfWatch, Watch,
};
use crate::traces::{Exporter, Tracer};

/// How long requests in flight may take once shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(20);

/// How long everything together may take to end.
const GRACE: Duration = Duration::from_secs(30);

/// The present; the one place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "everything else takes `now` as an argument")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Chooses the cryptography for TLS; a second call changes nothing.
pub fn install_crypto() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider was installed before");
    }
}

/// A connection pool, and the private server behind it if there is one.
#[derive(Debug)]
pub struct Database {
    /// The pool.
    pub pool: PgPool,
    /// Its URL.
    pub url: String,
    cluster: Option<Cluster>,
}

impl Database {
    /// Closes the pool, then stops the private server if no other process uses it.
    ///
    /// # Errors
    ///
    /// When the private server does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

/// Connects to the configured database, or starts the private one, and brings the schema up to date.
///
/// # Errors
///
/// When the database is not reached or cannot be started.
pub async fn open_database(settings: &Settings) -> anyhow::Result<Database> {
    let database = lazy_database(settings).await?;
    if settings.database.url.is_some() {
        store::migrate(&database.pool)
            .await
            .context("the database of `database.url` was not reached or could not be brought up to date")?;
    }
    Ok(database)
}

/// Like [`open_database`], but a given database may be away: the pool connects when it is back.
async fn lazy_database(settings: &Settings) -> anyhow::Result<Database> {
    let (url, cluster) = if let Some(url) = &settings.database.url {
        (url.clone(), None)
    } else {
        let cluster = Cluster::start(&settings.data_dir, None).await?;
        (cluster.url().to_owned(), Some(cluster))
    };
    let password = settings.database.password_file.as_deref().map(store::read_password);
    let password = password.transpose().context("`database.password_file`")?;
    let pool = store::pool_with(&url, password.as_deref(), settings.database.connections)
        .context("`database.url` cannot be read")?;
    if cluster.is_some() {
        store::migrate(&pool).await.context("the private database could not be brought up to date")?;
    }
    Ok(Database { pool, url, cluster })
}

/// Registers `baseline` and makes it the active one, in one transaction.
///
/// # Errors
///
/// When the database refuses.
pub async fn register_baseline(pool: &PgPool, baseline: &Baseline) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    store::model::register(&mut *transaction, baseline.model()).await?;
    store::baseline::insert(&mut *transaction, baseline).await?;
    store::model::activate_baseline(&mut *transaction, baseline.model(), baseline.version()).await?;
    transaction.commit().await?;
    Ok(())
}

/// What a run of `model` is asked to do, if the settings say how it is trained.
pub fn training_spec(settings: &Settings, model: &ModelName) -> Option<TrainingSpec> {
    tasks::training_spec(settings, settings.model(model)?)
}

fn training_specs(settings: &Settings) -> HashMap<ModelName, TrainingSpec> {
    let spec = |model: &ModelSettings| Some((model.name.clone(), tasks::training_spec(settings, model)?));
    settings.models.iter().filter_map(spec).collect()
}

/// What the API needs to make a report again.
fn explain(settings: Arc<Settings>, expectations: Arc<ByModel>) -> Explain {
    Arc::new(move |db: PgPool, id| {
        let (settings, expectations) = (Arc::clone(&settings), Arc::clone(&expectations));
        Box::pin(async move {
            tasks::explain(&db, &settings, &expectations, id).await.map_err(|error| match error {
                ExplainError::Unknown(id) => ApiError::NotFound(format!("report {id}")),
                ExplainError::BaselineGone(_) => ApiError::conflict("baseline_gone", &error),
                ExplainError::Store(error) => error.into(),
                ExplainError::Other(error) => ApiError::internal(error.as_ref()),
            })
        })
    })
}

pub use crate::tasks::load_rules;

/// Reads the files of expectations that the settings name.
///
/// # Errors
///
/// Every problem of every file, each with its place.
pub fn load_expectations(settings: &Settings) -> anyhow::Result<ByModel> {
    let mut read = ByModel::new();
    let mut problems = Vec::new();
    for model in &settings.models {
        let Some(path) = &model.expectations else { continue };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(format!("failed to read `{}`: {error}", path.display()));
                continue;
            }
        };
        match Expectations::parse(&path.display().to_string(), &text) {
            Ok(expectations) => match &expectations.model {
                Some(named) if *named != model.name => {
                    let line = 1 + text.lines().position(|line| line.starts_with("model")).unwrap_or(0);
                    let path = path.display();
                    problems.push(format!(
                        "{path}:{line}: `model`: expected `{}`, whose settings name this file, found `{named}`",
                        model.name
                    ));
                }
                _ => {
                    read.insert(model.name.clone(), expectations);
                }
            },
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    if problems.is_empty() {
        return Ok(read);
    }
    bail!("the expectations were refused:\n{}", problems.join("\n"))
}

/// The sidecar, bound and ready to run.
#[derive(Debug)]
pub struct App {
    database: Database,
    settings: Arc<Settings>,
    reload: RuleReload,
    asked: Arc<Notify>,
    faults: Faults,
    expectations: Arc<ByModel>,
    policies: Arc<Policies>,
    receivers: Arc<Receivers>,
    metrics: Metrics,
    proxy: Option<Proxy>,
    ledger: Ledger,
    receiver: tap::ExchangeReceiver,
    ingest: Ingest,
    waiting: mpsc::Receiver<Waiting>,
    sources: Sources,
    admin: TcpListener,
    admin_address: SocketAddr,
    sink: Option<(TcpListener, Tokens)>,
}

/// Binds the sink's own port, if there is to be one, and reads who may post to it.
async fn bind_sink(settings: &Settings) -> anyhow::Result<Option<(TcpListener, Tokens)>> {
    let Some(address) = settings.sink.listen else { return Ok(None) };
    let tokens = match &settings.sink.token_file {
        None => Tokens::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("failed to read `{}` (`sink.token_file`)", path.display()))?;
            Tokens::parse(&text)
                .map_err(|problem| anyhow::anyhow!("`{}` (`sink.token_file`): {problem}", path.display()))?
        }
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address} (`sink.listen`)"))?;
    Ok(Some((listener, tokens)))
}

impl App {
    /// Reads rules, expectations and receivers, connects, and binds both ports, so that whatever is wrong is found at start.
    ///
    /// A configured database that is away is no reason to stay down: predictions pass without it.
    ///
    /// # Errors
    ///
    /// Rules, expectations, receivers or addresses that cannot be used; a private database that cannot be started.
    pub async fn build(settings: Settings) -> anyhow::Result<Self> {
        install_crypto();
        let settings = Arc::new(settings);
        let metrics = Metrics::bounded(settings.metrics.features)?;
        let (asked, faults) = (Arc::new(Notify::new()), Faults::default());
        let reload = RuleReload::begin(
            Arc::clone(&settings),
            Arc::clone(&asked),
            Arc::clone(&metrics.watch),
            faults.clone(),
        )?;
        let expectations = Arc::new(load_expectations(&settings)?);
        let policies = Arc::new(tasks::load_privacy(&settings)?);
        let receivers = Receivers::build(&settings).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("the receivers were refused:\n{}", lines.join("\n"))
        })?;
        let ledger = Ledger::new(settings.models.iter().map(|model| model.name.clone()), &metrics);
        let (queue, receiver) = tap::queue(settings.tap.queue_bytes.0, metrics.tap.queue_bytes.clone());
        metrics.tap.queue_limit.set(i64::try_from(settings.tap.queue_bytes.0).unwrap_or(i64::MAX));
        let proxy = match settings.tap.upstream {
            Some(_) => {
                let tap = TapSettings {
                    tap: settings.tap.clone(),
                    paths: TapSettings::paths(&settings.models),
                    ledger: ledger.clone(),
                    queue,
                    metrics: metrics.clone(),
                    now,
                    grace: DRAIN,
                };
                Some(Proxy::bind(settings.listen.proxy, tap).await?)
            }
            None => None,
        };
        let admin = TcpListener::bind(settings.listen.admin)
            .await
            .with_context(|| format!("failed to listen on {} (`listen.admin`)", settings.listen.admin))?;
        let admin_address = admin.local_addr()?;
        let sink = bind_sink(&settings).await?;
        let (ingest, waiting) =
            Ingest::bounded(settings.sink.waiting_messages, settings.sink.waiting_bytes.0, &metrics);
        let context = SourceContext { ingest: ingest.clone(), metrics: metrics.clone(), now };
        let sources = Sources::build(&settings.sources, &context)
            .map_err(|problems| anyhow::anyhow!("the sources were refused:\n{}", problems.join("\n")))?;
        let database = lazy_database(&settings).await?;
        Ok(Self {
            database,
            settings,
            reload,
            asked,
            faults,
            expectations,
            policies,
            receivers: Arc::new(receivers),
            metrics,
            proxy,
            ledger,
            receiver,
            ingest,
            waiting,
            sources,
            admin,
            admin_address,
            sink,
        })
    }

    /// Says in the log when the settings file changes, of which only the files of `rules` are read again.
    pub fn watch_settings(&mut self, path: &Path) {
        self.reload.watch_file(path);
    }

    /// To be notified when a person asks that rules be read again.
    pub fn reload_request(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// The address of the admin port.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The address of the proxy, if there is one.
    pub fn proxy_address(&self) -> Option<SocketAddr> {
        self.proxy.as_ref().map(Proxy::local_addr)
    }

    /// The address of the sink's own port, if there is one.
    pub fn sink_address(&self) -> Option<SocketAddr> {
        self.sink.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// The URL of the database.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// The database, for whoever runs the sidecar in its own process.
    pub fn pool(&self) -> PgPool {
        self.database.pool.clone()
    }

    /// Serves until `stop` completes, then drains: the proxy first, then the recorder, then the database.
    ///
    /// # Errors
    ///
    /// The first task that fails or ends early.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            database,
            settings,
            reload,
            faults,
            expectations,
            policies,
            receivers,
            metrics,
            proxy,
            ledger,
            receiver,
            ingest,
            waiting,
            sources,
            admin,
            admin_address,
            sink,
            ..
        } = self;
        let pool = database.pool.clone();
        let shutdown = CancellationToken::new();
        // The recorder goes on until the proxy has ended, so that nothing in flight is lost.
        let drained = CancellationToken::new();
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();

        let labels = Arc::new(tasks::label_rules(&settings, |model| Policy::clone(policies.of(model))));
        let (catalog, catalog_receiver) =
            CatalogTask::new(pool.clone(), Arc::clone(&settings), Arc::clone(&expectations), policies);
        let ingestion = Ingestion::new(
            pool.clone(),
            waiting,
            catalog_receiver.clone(),
            Names::new(&settings),
            settings.sink.clone(),
            metrics.clone(),
        );
        let (tracer, exporter) = traced(&settings, &metrics)?;
        let recorder = Recorder::new(
            pool.clone(),
            receiver,
            ledger,
            catalog_receiver,
            metrics.clone(),
            settings.tap.decode_threads,
            tracer.clone(),
        );
        let feed = Feed::new(shutdown.clone());
        let state = AppState {
            db: pool.clone(),
            metrics: Arc::new(metrics.clone()),
            labels,
            sink: SinkState::new(ingest, Names::new(&settings), &settings.sink),
            monitored: Arc::new(settings.models.iter().map(|model| model.name.clone()).collect()),
            training: Arc::new(training_specs(&settings)),
            proxy: proxy.as_ref().map(Proxy::local_addr),
            explain: explain(Arc::clone(&settings), Arc::clone(&expectations)),
            feed: feed.clone(),
            auth: Arc::new(Auth::new(&settings.admin, admin_address)?),
            now,
        };
        let proxy_address = proxy.as_ref().map(Proxy::local_addr);
        tracing::info!(proxy = ?proxy_address, admin = %admin_address, models = settings.models.len(), "driftline is up");
        let (proxy_shutdown, proxy_drained) = (shutdown.clone(), drained.clone());
        tasks.spawn(async move {
            match proxy {
                Some(proxy) => proxy.run_apart(proxy_shutdown).await.context("the proxy ended")?,
                None => proxy_shutdown.cancelled().await,
            }
            proxy_drained.cancel();
            Ok(())
        });
        tasks.spawn(catalog.run(shutdown.clone()));
        tasks.spawn(recorder.run(drained));
        tasks.spawn(ingestion.run(shutdown.clone()));
        // Ingestion ends when all entrances are gone, that of the sources among them.
        tasks.spawn(sources.run(pool.clone(), shutdown.clone()));
        if let Some((listener, tokens)) = sink {
            tasks.spawn(http::serve_sink(listener, state.clone(), tokens, shutdown.clone()));
        }
        tasks.spawn(http::serve_apart(admin, state, shutdown.clone()));
        tasks.spawn(feed.run(pool.clone()));
        let labels = Labels::new(pool.clone(), Arc::clone(&settings), metrics.labels.clone());
        tasks.spawn(labels.run(shutdown.clone()));
        if let Some(exporter) = exporter {
            tasks.spawn(exporter.run(shutdown.clone()));
        }
        spawn_observers(&mut tasks, &pool, &settings, &metrics, tracer, &shutdown);
        let alerting =
            Alerting { db: pool.clone(), settings: Arc::clone(&settings), metrics, reload, faults };
        alerting.spawn(&mut tasks, expectations, receivers, &shutdown);
        tasks.spawn(Retention::new(pool, settings, now).run(shutdown.clone()));
        let outcome = tasks::supervise(tasks, shutdown, stop, GRACE).await;
        let closed = database.close().await;
        outcome?;
        closed?;
        tracing::info!("driftline has stopped");
        Ok(())
    }
}

/// Starts what looks at the database and shows what it finds: performance from labels, gauges, traces of runs.
fn spawn_observers(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    pool: &PgPool,
    settings: &Arc<Settings>,
    metrics: &Metrics,
    tracer: Tracer,
    shutdown: &CancellationToken,
) {
    let performance = Performance::new(pool.clone(), Arc::clone(settings), metrics.performance.clone(), now);
    tasks.spawn(performance.run(shutdown.clone()));
    let gauges = Gauges::new(pool.clone(), Arc::clone(settings), metrics.clone());
    tasks.spawn(gauges.run(shutdown.clone()));
    let run_traces = RunTraces::new(pool.clone(), Arc::clone(settings), tracer);
    tasks.spawn(run_traces.run(shutdown.clone()));
}

/// What takes spans, and what sends them; nothing does where the settings name no collector.
fn traced(settings: &Settings, metrics: &Metrics) -> anyhow::Result<(Tracer, Option<Exporter>)> {
    let metrics = metrics.traces.clone();
    let Some(url) = settings.traces.url() else { return Ok((Tracer::off(metrics, now), None)) };
    let (tracer, spans) = Tracer::new(settings.traces.sample.get(), metrics.clone(), now);
    let exporter = Exporter::new(url, spans, metrics).context("`traces.endpoint` cannot be used")?;
    Ok((tracer, Some(exporter)))
}

/// What judging windows, telling people and watching the watch share.
struct Alerting {
    db: PgPool,
    settings: Arc<Settings>,
    metrics: Metrics,
    reload: RuleReload,
    faults: Faults,
}

impl Alerting {
    /// Starts everything from complete windows to delivered messages.
    fn spawn(
        self,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        expectations: Arc<ByModel>,
        receivers: Arc<Receivers>,
        shutdown: &CancellationToken,
    ) {
        let Self { db, settings, metrics, reload, faults } = self;
        let settings = || Arc::clone(&settings);
        let notify = Arc::new(Notify::new());
        let wake = || Arc::clone(&notify);
        let evaluator = Evaluator::new(db.clone(), settings(), reload.rules(), metrics.clone(), wake(), now)
            .expecting(expectations);
        tasks.spawn(evaluator.run(shutdown.clone()));
        let watch = Watch::new(db.clone(), settings(), reload.rules(), wake(), now);
        tasks.spawn(watch.run(shutdown.clone()));
        tasks.spawn(reload.run(shutdown.clone()));
        let watch_metrics = Arc::clone(&metrics.watch);
        let canary = Canary::new(db.clone(), settings(), watch_metrics, faults.clone(), wake(), now);
        tasks.spawn(canary.run(shutdown.clone()));
        let self_watch = SelfWatch::new(db.clone(), settings(), metrics, faults, wake(), now);
        tasks.spawn(self_watch.run(shutdown.clone()));
        tasks.spawn(KeepAlive::new(db.clone(), Arc::clone(&receivers), now).run(shutdown.clone()));
        tasks.spawn(Grouping::new(db.clone(), settings(), wake(), now).run(shutdown.clone()));
        tasks.spawn(Notifier::new(db, receivers, now, wake()).run(shutdown.clone()));
    }
}
