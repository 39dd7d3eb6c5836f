//! What may keep a model out of production that is better over all: a segment that gets worse, time, size.

use super::evaluation::rows_by_value;
use super::gate;
use super::spec::{EvaluationSpec, Objective};
use crate::model::Column;

/// Values of a guarded column that are looked at by themselves.
pub const MAX_VALUES: usize = 20;

/// Rows below which a segment is not guarded: its mean says nothing.
const MIN_ROWS: usize = 30;

/// A candidate against the version in production on the same held-out rows.
#[derive(Debug, Clone, Copy)]
pub struct Rivals<'a> {
    /// The loss that is compared.
    pub objective: Objective,
    /// Loss per row of the candidate.
    pub candidate: &'a [f64],
    /// Loss per row of the version in production.
    pub production: &'a [f64],
    /// The held-out rows, for the columns that are guarded.
    pub columns: &'a [Column],
}

/// A sentence for each value of a guarded column that gets worse by more than the settings tolerate.
///
/// Worse is what lies beyond chance: the whole interval of the mean difference, at the gate's level and less what is
/// tolerated, is above 0. Values with fewer than 30 held-out rows are not judged.
pub fn worse_segments(spec: &EvaluationSpec, rivals: Rivals<'_>, seed: u64) -> Vec<String> {
    let mut found = Vec::new();
    for (name, tolerated) in &spec.guards {
        let Some(column) = rivals.columns.iter().find(|column| column.name == name.as_str()) else {
            found.push(format!("the guarded column `{name}` is not among the held-out columns"));
            continue;
        };
        for (value, rows) in rows_by_value(column, rivals.candidate.len(), MAX_VALUES) {
            if rows.len() < MIN_ROWS {
                continue;
            }
            let of = |losses: &[f64]| -> Vec<f64> {
                rows.iter().filter_map(|&row| losses.get(row).copied()).collect()
            };
            let (candidate, production) = (of(rivals.candidate), of(rivals.production));
            let allowed: Vec<f64> = production.iter().map(|loss| loss * (1.0 + tolerated)).collect();
            let comparison = gate::compare(&candidate, &allowed, spec.level, seed);
            if comparison.lower > 0.0 {
                let was = production.iter().sum::<f64>() / production.len() as f64;
                found.push(format!(
                    "{name}={value} gets worse by more than the tolerated {:.1} %: {} {:.4} against {was:.4} in production \
                     ({:+.1} %) on {} held-out rows",
                    100.0 * tolerated,
                    rivals.objective.name(),
                    comparison.challenger,
                    100.0 * (comparison.challenger / was - 1.0),
                    rows.len()
                ));
            }
        }
    }
    found
}

/// A sentence for each limit that the model is over.
///
/// # Arguments
///
/// * `bytes`: of the artifact.
/// * `row_ms_p99`: 99th percentile of the time of a single row, in milliseconds.
pub fn over_budget(spec: &EvaluationSpec, bytes: u64, row_ms_p99: f64) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(most) = spec.max_bytes.filter(|most| bytes > *most) {
        found.push(format!("the artifact has {bytes} bytes, more than the {most} of evaluation.max_bytes"));
    }
    if let Some(most) = spec.max_row_ms.filter(|most| row_ms_p99 > *most) {
        found.push(format!(
            "a single row takes {row_ms_p99:.3} ms (99th percentile), more than the {most} ms of evaluation.max_row_ms"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use crate::stats::random::SplitMix64;

    /// 400 rows, every second one of segment `a`; the candidate's loss is that of production times a factor by segment.
    fn check(a: f64, b: f64, tolerated: f64, expected: &[&str]) {
        let mut random = SplitMix64::new(7);
        let production: Vec<f64> =
            (0..400).map(|_| 1.0 + random.next_u64() as f64 / u64::MAX as f64).collect();
        let candidate: Vec<f64> = production
            .iter()
            .enumerate()
            .map(|(row, loss)| loss * if row % 2 == 0 { a } else { b })
            .collect();
        let values = (0..400).map(|row| Value::Text(["a", "b"][row % 2].into())).collect();
        let columns = [Column { name: "region".into(), values }];
        let spec =
            EvaluationSpec { guards: [("region".to_owned(), tolerated)].into(), ..EvaluationSpec::default() };
        let rivals = Rivals {
            objective: Objective::LogLoss,
            candidate: &candidate,
            production: &production,
            columns: &columns,
        };
        let found = worse_segments(&spec, rivals, 3);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn a_segment_may_get_worse_by_what_is_tolerated() {
        check(0.5, 0.9, 0.0, &[]);
        check(0.5, 1.2, 0.1, &["region=b gets worse by more than the tolerated 10.0 %: log loss "]);
        check(0.5, 1.2, 0.3, &[]);
        check(1.2, 1.2, 0.02, &["region=a gets worse", "region=b gets worse"]);
    }

    #[test]
    fn a_guarded_column_that_is_gone_is_told() {
        let spec = EvaluationSpec { guards: [("x".to_owned(), 0.0)].into(), ..EvaluationSpec::default() };
        let rivals = Rivals { objective: Objective::Mse, candidate: &[], production: &[], columns: &[] };
        assert!(worse_segments(&spec, rivals, 0)[0].contains("`x`"));
    }

    #[test]
    fn limits_are_told_with_their_names() {
        let spec = EvaluationSpec { max_bytes: Some(10), max_row_ms: Some(0.5), ..EvaluationSpec::default() };
        assert!(over_budget(&spec, 10, 0.5).is_empty());
        let found = over_budget(&spec, 11, 0.75);
        assert!(found[0].contains("11 bytes") && found[1].contains("0.750 ms"), "{found:?}");
    }
}
