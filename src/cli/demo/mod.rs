//! `driftline demo`: the whole loop on real data, with nothing to set up.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::mailbox::Arrival;
use self::replay::{Replay, TIME_HEADER};
use self::server::Served;
use super::ExitStatus;
use crate::app::{self, App};
use crate::config::Settings;
use crate::frames;
use crate::model::{FeatureKind, ModelName};
use crate::retrain::{FeatureSpec, RunReason, RunState, Source};
use crate::store;
use crate::store::training_run::{self, Enqueued, TrainingRun};
use crate::telemetry;
use crate::window::window_index;

mod mailbox;
mod replay;
mod server;
mod show;

const MODEL: &str = "elec2";
const TARGET: &str = "target";
const FEATURES: [&str; 6] = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"];

/// Rows before this instant are the reference part: the first version is trained on them, and the baseline cut.
const REFERENCE_UNTIL: &str = "1997-01-30T00:00:00Z";

/// Windows that are replayed after the new version serves.
const WINDOWS_AFTER: usize = 6;

/// Windows after which the demo gives up waiting for a new version.
const MAX_WINDOWS: usize = 40;

/// How long one step may take before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long the recorder takes to see a new baseline.
const CATALOG_PAUSE: Duration = Duration::from_millis(1500);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Leave everything running at the end, until Ctrl-C
    #[arg(long)]
    serve: bool,
    /// Folder with the demo's data set, `elec2.csv`
    #[arg(long, default_value = "baselines/data", value_name = "DIR")]
    data: PathBuf,
    /// Folder for everything the demo writes; by default a new one under `.driftline/demo`
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    telemetry::init_quiet();
    let stop = super::run::stop_signal()?;
    let shutdown = CancellationToken::new();
    let mut demo = Demo::start(&arguments, shutdown.clone(), out).await?;
    let told = tokio::select! {
        told = demo.tell(arguments.serve, out) => told,
        () = stop => {
            writeln!(out, "\nstopped")?;
            Ok(())
        }
    };
    shutdown.cancel();
    let ended = demo.end().await;
    told?;
    ended?;
    Ok(ExitStatus::Success)
}

/// Everything that runs while the story is told.
struct Demo {
    settings: Settings,
    pool: PgPool,
    proxy: String,
    admin: String,
    replay: Arc<Replay>,
    client: reqwest::Client,
    served: watch::Sender<Arc<Served>>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    trainer: Child,
    tasks: JoinSet<anyhow::Result<()>>,
    last_window: Option<DateTime<Utc>>,
    began: Instant,
    tally: show::Tally,
    workspace: PathBuf,
}

impl Demo {
    async fn start(
        arguments: &Arguments,
        shutdown: CancellationToken,
        out: &mut impl Write,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let model = ModelName::parse(MODEL)?;
        let data = arguments.data.join("elec2.csv");
        let table = frames::read_table(&data, None).context(
            "the demo needs its data set: run it in the repository, or name the folder with `--data`",
        )?;
        let times = table.times("timestamp")?;
        let replay = Arc::new(Replay::new(model.clone(), &table, times, &FEATURES, TARGET)?);
        let trainer = trainer_program()?;

        show::heading(
            out,
            "A model server to watch: electricity prices of New South Wales, half-hourly, 1996 to 1998",
        )?;
        let workspace = workspace(arguments)?;
        let model_server = TcpListener::bind("127.0.0.1:0").await?;
        let mail = TcpListener::bind("127.0.0.1:0").await?;
        let hook = TcpListener::bind("127.0.0.1:0").await?;
        let given = demo_database().await?;
        let settings = write_settings(&workspace, given.as_deref(), &model_server, &mail, &hook)?;
        writeln!(out, "  data        {} ({} rows)", data.display(), table.rows)?;
        writeln!(out, "  settings    {}", workspace.join("driftline.yaml").display())?;
        let app = App::build(settings.clone()).await?;
        let pool = app.pool();
        store::migrate(&pool).await.context("the demo's database could not be brought up to date")?;
        let proxy = format!("http://{}", app.proxy_address().context("the demo has a proxy")?);
        let admin = format!("http://{}", app.admin_address());
        match given {
            Some(_) => writeln!(out, "  database    a new one on the server of DATABASE_URL")?,
            None => writeln!(out, "  database    a private Postgres under {}", workspace.display())?,
        }
        writeln!(out, "  model       http://{}", model_server.local_addr()?)?;
        writeln!(out, "  proxy       {proxy}, in front of it")?;
        writeln!(out, "  page        {admin}, and /metrics, /docs")?;

        let worker = start_trainer(&trainer, app.database_url(), &workspace)?;
        show::heading(
            out,
            &format!("Training the first version, on the rows before {}", &REFERENCE_UNTIL[..10]),
        )?;
        let bootstrap = bootstrap(&pool, &settings, &model, &data).await?;
        let ended = follow_run(&pool, bootstrap, out).await?;
        ensure!(
            ended.state == RunState::Succeeded,
            "the first version was not registered: {}",
            ended.outcome.unwrap_or_default()
        );
        show::version(&pool, &model, out).await?;

        let (served, newest) = watch::channel(Arc::new(server::load_production(&pool, &model).await?));
        let (arrivals_sender, arrivals) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(model_server, newest, shutdown.clone()));
        tasks.spawn(mailbox::serve_mail(mail, arrivals_sender.clone(), shutdown.clone()));
        tasks.spawn(mailbox::serve_webhook(hook, arrivals_sender, shutdown.clone()));
        tasks.spawn(app.run(shutdown.cancelled_owned()));
        tokio::time::sleep(CATALOG_PAUSE).await;
        Ok(Self {
            settings,
            pool,
            proxy,
            admin,
            replay,
            client: reqwest::Client::new(),
            served,
            arrivals,
            trainer: worker,
            tasks,
            last_window: None,
            began,
            tally: show::Tally::default(),
            workspace,
        })
    }

    async fn tell(&mut self, serve: bool, out: &mut impl Write) -> anyhow::Result<()> {
        show::heading(
            out,
            "Replaying the traffic after that through the proxy, one window of a week at a time",
        )?;
        show::table_head(out)?;
        let reference_until: DateTime<Utc> = REFERENCE_UNTIL.parse()?;
        let length = self.model_window()?;
        let mut after = None;
        let mut followed = BTreeSet::new();
        let windows = windows(&self.replay.times, reference_until, length);
        for (number, range) in windows.into_iter().take(MAX_WINDOWS).enumerate() {
            self.replay.predict(&self.client, &self.proxy, range.clone()).await?;
            self.replay.label(&self.client, &self.admin, range).await?;
            // A window closes once the next one has begun and its lateness is over.
            if number > 0 {
                self.wait_for_report(out).await?;
            }
            self.drain_arrivals(out)?;
            if after.is_none()
                && let Some(run) = training_run::list(&self.pool, Some(&self.replay.model), 1).await?.pop()
                && run.reason_kind == "rule"
                && followed.insert(run.id)
            {
                // Rejected: the rule tries again once it has seen enough new labels.
                if self.retrain(run.id, out).await? {
                    after = Some(number + WINDOWS_AFTER);
                }
                show::heading(out, "The traffic goes on")?;
                show::table_head(out)?;
            }
            if after.is_some_and(|after| number >= after) {
                break;
            }
        }
        self.drain_arrivals(out)?;
        self.summary(out).await?;
        if serve {
            writeln!(out, "\neverything is left running: {} and {}; Ctrl-C ends it", self.proxy, self.admin)?;
            out.flush()?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn model_window(&self) -> anyhow::Result<Duration> {
        Ok(self.settings.model(&self.replay.model).context("the demo's model is configured")?.window.0)
    }

    /// Waits until at least one more window has been judged, and prints every new one.
    async fn wait_for_report(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let after = self.last_window.unwrap_or(DateTime::UNIX_EPOCH);
            let reports = store::drift_report::after(&self.pool, &self.replay.model, after).await?;
            for (_, report) in &reports {
                self.last_window = Some(report.window_start);
                self.tally.count(report);
                show::report(report, out)?;
            }
            if !reports.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no window was judged within {PATIENCE:?}");
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
                bail!("a part of the demo ended early");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn drain_arrivals(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.take(&arrival, out)?;
        }
        Ok(())
    }

    /// Shows what arrived; an e-mail is also kept as a file, to be opened in a mail program.
    fn take(&mut self, arrival: &Arrival, out: &mut impl Write) -> anyhow::Result<()> {
        self.tally.arrivals += 1;
        if let Arrival::Mail { content, .. } = arrival {
            let path = self.workspace.join(format!("mail-{}.eml", self.tally.arrivals));
            std::fs::write(&path, content)
                .with_context(|| format!("failed to write `{}`", path.display()))?;
        }
        show::arrival(arrival, out)
    }

    /// Follows the run that the rule started, then has the model server serve what it brought; false when the gate
    /// kept the version in production.
    async fn retrain(&mut self, run: Uuid, out: &mut impl Write) -> anyhow::Result<bool> {
        // Both messages are on their way; the first run waits for them, so that they stand before it.
        while self.tally.arrivals < 2 {
            let waiting = tokio::time::timeout(Duration::from_secs(10), self.arrivals.recv());
            let Ok(Some(arrival)) = waiting.await else { break };
            self.take(&arrival, out)?;
        }
        let started = training_run::show(&self.pool, run).await?;
        show::heading(out, "The rule started a training run")?;
        writeln!(out, "  because     {}", started.reason)?;
        let ended = follow_run(&self.pool, run, out).await?;
        writeln!(out, "  {:11} {}", ended.state.as_str(), ended.outcome.clone().unwrap_or_default())?;
        self.drain_arrivals(out)?;
        if ended.state == RunState::Succeeded {
            show::version(&self.pool, &self.replay.model, out).await?;
            let served = server::load_production(&self.pool, &self.replay.model).await?;
            writeln!(out, "  the model server now serves version {}", served.version)?;
            self.served.send_replace(Arc::new(served));
            tokio::time::sleep(CATALOG_PAUSE).await;
        }
        Ok(ended.state == RunState::Succeeded)
    }

    async fn summary(&self, out: &mut impl Write) -> anyhow::Result<()> {
        show::heading(out, "Summary")?;
        self.tally.show(out)?;
        for version in store::model_version::list(&self.pool, Some(&self.replay.model)).await? {
            writeln!(
                out,
                "  version {}   {} ({}), because: {}",
                version.version, version.state, version.kind, version.reason
            )?;
        }
        writeln!(out, "  the whole loop took {:.0} s", self.began.elapsed().as_secs_f64())?;
        Ok(())
    }

    async fn end(mut self) -> anyhow::Result<()> {
        // The worker ends by itself on SIGTERM; a second is enough for one that waits for work.
        if let Some(id) = self.trainer.id() {
            let asked = Command::new("kill").arg(id.to_string()).status().await;
            if asked.is_err()
                || tokio::time::timeout(Duration::from_secs(5), self.trainer.wait()).await.is_err()
            {
                self.trainer.kill().await?;
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Row ranges of the windows of `length` that start at or after `from`.
fn windows(times: &[DateTime<Utc>], from: DateTime<Utc>, length: Duration) -> Vec<std::ops::Range<usize>> {
    let mut windows: Vec<(i64, std::ops::Range<usize>)> = Vec::new();
    for (row, &time) in times.iter().enumerate().filter(|(_, time)| **time >= from) {
        let index = window_index(time, length);
        match windows.last_mut() {
            Some((last, range)) if *last == index => range.end = row + 1,
            _ => windows.push((index, row..row + 1)),
        }
    }
    windows.into_iter().map(|(_, range)| range).collect()
}

fn workspace(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let folder = match &arguments.workspace {
        Some(folder) => folder.clone(),
        None => Path::new(".driftline/demo").join(app::now().format("%Y%m%d-%H%M%S").to_string()),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    Ok(std::path::absolute(folder)?)
}

/// A new database for this demo on the server of `DATABASE_URL`, where one is given.
async fn demo_database() -> anyhow::Result<Option<String>> {
    let Ok(server) = std::env::var("DATABASE_URL") else { return Ok(None) };
    let name = format!("driftline_demo_{}", app::now().format("%Y%m%d_%H%M%S"));
    let url = store::create_database(&server, &name)
        .await
        .with_context(|| format!("database `{name}` could not be created on the server of DATABASE_URL"))?;
    Ok(Some(url))
}

/// Writes the settings that a user would write, and reads them back.
fn write_settings(
    workspace: &Path,
    database: Option<&str>,
    server: &TcpListener,
    mail: &TcpListener,
    hook: &TcpListener,
) -> anyhow::Result<Settings> {
    let secret = format!("demo-{}", Uuid::now_v7().simple());
    std::fs::write(workspace.join("hook.secret"), secret)?;
    std::fs::write(workspace.join("rules.yaml"), include_str!("rules.yaml"))?;
    let text = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\n\
         data_dir: data\n{database}\
         tap:\n  upstream: http://{server}\n  event_time_header: {TIME_HEADER}\n\
         models:\n  - name: {MODEL}\n    window: 7d\n    lateness: 1d\n    \
         training: {{task: binary, target: {TARGET}, source: captured}}\n\
         smtp: {{host: 127.0.0.1, port: {mail}, tls: none, from: driftline@demo.example}}\n\
         receivers:\n  oncall: {{email: {{to: [ml-oncall@demo.example]}}}}\n  \
         platform: {{webhook: {{url: 'http://{hook}/hook', secret_file: hook.secret, allow_private: true}}}}\n\
         rules: [rules.yaml]\n",
        database = database.map(|url| format!("database: {{url: '{url}'}}\n")).unwrap_or_default(),
        server = server.local_addr()?,
        mail = mail.local_addr()?.port(),
        hook = hook.local_addr()?,
    );
    let path = workspace.join("driftline.yaml");
    std::fs::write(&path, &text)?;
    let mut settings = Settings::parse(&text, &path.display().to_string())?;
    settings.resolve_paths(workspace);
    Ok(settings)
}

/// The worker's program: `DRIFTLINE_TRAINER`, else beside this one.
fn trainer_program() -> anyhow::Result<PathBuf> {
    let program = match std::env::var_os("DRIFTLINE_TRAINER") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("driftline-trainer"),
    };
    if !program.exists() {
        bail!("`{}` is missing; `make demo` builds it, or set DRIFTLINE_TRAINER", program.display());
    }
    Ok(program)
}

fn start_trainer(program: &Path, database_url: &str, workspace: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(workspace.join("trainer.log"))?;
    Command::new(program)
        .args(["work", "--poll", "0.2"])
        .env("DATABASE_URL", database_url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start `{}`", program.display()))
}

/// Queues the run that makes the first version, from the reference part of the data file.
async fn bootstrap(
    pool: &PgPool,
    settings: &Settings,
    model: &ModelName,
    data: &Path,
) -> anyhow::Result<Uuid> {
    let mut spec = app::training_spec(settings, model).context("the demo's model has `training`")?;
    spec.source = Source::File {
        path: std::path::absolute(data)?.to_string_lossy().into_owned(),
        time_column: Some("timestamp".to_owned()),
        from: None,
        until: Some(REFERENCE_UNTIL.to_owned()),
    };
    spec.features.columns =
        FEATURES.iter().map(|name| FeatureSpec::new(*name, FeatureKind::Numeric)).collect();
    store::model::register(pool, model).await?;
    let reason = RunReason::Bootstrap("the demo's first version".to_owned());
    let mut connection = pool.acquire().await?;
    match training_run::enqueue(&mut connection, &spec, &reason, "bootstrap", RunState::Queued).await? {
        Enqueued::Created(run) => Ok(run),
        other => bail!("the first run could not be queued: {other:?}"),
    }
}

/// Shows the progress of `run` until it has ended.
async fn follow_run(pool: &PgPool, run: Uuid, out: &mut impl Write) -> anyhow::Result<TrainingRun> {
    let deadline = Instant::now() + PATIENCE;
    let bar = indicatif::ProgressBar::new(1);
    bar.set_style(indicatif::ProgressStyle::with_template("  {bar:30} {msg}")?);
    let mut after = 0;
    loop {
        let now = training_run::show(pool, run).await?;
        for line in store::training_log::lines(pool, run, after).await? {
            after = line.seq;
            // Epochs move the bar; the log keeps their lines.
            if !line.message.starts_with("epoch ") {
                bar.suspend(|| writeln!(out, "  {}", line.message))?;
            }
        }
        show::progress(&bar, &now.progress);
        if now.state.is_final() {
            bar.finish_and_clear();
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "run {run} did not end within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_calendar() {
        let start: DateTime<Utc> = REFERENCE_UNTIL.parse().unwrap();
        let times: Vec<_> = (-10..700).map(|i| start + chrono::TimeDelta::minutes(30 * i)).collect();
        let windows = windows(&times, start, Duration::from_hours(7 * 24));
        assert_eq!(windows, [10..346, 346..682, 682..710]);
    }
}
