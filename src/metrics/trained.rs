//! What is being trained, what came of it, and what each model rests on now.

use std::collections::BTreeMap;

use prometheus::IntCounterVec;

use super::declare::Declare;
use super::shown::{Shown, bring_to};

/// What is being trained, by any worker, as the database has it.
#[derive(Debug, Clone)]
pub struct TrainingMetrics {
    /// Training runs that ended, by how.
    pub runs: IntCounterVec,
    /// Training runs that have not ended, by where they stand.
    pub open: Shown,
    /// How long the oldest queued run has been waiting.
    pub queued: Shown,
    /// Epochs done.
    pub epoch: Shown,
    /// Most epochs there will be.
    pub epoch_limit: Shown,
    /// Mean loss of the last epoch.
    pub loss: Shown,
    /// Rows trained on in a second.
    pub rows_per_second: Shown,
    /// Seconds until the last epoch at the latest.
    pub eta: Shown,
    /// How long the last ended run took.
    pub duration: Shown,
    /// When a run last ended, by how.
    pub ended_at: Shown,
}

/// What the newest run of a model that a worker has begun tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunProgress {
    /// `linear` or `deep`.
    pub candidate: Option<String>,
    /// Epochs done.
    pub epoch: Option<f64>,
    /// Most epochs there will be.
    pub epoch_limit: Option<f64>,
    /// Mean loss of the last epoch by part of the data, `train` or `validation`.
    pub losses: BTreeMap<&'static str, f64>,
    /// Rows trained on in a second.
    pub rows_per_second: Option<f64>,
    /// Seconds until the last epoch at the latest; 0 once the run has ended.
    pub eta_seconds: Option<f64>,
}

/// What of a model's runs has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndedRuns {
    /// How long the last one took, from its first claim, in seconds.
    pub last_seconds: Option<f64>,
    /// When a run last ended, in seconds since 1970, by state.
    pub ended_at: BTreeMap<String, f64>,
}

/// What each model rests on now.
#[derive(Debug, Clone)]
pub struct RegistryMetrics {
    /// The version in production.
    pub version: Shown,
    /// When it was promoted.
    pub promoted_at: Shown,
    /// Always 1; the label names the active baseline.
    pub baseline: Shown,
    /// When the active baseline was made.
    pub baseline_created_at: Shown,
    /// Rows of the active baseline.
    pub baseline_rows: Shown,
}

/// The version in production, and the active baseline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Version, kind, and when it was promoted in seconds since 1970.
    pub version: Option<(i64, String, Option<f64>)>,
    /// Version of the baseline, rows, and when it was made in seconds since 1970.
    pub baseline: Option<(String, i64, f64)>,
}

impl TrainingMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let shown = |name: &str, help: &str, labels: &[&str]| {
            Ok::<_, prometheus::Error>(Shown::new(declare.gauges(name, help, labels)?))
        };
        let by_model = &["model"];
        Ok(Self {
            runs: declare.counters(
                "driftline_training_runs_total",
                "Training runs that ended, by state: succeeded, rejected, failed, cancelled",
                &["model", "state"],
            )?,
            open: shown(
                "driftline_training_open_runs",
                "Training runs that have not ended, by state: suggested, awaiting_approval, queued, running",
                &["model", "state"],
            )?,
            queued: shown(
                "driftline_training_queue_oldest_seconds",
                "How long the oldest queued run has been waiting for a worker; 0 when none does",
                by_model,
            )?,
            epoch: shown(
                "driftline_training_epoch",
                "Epochs done by the newest run that a worker has begun",
                &["model", "candidate"],
            )?,
            epoch_limit: shown("driftline_training_epoch_limit", "Most epochs of that run", by_model)?,
            loss: shown(
                "driftline_training_loss",
                "Mean loss of the last epoch of that run, on the training and the validation part",
                &["model", "split"],
            )?,
            rows_per_second: shown(
                "driftline_training_rows_per_second",
                "Rows that this run trains on in a second",
                by_model,
            )?,
            eta: shown(
                "driftline_training_eta_seconds",
                "Time until the last epoch of that run, at the latest",
                by_model,
            )?,
            duration: shown(
                "driftline_training_last_duration_seconds",
                "How long the run that ended last took, from its first claim",
                by_model,
            )?,
            ended_at: shown(
                "driftline_training_last_end_timestamp_seconds",
                "When a run last ended, by state",
                &["model", "state"],
            )?,
        })
    }

    /// Shows how many runs of a model are in each state.
    pub fn show_counts(&self, model: &str, counts: &BTreeMap<String, i64>) {
        let mut open = BTreeMap::new();
        for (state, runs) in counts {
            if matches!(state.as_str(), "succeeded" | "rejected" | "failed" | "cancelled") {
                bring_to(&self.runs, &[model, state], u64::try_from(*runs).unwrap_or(0));
            } else {
                open.insert(vec![state.clone()], *runs as f64);
            }
        }
        self.open.replace(model, open);
    }

    /// Shows how long the oldest queued run of a model has been waiting, in seconds.
    pub fn show_queue(&self, model: &str, oldest: Option<f64>) {
        self.queued.replace_one(model, Some(oldest.unwrap_or(0.0)));
    }

    /// Shows what the newest run of a model tells; what it does not tell vanishes.
    pub fn show_progress(&self, model: &str, progress: &RunProgress) {
        let candidate = progress.candidate.clone().unwrap_or_else(|| "deep".to_owned());
        self.epoch.replace(model, progress.epoch.map(|epoch| (vec![candidate], epoch)).into_iter().collect());
        self.epoch_limit.replace_one(model, progress.epoch_limit);
        let losses = progress.losses.iter().map(|(split, loss)| (vec![(*split).to_owned()], *loss));
        self.loss.replace(model, losses.collect());
        self.rows_per_second.replace_one(model, progress.rows_per_second);
        self.eta.replace_one(model, progress.eta_seconds);
    }

    /// Shows how the runs of a model ended.
    pub fn show_ended(&self, model: &str, ended: &EndedRuns) {
        self.duration.replace_one(model, ended.last_seconds);
        let ended_at = ended.ended_at.iter().map(|(state, at)| (vec![state.clone()], *at));
        self.ended_at.replace(model, ended_at.collect());
    }
}

impl RegistryMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let shown = |name: &str, help: &str, labels: &[&str]| {
            Ok::<_, prometheus::Error>(Shown::new(declare.gauges(name, help, labels)?))
        };
        let by_model = &["model"];
        Ok(Self {
            version: shown(
                "driftline_model_version",
                "Number of the registered version in production",
                &["model", "kind"],
            )?,
            promoted_at: shown(
                "driftline_model_promoted_timestamp_seconds",
                "When that version went into production",
                by_model,
            )?,
            baseline: shown(
                "driftline_baseline_info",
                "Always 1; the label names the active baseline",
                &["model", "baseline"],
            )?,
            baseline_created_at: shown(
                "driftline_baseline_created_timestamp_seconds",
                "When the active baseline was registered",
                by_model,
            )?,
            baseline_rows: shown("driftline_baseline_rows", "Rows of the active baseline", by_model)?,
        })
    }

    /// Shows what a model rests on; what it has none of vanishes.
    pub fn show(&self, model: &str, standing: &Standing) {
        let version = standing.version.as_ref();
        let shown = version.map(|(version, kind, _)| (vec![kind.clone()], *version as f64));
        self.version.replace(model, shown.into_iter().collect());
        self.promoted_at.replace_one(model, version.and_then(|(_, _, promoted_at)| *promoted_at));
        let baseline = standing.baseline.as_ref();
        let shown = baseline.map(|(name, _, _)| (vec![name.clone()], 1.0));
        self.baseline.replace(model, shown.into_iter().collect());
        self.baseline_rows.replace_one(model, baseline.map(|(_, rows, _)| *rows as f64));
        self.baseline_created_at.replace_one(model, baseline.map(|(_, _, created_at)| *created_at));
    }
}
