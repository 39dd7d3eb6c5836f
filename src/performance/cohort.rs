//! Puts the report on a window together.

use super::{Cohort, Judged, Pairs, PerformanceReport, Reading, estimates};
use crate::model::ModelName;
use crate::window::Window;

/// Most labelled rows of a window behind its figures; of more, a sample is taken.
pub const MAX_ROWS: usize = 50_000;

/// The rows of a segment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segmented {
    /// Its key, such as `region=eu`.
    pub key: String,
    /// Predictions that were kept.
    pub rows: u64,
    /// Of these, with a label.
    pub labelled: u64,
    /// Which of the judged rows are in it, in their order.
    pub chosen: Vec<usize>,
}

/// Judges a window; what it is compared with is left for whoever knows it.
///
/// # Arguments
///
/// * `rows`, `labelled`: how many predictions of the window there are, and with a label.
/// * `judged`: those with a label, or a sample of them, in the order of time.
/// * `delay_seconds`, `mature`: how long labels usually take, and whether the window is older.
pub fn judge(
    model: &ModelName,
    window: Window,
    reading: &Reading,
    (rows, labelled): (u64, u64),
    judged: &[Judged],
    segments: &[Segmented],
    (delay_seconds, mature): (f64, bool),
) -> PerformanceReport {
    let (pairs, usable) = Pairs::read(reading, judged);
    // Where a judged row stands among the usable ones.
    let mut place = 0;
    let places: Vec<Option<usize>> = usable
        .iter()
        .map(|usable| {
            let own = usable.then_some(place);
            place += usize::from(*usable);
            own
        })
        .collect();
    // The same rows give the same errors, on every replica.
    let seed = window.start.timestamp().cast_unsigned();
    let cohort = |segment: Option<String>, rows, labelled, pairs: &Pairs| Cohort {
        segment,
        rows,
        labelled,
        n: pairs.rows() as u64,
        figures: estimates(pairs, seed),
        baseline: None,
    };
    PerformanceReport {
        model: model.clone(),
        window_start: window.start,
        window_end: window.end,
        task: reading.task,
        mature,
        delay_seconds,
        all: cohort(None, rows, labelled, &pairs),
        segments: segments
            .iter()
            .map(|segment| {
                let chosen: Vec<usize> =
                    segment.chosen.iter().filter_map(|row| places.get(*row).copied().flatten()).collect();
                cohort(Some(segment.key.clone()), segment.rows, segment.labelled, &pairs.select(&chosen))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use serde_json::json;

    use super::*;
    use crate::model::Value;
    use crate::performance::{Metric, Task};

    #[test]
    fn segments_hold_their_own_rows_and_unreadable_ones_count_for_none() {
        let row =
            |said: f64, label| Judged { outputs: [("p".to_owned(), Value::Number(said))].into(), label };
        let rows = [row(0.9, json!(1)), row(0.9, json!("?")), row(0.1, json!(1)), row(0.2, json!(0))];
        let segment = |key: &str, chosen: &[usize]| Segmented {
            key: key.to_owned(),
            rows: 10,
            labelled: chosen.len() as u64,
            chosen: chosen.to_vec(),
        };
        let start = DateTime::from_timestamp(0, 0).unwrap();
        let window = Window { start, end: start + TimeDelta::hours(1) };
        let model = ModelName::parse("m").unwrap();
        let segments = [segment("a=1", &[0, 1]), segment("a=2", &[2, 3]), segment("a=(other)", &[])];
        let report =
            judge(&model, window, &Reading::of(Task::Binary), (40, 4), &rows, &segments, (60.0, true));
        assert_eq!((report.all.rows, report.all.labelled, report.all.n), (40, 4, 3));
        assert!((report.all.figures[&Metric::Accuracy].value - 2.0 / 3.0).abs() < 1e-12);
        let of = |key: &str| report.cohort(Some(key)).unwrap();
        assert_eq!((of("a=1").n, of("a=1").figures[&Metric::Accuracy].value), (1, 1.0));
        assert_eq!((of("a=2").n, of("a=2").figures[&Metric::Accuracy].value), (2, 0.5));
        assert_eq!((of("a=(other)").n, of("a=(other)").figures.len()), (0, 0));
        assert_eq!(report.cohort(Some("a=3")), None);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<PerformanceReport>(&text).unwrap(), report);
    }
}
