//! Training-serving skew: what was captured beside what the stored model in production makes of it.

use std::collections::BTreeSet;

use driftline::model::{Column, Value};
use driftline::retrain::Task;
use driftline::retrain::artifact::Artifact;
use driftline::store::captured::{self, CapturedRow};

use crate::journal::Journal;

/// Newest captured rows that are looked at.
pub(crate) const ROWS: u64 = 2_000;

/// Share of the rows from which on it is worth a warning that a value cannot be used, or that an answer differs.
const SHARE: f64 = 0.01;

/// Relative difference of two answers that single precision explains.
const TOLERANCE: f64 = 1e-4;

/// Tells what the pipeline of `artifact`, version `version` in production, cannot use of `served`, and whether the
/// answers that were served are those of the artifact.
pub(crate) fn report(
    version: i64,
    artifact: &Artifact,
    output: &str,
    served: &[CapturedRow],
    journal: &Journal,
) {
    if served.is_empty() {
        return;
    }
    let columns = columns(artifact, served);
    for unused in artifact.pipeline.unused(served.len(), &columns) {
        if unused.share() >= SHARE {
            journal.warn(format!(
                "training-serving skew: the preprocessing of version {version} cannot use all of the {} newest captured \
                 rows; {}",
                served.len(),
                unused.sentence()
            ));
        }
    }
    let own: Vec<usize> =
        (0..served.len()).filter(|&row| served[row].model_version == version.to_string()).collect();
    let answers = artifact.predict_one(served.len(), &columns);
    let (mut compared, mut differing, mut most) = (0_usize, 0_usize, 0.0_f64);
    for row in own {
        let Some(served) = served[row].outputs.get(output).map(captured::value) else { continue };
        let Some(difference) = difference(artifact, answers[row], &served) else { continue };
        compared += 1;
        if difference > TOLERANCE {
            differing += 1;
            most = most.max(difference);
        }
    }
    if compared == 0 {
        return;
    }
    if differing as f64 >= SHARE * compared as f64 {
        journal.warn(format!(
            "training-serving skew: {differing} of {compared} answers captured from version {version} are not what its \
             artifact makes of the captured features, by up to {most:.3} of their size; something prepares features \
             otherwise before the model, or another model answers"
        ));
    } else {
        journal.info(format!(
            "no training-serving skew: {compared} answers captured from version {version} are those of its artifact"
        ));
    }
}

/// The features that `artifact` reads, as they were captured.
fn columns(artifact: &Artifact, served: &[CapturedRow]) -> Vec<Column> {
    let names: BTreeSet<&str> =
        artifact.features().map(|(name, _)| name).chain(artifact.pipeline.time_columns()).collect();
    names
        .into_iter()
        .map(|name| {
            let value = |row: &CapturedRow| match row.features.get(name) {
                Some(value) => captured::value(value),
                None if name == driftline::retrain::pipeline::EVENT_TIME => {
                    Value::Number(row.event_time.timestamp_millis() as f64 / 1e3)
                }
                None => Value::Missing,
            };
            Column { name: name.into(), values: served.iter().map(value).collect() }
        })
        .collect()
}

/// How far a served answer is from the artifact's, relative to its size; none where the two cannot be compared.
fn difference(artifact: &Artifact, answer: f64, served: &Value) -> Option<f64> {
    match (artifact.task, served) {
        (Task::Multiclass, Value::Text(name)) => {
            let class = artifact.classes.iter().enumerate().find(|(at, _)| (*at as f64 - answer).abs() < 0.5);
            Some(f64::from(u8::from(class.is_none_or(|(_, class)| class != name))))
        }
        // A server that answers with the class says nothing of the probability.
        (Task::Binary, Value::Number(number)) if number.fract().abs() <= 0.0 => {
            Some(f64::from(u8::from((*number > 0.5) != (answer >= 0.5))))
        }
        (Task::Regression | Task::Binary, Value::Number(number)) if number.is_finite() => {
            Some((number - answer).abs() / answer.abs().max(1e-3))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use driftline::retrain::artifact::{Graph, Layer, Link, ModelKind, Output};
    use driftline::retrain::pipeline::{Pipeline, Step};
    use ndarray::{Array1, Array2};
    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::journal::{Event, Stop};

    /// `2 x`.
    fn artifact() -> Artifact {
        let layer = Layer { weight: Array2::from_elem((1, 1), 2.0), bias: Array1::zeros(1) };
        Artifact {
            task: Task::Regression,
            target: "y".into(),
            kind: ModelKind::Linear,
            classes: Vec::new(),
            pipeline: Pipeline { steps: vec![Step::standard("x", 0.0, 1.0)] },
            graph: Graph::dense(vec![layer]),
            output: Output::plain(Link::Identity),
        }
    }

    fn said(x: &Json, answer: f64, version: &str) -> Vec<String> {
        let map = |name: &str, value: Json| Map::from_iter([(name.to_owned(), value)]);
        let row = CapturedRow {
            model_version: version.into(),
            features: map("x", x.clone()),
            outputs: map("prediction", json!(answer)),
            ..CapturedRow::default()
        };
        let (journal, mut events) = Journal::new(Stop::default());
        report(3, &artifact(), "prediction", &vec![row; 10], &journal);
        let mut said = Vec::new();
        while let Ok(Event::Line { message, .. }) = events.try_recv() {
            said.push(message);
        }
        said
    }

    #[test]
    fn answers_are_compared_with_those_of_the_artifact() {
        assert!(said(&json!(1.5), 3.0, "3")[0].contains("no training-serving skew: 10 answers"));
        let differing = said(&json!(1.5), 3.3, "3");
        assert!(
            differing[0].contains("10 of 10 answers captured from version 3")
                && differing[0].contains("0.100")
        );
        assert_eq!(said(&json!(1.5), 3.3, "2"), Vec::<String>::new(), "another version's answers");
    }

    #[test]
    fn what_the_preprocessing_cannot_use_is_said() {
        let unusable = said(&json!("1.5"), 0.0, "2");
        assert!(unusable[0].contains("feature `x`: 100.0 % of another kind"), "{unusable:?}");
    }
}
