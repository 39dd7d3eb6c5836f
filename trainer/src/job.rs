//! The claim loop: one run at a time under a lease, with a heartbeat, cancellation and a clean stop.

use std::time::Duration;

use anyhow::{Context, Result};
use driftline::capture::CaptureError;
use driftline::retrain::card::Drift;
use driftline::retrain::{RunState, Source, TrainingSpec};
use driftline::store::training_run::{self, Claim, Heartbeat, RunError, TrainingRun};
use driftline::store::{PgPool, StoreError, drift_report, model_version, training_log};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};
use tracing::{error, info, warn};

use crate::captured;
use crate::contest::{self, Incumbent};
use crate::dataset::{self, Dataset, Rows};
use crate::journal::{Event, Halt, Journal, Stop, StopReason};
use crate::{device, register, skew};

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The database.
    pub(crate) pool: PgPool,
    /// Its name in the table.
    pub(crate) name: String,
    /// How long it may go without a heartbeat before another worker takes over.
    pub(crate) lease: Duration,
    /// Pause between looks at an empty queue.
    pub(crate) poll: Duration,
    /// Whether to leave after one run, or when there is none.
    pub(crate) once: bool,
    /// Becomes true when the worker is to stop.
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// What training gives: a version to register, or the reason why there is none.
enum Ending {
    Registered(i64),
    Ended(RunState),
    Released,
}

impl Worker {
    /// Claims runs until told to stop. Returns whether every run that ended brought a version.
    ///
    /// # Errors
    ///
    /// Only when the database says something that waiting does not mend.
    pub(crate) async fn work(mut self) -> Result<bool> {
        let mut all_succeeded = true;
        let mut pause = self.poll;
        while !*self.shutdown.borrow() {
            match training_run::claim(&self.pool, &self.name, self.lease).await {
                Ok(Some((claim, run))) => {
                    pause = self.poll;
                    info!(run = %run.id, model = run.model, attempt = claim.attempt, "run claimed");
                    match self.carry_out(claim, &run).await {
                        Ok(Ending::Registered(version)) => info!(run = %run.id, version, "run succeeded"),
                        Ok(Ending::Ended(state)) => {
                            info!(run = %run.id, state = state.as_str(), "run ended");
                            all_succeeded = false;
                        }
                        Ok(Ending::Released) => info!(run = %run.id, "run given back"),
                        // The lease runs out by itself, and another attempt follows.
                        Err(problem) => {
                            error!(run = %run.id, error = format!("{problem:#}"), "run left to its lease");
                        }
                    }
                    if self.once {
                        break;
                    }
                    continue;
                }
                Ok(None) if self.once => break,
                Ok(None) => pause = self.poll,
                Err(problem) if problem.is_transient() => {
                    warn!(
                        error = format!("{:#}", anyhow::Error::from(problem)),
                        "the queue cannot be read, trying again"
                    );
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
                Err(problem) => return Err(problem).context("the queue cannot be read"),
            }
            tokio::select! {
                () = time::sleep(pause) => {}
                changed = self.shutdown.changed() => if changed.is_err() { break },
            }
        }
        Ok(all_succeeded)
    }

    /// Trains under the lease and ends the run.
    async fn carry_out(&self, claim: Claim, run: &TrainingRun) -> Result<Ending> {
        let stop = Stop::default();
        let (journal, events) = Journal::new(stop.clone());
        let mut guards = JoinSet::new();
        guards.spawn(keep_lease(self.pool.clone(), claim, self.lease, stop.clone()));
        guards.spawn(pass_on_shutdown(self.shutdown.clone(), stop));
        let mut recorder = JoinSet::new();
        recorder.spawn(record(self.pool.clone(), claim, events));

        let trained = self.train(claim, run, &journal).await;
        // With the last journal gone the recorder writes what is left and ends.
        drop(journal);
        while recorder.join_next().await.is_some() {}
        let ending = self.end(claim, trained).await;
        guards.shutdown().await;
        ending
    }

    /// Everything up to the registration, which is the last thing to happen.
    async fn train(
        &self,
        claim: Claim,
        run: &TrainingRun,
        journal: &Journal,
    ) -> Result<Trained, Interrupted> {
        journal.info(format!(
            "attempt {} on worker {}; {}: {}",
            claim.attempt, self.name, run.reason_kind, run.reason
        ));
        let spec: TrainingSpec = serde_json::from_value(run.spec.clone())
            .map_err(|error| Halt::Failed(format!("the specification does not read: {error}")))?;
        let problems = spec.problems();
        if !problems.is_empty() {
            return Err(Halt::Failed(problems.join("; ")).into());
        }
        let rows = match spec.source {
            Source::Captured => Rows::Captured(Box::new(captured::take(&self.pool, &spec).await?)),
            Source::Query { .. } => Rows::Fetched(dataset::fetch(&spec).await?),
            Source::File { .. } => Rows::InFiles,
        };
        if let Rows::Captured(captured) = &rows {
            journal.info(format!(
                "captured rows: snapshot {} of {} files, {} labelled rows",
                captured.snapshot, captured.manifest["files"], captured.manifest["rows"]
            ));
        }
        let production = model_version::production(&self.pool, &spec.model).await?;
        let drift = if run.reason_kind == "rule" {
            let reports = drift_report::latest(&self.pool, &spec.model, REPORTS).await?;
            reports.iter().find_map(|(_, report)| Drift::of(report))
        } else {
            None
        };
        let served = match spec.source {
            Source::Captured if production.is_some() => {
                captured::newest(&self.pool, &spec, skew::ROWS).await?
            }
            _ => Vec::new(),
        };
        let run = run.clone();
        let journal = journal.clone();
        // Computing has its own thread, so that the heartbeat is never late.
        let computed = tokio::task::spawn_blocking(move || -> Result<Trained, Interrupted> {
            register::check_store(&spec).map_err(|error| failed(&error))?;
            let claimed = device::claim(&spec.device, &journal)?;
            let dataset = dataset::build(&spec, rows, &journal)?;
            let snapshot = dataset.snapshot(&spec);
            journal.info(format!("snapshot {}", snapshot.hash));
            let incumbent = production
                .as_ref()
                .map(register::read_artifact)
                .transpose()
                .map_err(|error| failed(&error))?;
            if let Some(incumbent) = &incumbent {
                skew::report(incumbent.version, &incumbent.artifact, &spec.output, &served, &journal);
            }
            match compute(&claim, &spec, &run, &dataset, (incumbent, drift), claimed.device, &journal) {
                Ok(Computed::Won(trained)) => Ok(*trained),
                Ok(Computed::Lost { reason, evidence }) => {
                    Err(Interrupted::Rejected { reason, evidence, taken: (spec.model, Box::new(snapshot)) })
                }
                Err(halt) => Err(Interrupted::Halted(halt, Some((spec.model, Box::new(snapshot))))),
            }
        });
        computed.await.unwrap_or_else(|crash| Err(Halt::Failed(format!("training crashed: {crash}")).into()))
    }

    /// Writes how the run ended, trying again while the database is away and the lease may still be held.
    async fn end(&self, claim: Claim, trained: Result<Trained, Interrupted>) -> Result<Ending> {
        let deadline = Instant::now() + self.lease;
        loop {
            let problem = match self.try_end(claim, &trained).await {
                Ok(ending) => return Ok(ending),
                Err(problem) => problem,
            };
            let is_transient = matches!(&problem, RunError::Store(error) if error.is_transient());
            if !is_transient || Instant::now() >= deadline {
                return Err(problem).context("the end of the run could not be written");
            }
            warn!(run = %claim.run, error = format!("{:#}", anyhow::Error::from(problem)), "trying again");
            time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn try_end(
        &self,
        claim: Claim,
        trained: &Result<Trained, Interrupted>,
    ) -> Result<Ending, RunError> {
        let (state, outcome, taken) = match trained {
            Ok(trained) => {
                match training_run::succeed(&self.pool, &claim, &trained.outcome, &trained.registration).await
                {
                    Ok(version) => return Ok(Ending::Registered(version)),
                    Err(RunError::Cancelled(_)) => {
                        (RunState::Cancelled, StopReason::Cancelled.as_str().to_owned(), None)
                    }
                    Err(
                        problem @ (RunError::ProductionMoved | RunError::Store(StoreError::UnknownModel(_))),
                    ) => (RunState::Failed, problem.to_string(), None),
                    Err(problem) => return Err(problem),
                }
            }
            Err(Interrupted::Halted(halt, taken)) => {
                let taken = taken.as_ref().map(|(model, snapshot)| (model, snapshot.as_ref()));
                match halt {
                    Halt::Rejected(reason) => (RunState::Rejected, reason.clone(), taken),
                    Halt::Failed(reason) => (RunState::Failed, reason.clone(), taken),
                    Halt::Stopped(reason @ StopReason::Cancelled) => {
                        (RunState::Cancelled, reason.as_str().to_owned(), taken)
                    }
                    Halt::Stopped(StopReason::LeaseLost) => return Err(RunError::LeaseLost(claim.run)),
                    Halt::Stopped(StopReason::Shutdown) => {
                        training_run::release(&self.pool, &claim).await?;
                        return Ok(Ending::Released);
                    }
                }
            }
            Err(Interrupted::Rejected { reason, evidence, taken }) => {
                training_run::keep_evidence(&self.pool, &claim, evidence).await?;
                (RunState::Rejected, reason.clone(), Some((&taken.0, taken.1.as_ref())))
            }
            Err(Interrupted::Store(problem)) if problem.is_transient() => {
                training_run::release(&self.pool, &claim).await?;
                return Ok(Ending::Released);
            }
            Err(Interrupted::Store(problem)) => (RunState::Failed, problem.to_string(), None),
        };
        training_run::end(&self.pool, &claim, state, &outcome, taken).await?;
        Ok(Ending::Ended(state))
    }
}

/// Reports among which the drift is looked for that made a rule ask for a run.
const REPORTS: i64 = 50;

/// A version that only has to be registered.
struct Trained {
    outcome: String,
    registration: model_version::Registration,
}

/// How training came out.
enum Computed {
    /// With a version.
    Won(Box<Trained>),
    /// The gate kept it out of production.
    Lost {
        /// The gate's sentence.
        reason: String,
        /// Metrics and parameters.
        evidence: serde_json::Value,
    },
}

/// Why there is no version.
enum Interrupted {
    /// The gate says so, on evidence.
    Rejected {
        /// In a sentence.
        reason: String,
        /// Metrics and parameters.
        evidence: serde_json::Value,
        /// What was trained on.
        taken: (driftline::model::ModelName, Box<driftline::store::snapshot::Snapshot>),
    },
    /// The run itself says so; with the snapshot where one was taken.
    Halted(Halt, Option<(driftline::model::ModelName, Box<driftline::store::snapshot::Snapshot>)>),
    /// The database does.
    Store(StoreError),
}

impl From<Halt> for Interrupted {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt, None)
    }
}

impl From<StoreError> for Interrupted {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CaptureError> for Interrupted {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Database(error) => Self::Store(error),
            error => Halt::Failed(format!("{:#}", anyhow::Error::from(error))).into(),
        }
    }
}

fn failed(error: &anyhow::Error) -> Halt {
    Halt::Failed(format!("{error:#}"))
}

/// Trains, decides, and writes the artifact of an accepted winner.
fn compute(
    claim: &Claim,
    spec: &TrainingSpec,
    run: &TrainingRun,
    dataset: &Dataset,
    (incumbent, drift): (Option<Incumbent>, Option<Drift>),
    device: tch::Device,
    journal: &Journal,
) -> Result<Computed, Halt> {
    let checkpoint = Some(register::checkpoint_path(spec, claim));
    let mut won = contest::hold(spec, dataset, incumbent.as_ref(), device, checkpoint, journal)?;
    if let Some(drift) = drift {
        won.metrics["evidence"]["drift"] = json!(drift);
    }
    if !won.decision.accepted {
        let evidence = json!({"metrics": won.metrics, "parameters": won.parameters});
        return Ok(Computed::Lost { reason: won.decision.reason, evidence });
    }
    let content = won.artifact.to_bytes().map_err(|error| Halt::Failed(error.to_string()))?;
    let path =
        register::write_artifact(&register::folder(spec, claim), &content).map_err(|error| failed(&error))?;
    let baseline = register::new_baseline(spec, dataset, &won.artifact).map_err(|error| failed(&error))?;
    let hash = driftline::retrain::artifact::sha256(&content);
    match register::export(spec, &won.artifact, &hash, &path) {
        Ok(Some(folder)) => journal.info(format!("exported to {}", folder.display())),
        Ok(None) => {}
        // A version that has won is worth more than its copies, which `driftline models export` makes at any time.
        Err(problem) => journal.warn(format!("not exported: {problem:#}")),
    }
    journal.info(format!("artifact {} ({} bytes, SHA-256 {hash})", path.display(), content.len()));
    let parent = incumbent.map(|incumbent| incumbent.version);
    let registration = register::registration(
        spec,
        run,
        &won,
        dataset.snapshot(spec),
        baseline,
        (&path, hash),
        (parent, device),
    );
    Ok(Computed::Won(Box::new(Trained { outcome: won.decision.reason, registration })))
}

/// Prolongs the lease until told that it is over.
async fn keep_lease(pool: PgPool, claim: Claim, lease: Duration, stop: Stop) {
    let mut last_success = Instant::now();
    loop {
        time::sleep(lease / 6).await;
        match training_run::heartbeat(&pool, &claim, lease).await {
            Ok(Heartbeat::Held) => last_success = Instant::now(),
            Ok(Heartbeat::CancelRequested) => {
                last_success = Instant::now();
                stop.set(StopReason::Cancelled);
            }
            Ok(Heartbeat::Lost) => return stop.set(StopReason::LeaseLost),
            Err(problem) => {
                warn!(run = %claim.run, error = format!("{:#}", anyhow::Error::from(problem)), "heartbeat failed");
                if last_success.elapsed() > lease {
                    return stop.set(StopReason::LeaseLost);
                }
            }
        }
    }
}

/// Tells the run when the worker is to stop.
async fn pass_on_shutdown(mut shutdown: watch::Receiver<bool>, stop: Stop) {
    if shutdown.wait_for(|&stopping| stopping).await.is_ok() {
        stop.set(StopReason::Shutdown);
    }
}

/// Writes what the run tells, to the log and the database. A line that cannot be written is no reason to stop.
async fn record(pool: PgPool, claim: Claim, mut events: UnboundedReceiver<Event>) {
    while let Some(event) = events.recv().await {
        let written = match &event {
            Event::Line { is_warning: true, message } => {
                warn!(run = %claim.run, "{message}");
                training_log::append(&pool, &claim, "warn", message).await
            }
            Event::Line { is_warning: false, message } => {
                info!(run = %claim.run, "{message}");
                training_log::append(&pool, &claim, "info", message).await
            }
            Event::Progress(progress) => {
                info!(run = %claim.run, epoch = progress.epoch, train_loss = progress.train_loss,
                      validation_loss = progress.validation_loss,
                      rows_per_second = progress.rows_per_second, eta_seconds = progress.eta_seconds, "epoch");
                let message = format!(
                    "epoch {}/{}: train loss {:.4}, validation loss {:.4}, {:.0} rows/s",
                    progress.epoch,
                    progress.max_epochs,
                    progress.train_loss,
                    progress.validation_loss,
                    progress.rows_per_second
                );
                match training_log::append(&pool, &claim, "info", &message).await {
                    Ok(()) => training_run::progress(&pool, &claim, &json!(progress)).await,
                    Err(problem) => Err(problem),
                }
            }
            Event::Metrics(metrics) => training_log::record(&pool, &claim, metrics).await,
        };
        if let Err(problem) = written {
            warn!(run = %claim.run, error = format!("{:#}", anyhow::Error::from(problem)), "progress not written");
        }
    }
}
