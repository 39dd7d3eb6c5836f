//! Looks of a test for rules with `every`: minutes given as figures, under the names that rules have for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::RuleTest;
use super::figures::{self, TrafficFigures};
use super::read::{count, entries, number, share};
use super::window::losses;
use crate::alert::rule::Watch;
use crate::alert::view::Look;
use crate::performance::{Against, Cohort, Estimate, Metric, PerformanceReport, Task};
use crate::yaml::{Fields, Node, Reader, Yaml, hint};

/// Keys of a look.
pub(super) const KEYS: [&str; 9] = [
    "repeat",
    "traffic",
    "loss_share",
    "seconds_since_prediction",
    "seconds_since_report",
    "seconds_unjudged",
    "seconds_since_label",
    "performance",
    "segments",
];

/// Keys of performance that are no figures.
const COUNTS: [&str; 4] = ["n", "rows", "labelled_share", "age_seconds"];

/// What there is to see in one or several minutes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Minutes {
    pub(super) repeat: usize,
    traffic: Option<TrafficFigures>,
    loss_share: f64,
    /// Seconds in the first of the minutes; each further one adds a minute.
    prediction: Option<f64>,
    report: Option<f64>,
    unjudged: Option<f64>,
    label: Option<f64>,
    performance: Option<Performance>,
    segments: BTreeMap<String, Performance>,
}

/// Performance of all rows or of a segment.
#[derive(Debug, Clone, PartialEq)]
struct Performance {
    cohort: Cohort,
    age_seconds: f64,
}

/// Reads one entry of `looks`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Minutes> {
    let fields = reader.fields(node, "a look", &KEYS)?;
    let mut of = |key: &str| -> Option<f64> {
        let node = fields.get(key)?;
        let found = number(reader, node, key)?;
        if found < 0.0 {
            reader.problem(node.line, format!("`{key}`: expected no less than 0, found {found}"));
        }
        Some(found)
    };
    let (prediction, report) = (of("seconds_since_prediction"), of("seconds_since_report"));
    let (unjudged, label) = (of("seconds_unjudged"), of("seconds_since_label"));
    let mut segments = BTreeMap::new();
    if let Some(node) = fields.get("segments") {
        for entry in entries(reader, node, "segments") {
            if let Some(performance) = performance(reader, entry.node, &format!("segments.{}", entry.name)) {
                segments.insert(entry.name.to_owned(), performance);
            }
        }
    }
    Some(Minutes {
        repeat: fields.get("repeat").map_or(1, |node| figures::repeat(reader, node)),
        traffic: fields.get("traffic").map(|node| figures::traffic(reader, node)),
        loss_share: loss_share(reader, &fields),
        prediction,
        report,
        unjudged,
        label,
        performance: fields.get("performance").and_then(|node| performance(reader, node, "performance")),
        segments,
    })
}

fn loss_share(reader: &mut Reader<'_>, fields: &Fields<'_>) -> f64 {
    fields.get("loss_share").and_then(|node| share(reader, node, "loss_share")).unwrap_or_default()
}

/// Figures by the names of rules without `performance.`: `accuracy`, `se.accuracy`, `baseline.accuracy`, `n`, `rows`,
/// `labelled_share`, `age_seconds`.
fn performance(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Performance> {
    if !matches!(node.value, Yaml::Map(_)) {
        reader.problem(node.line, format!("`{key}`: expected a mapping, found {}", node.value.kind()));
        return None;
    }
    let (mut n, mut rows, mut labelled_share, mut age_seconds) = (1000, None, 1.0, 3600.0);
    let mut figures: BTreeMap<Metric, Estimate> = BTreeMap::new();
    let mut errors: Vec<(Metric, f64, u64)> = Vec::new();
    let mut before: BTreeMap<Metric, f64> = BTreeMap::new();
    for entry in entries(reader, node, key) {
        let place = format!("{key}.{}", entry.name);
        match entry.name {
            "n" => n = count(reader, entry.node, &place)?,
            "rows" => rows = count(reader, entry.node, &place),
            "labelled_share" => labelled_share = share(reader, entry.node, &place)?,
            "age_seconds" => age_seconds = number(reader, entry.node, &place)?,
            name => {
                let (part, metric) = name.split_once('.').unwrap_or(("", name));
                let metric = Metric::parse(metric).filter(|_| ["", "se", "baseline"].contains(&part));
                let Some(metric) = metric else {
                    let known = Metric::ALL.map(Metric::as_str).into_iter().chain(COUNTS);
                    let near = hint(name, known);
                    reader.problem(entry.line, format!("unknown key `{name}` in `{key}`{near}"));
                    continue;
                };
                let value = number(reader, entry.node, &place)?;
                match part {
                    "" => {
                        figures.insert(metric, Estimate { value, standard_error: None });
                    }
                    "se" => errors.push((metric, value, entry.line)),
                    _ => {
                        before.insert(metric, value);
                    }
                }
            }
        }
    }
    for (metric, error, line) in errors {
        if let Some(estimate) = figures.get_mut(&metric) {
            estimate.standard_error = Some(error);
        } else {
            let name = metric.as_str();
            reader.problem(line, format!("`{key}.se.{name}`: expected `{name}` beside it"));
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of rows divided by a share of them; what is too large saturates"
    )]
    let all = |n: u64| if labelled_share > 0.0 { (n as f64 / labelled_share).round() as u64 } else { n };
    let rows = rows.unwrap_or_else(|| all(n));
    let baseline = (!before.is_empty()).then(|| Against { source: "the test".to_owned(), figures: before });
    let cohort = Cohort { segment: None, rows, labelled: n, n, figures, baseline };
    Some(Performance { cohort, age_seconds })
}

impl Minutes {
    /// What a rule sees that looks at `at`, `repeated` minutes after the first of them.
    ///
    /// What is not said is calm: predictions come, a window was judged half an hour ago, and nothing waits for longer.
    pub(super) fn look(&self, test: &RuleTest, watch: Watch, at: DateTime<Utc>, repeated: usize) -> Look {
        let since = |seconds: f64| {
            let milliseconds = 1000.0 * (seconds + 60.0 * repeated as f64);
            #[expect(clippy::cast_possible_truncation, reason = "what is too long saturates")]
            let span = TimeDelta::try_milliseconds(milliseconds as i64).unwrap_or(TimeDelta::MAX);
            at.checked_sub_signed(span).unwrap_or(DateTime::<Utc>::MIN_UTC)
        };
        let half_an_hour = at - TimeDelta::minutes(30);
        Look {
            model: test.model.clone(),
            from: at - watch.over,
            at,
            window: test.window,
            figures: self.traffic.as_ref().map(|traffic| traffic.figures.clone()).unwrap_or_default(),
            losses: losses(self.loss_share),
            last_prediction: Some(self.prediction.map_or(at - TimeDelta::seconds(1), since)),
            last_report: Some(self.report.map_or(half_an_hour, since)),
            unjudged_since: Some(self.unjudged.map_or(half_an_hour, since)),
            last_label: self.label.map(since),
            performance: self.report_at(test, at).map(Arc::new),
        }
    }

    fn report_at(&self, test: &RuleTest, at: DateTime<Utc>) -> Option<PerformanceReport> {
        let any = self.performance.as_ref().or_else(|| self.segments.values().next())?;
        #[expect(clippy::cast_possible_truncation, reason = "what is too long saturates")]
        let age = TimeDelta::try_seconds(any.age_seconds as i64).unwrap_or_default();
        let window_end = at.checked_sub_signed(age).unwrap_or(at);
        Some(PerformanceReport {
            model: test.model.clone(),
            window_start: window_end.checked_sub_signed(TimeDelta::from_std(test.window).ok()?)?,
            window_end,
            task: Task::Binary,
            mature: true,
            delay_seconds: 0.0,
            all: self.performance.as_ref().map(|performance| performance.cohort.clone()).unwrap_or_default(),
            segments: self
                .segments
                .iter()
                .map(|(key, performance)| Cohort { segment: Some(key.clone()), ..performance.cohort.clone() })
                .collect(),
        })
    }

    /// The segments that it names.
    pub(super) fn segment_names(&self) -> impl Iterator<Item = &str> {
        self.segments.keys().map(String::as_str)
    }
}
