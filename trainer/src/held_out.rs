//! The rows that only the gate sees: what models score on them, and what speaks against a winner.

use std::collections::BTreeMap;
use std::time::Instant;

use driftline::model::{Column, Value};
use driftline::retrain::artifact::Artifact;
use driftline::retrain::card::{Cost, Evidence};
use driftline::retrain::evaluation::{self, Judged, Metrics};
use driftline::retrain::guard::{self, Rivals};
use driftline::retrain::{Objective, Task, TrainingSpec, gate, importance};
use driftline::store::training_log::Metric;

use crate::dataset::Dataset;
use crate::journal::{Halt, Journal};

/// Single rows that are timed.
const TIMED: usize = 1_000;

/// A model on the held-out rows.
pub(crate) struct Scored {
    /// Loss per row.
    pub(crate) losses: Vec<f64>,
    /// Metrics with their intervals.
    pub(crate) metrics: Metrics,
}

/// The held-out rows of a run.
pub(crate) struct HeldOut<'a> {
    spec: &'a TrainingSpec,
    objective: Objective,
    columns: Vec<Column>,
    targets: &'a [f64],
    journal: &'a Journal,
}

impl<'a> HeldOut<'a> {
    pub(crate) fn of(spec: &'a TrainingSpec, dataset: &'a Dataset, journal: &'a Journal) -> Self {
        let test = dataset.split.test.clone();
        Self {
            spec,
            objective: spec.objective(),
            columns: dataset.slice(&test),
            targets: &dataset.targets[test],
            journal,
        }
    }

    /// Importance of each feature to `artifact`, for the order of what later alerts name.
    pub(crate) fn importance(&self, artifact: &Artifact) -> Result<BTreeMap<String, f64>, Halt> {
        let seed = self.spec.seed;
        let shares =
            importance::permutation(artifact, self.objective, &self.columns, self.targets, seed, || {
                self.journal.checkpoint()
            })?;
        let mut ranked: Vec<_> = shares.iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let said: Vec<String> =
            ranked.iter().take(5).map(|(name, share)| format!("{name} {:.1} %", 100.0 * *share)).collect();
        self.journal.info(match said.as_slice() {
            [] => "shuffling a feature makes the model no worse: it rests on none".to_owned(),
            said => format!("it rests on {} (by shuffling each feature)", said.join(", ")),
        });
        Ok(shares)
    }

    /// Scores a model and writes its metrics down.
    pub(crate) fn score(&self, candidate: &'static str, artifact: &Artifact) -> Scored {
        let answers = artifact.predict(self.targets.len(), &self.columns);
        let judged = Judged {
            task: self.spec.task,
            objective: self.objective,
            answers: answers.view(),
            targets: self.targets,
        };
        let losses = gate::losses(self.objective, answers.view(), self.targets);
        let metrics = evaluation::evaluate(judged, self.spec.seed);
        let said: Vec<String> = metrics
            .iter()
            .map(|(name, estimate)| {
                format!("{name} {:.4} [{:.4}, {:.4}]", estimate.value, estimate.lower, estimate.upper)
            })
            .collect();
        self.journal.info(format!("{candidate} on held-out rows: {}", said.join(", ")));
        let number = |name: String, value| Metric {
            candidate: candidate.to_owned(),
            split: "test".to_owned(),
            epoch: -1,
            name,
            value,
        };
        self.journal.metrics(
            metrics
                .iter()
                .flat_map(|(name, estimate)| {
                    [
                        number(name.clone(), estimate.value),
                        number(format!("{name}_lower"), estimate.lower),
                        number(format!("{name}_upper"), estimate.upper),
                    ]
                })
                .collect(),
        );
        Scored { losses, metrics }
    }

    /// What is known of a winner beside its metrics.
    pub(crate) fn evidence(&self, artifact: &Artifact) -> Result<Evidence, Halt> {
        let answers = artifact.predict(self.targets.len(), &self.columns);
        let judged = Judged {
            task: self.spec.task,
            objective: self.objective,
            answers: answers.view(),
            targets: self.targets,
        };
        let segments = self
            .spec
            .evaluation
            .columns()
            .into_iter()
            .filter_map(|name| self.columns.iter().find(|column| column.name == name))
            .map(|column| evaluation::segments(judged, column, guard::MAX_VALUES))
            .collect();
        let residuals = match self.spec.task {
            Task::Regression => evaluation::residuals(judged),
            Task::Binary | Task::Multiclass => None,
        };
        Ok(Evidence {
            calibration: evaluation::calibration(judged, artifact.output.temperature),
            residuals,
            segments,
            cost: Some(self.cost(artifact)?),
            drift: None,
        })
    }

    /// Size of the artifact and time of single rows.
    fn cost(&self, artifact: &Artifact) -> Result<Cost, Halt> {
        let content = artifact.to_bytes().map_err(|error| Halt::Failed(error.to_string()))?;
        let rows = self.targets.len().max(1);
        let mut times: Vec<f64> = (0..TIMED)
            .map(|call| {
                let row = call % rows;
                let columns: Vec<Column> = self
                    .columns
                    .iter()
                    .map(|column| Column {
                        name: column.name.clone(),
                        values: vec![column.values.get(row).cloned().unwrap_or(Value::Missing)],
                    })
                    .collect();
                let started = Instant::now();
                std::hint::black_box(artifact.predict(1, &columns));
                started.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        Ok(Cost {
            bytes: content.len() as u64,
            row_ms_median: times[TIMED / 2],
            row_ms_p99: times[TIMED - 1 - TIMED / 100],
        })
    }

    /// What speaks against a winner although it is better over all, in sentences.
    pub(crate) fn objections(
        &self,
        cost: Option<&Cost>,
        winner: &[f64],
        production: Option<&[f64]>,
    ) -> Vec<String> {
        let spec = &self.spec.evaluation;
        let mut found = Vec::new();
        if let Some(production) = production {
            let rivals =
                Rivals { objective: self.objective, candidate: winner, production, columns: &self.columns };
            found.extend(guard::worse_segments(spec, rivals, self.spec.seed));
        }
        if let Some(cost) = cost {
            found.extend(guard::over_budget(spec, cost.bytes, cost.row_ms_p99));
        }
        found
    }
}

/// Gives `artifact` the temperature that its probabilities need, from rows that it was not trained on.
pub(crate) fn calibrate(artifact: &mut Artifact, dataset: &Dataset, journal: &Journal) {
    let part = dataset.split.calibration.clone();
    if part.is_empty() || artifact.task == Task::Regression {
        return;
    }
    let answers = artifact.predict(part.len(), &dataset.slice(&part));
    let temperature = evaluation::temperature(artifact.task, answers.view(), &dataset.targets[part.clone()]);
    let about = format!(
        "{} model: temperature {temperature:.3} fitted on {} calibration rows",
        artifact.kind.as_str(),
        part.len()
    );
    // The world moves: what a short stretch of time asks for can be refuted by the one before it.
    let (check, objective) = (dataset.split.validation.clone(), Objective::default_of(artifact.task));
    let columns = dataset.slice(&check);
    let loss = |artifact: &Artifact| {
        let answers = artifact.predict(check.len(), &columns);
        let losses = gate::losses(objective, answers.view(), &dataset.targets[check.clone()]);
        losses.iter().sum::<f64>() / losses.len().max(1) as f64
    };
    let plain = loss(artifact);
    let before = std::mem::replace(&mut artifact.output.temperature, temperature);
    let scaled = loss(artifact);
    if scaled < plain {
        journal.info(about);
    } else {
        artifact.output.temperature = before;
        journal.info(format!(
            "{about} and not kept: the validation part's log loss would go from {plain:.4} to {scaled:.4}"
        ));
    }
}
