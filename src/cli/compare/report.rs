//! What a comparison found: the drift report, what it was made from, and its JSON.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::columns::Plan;
use super::sinks::Tally;
use crate::baseline::{Baseline, BaselineColumn};
use crate::drawing::grouped;
use crate::drift::{Criteria, DriftReport, FeatureReport, Verdict};
use crate::profile::{ColumnProfile, Profile};

/// One of the two sides.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// As given.
    pub(super) path: String,
    pub(super) rows: u64,
}

/// One column with everything that it can be shown by.
#[derive(Debug)]
pub(super) struct Feature {
    pub(super) report: FeatureReport,
    pub(super) column: BaselineColumn,
    pub(super) current: ColumnProfile,
}

/// A comparison of two files.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) reference: Side,
    pub(super) current: Side,
    pub(super) criteria: Criteria,
    pub(super) verdict: Verdict,
    /// The verdict in one sentence.
    pub(super) reason: String,
    /// In the order of the reference file.
    pub(super) features: Vec<Feature>,
    pub(super) only_in_reference: Vec<String>,
    pub(super) only_in_current: Vec<String>,
    /// Whether KS and Wasserstein are from the raw values.
    pub(super) exact: bool,
    /// Blocks of time of the reference, where it has times.
    pub(super) blocks: Option<usize>,
    /// What a reader has to know about single columns.
    pub(super) notes: Vec<String>,
    times: Vec<String>,
}

impl Comparison {
    pub(super) fn new(
        reference: Side,
        current: Side,
        report: DriftReport,
        baseline: &Baseline,
        profile: &Profile,
        plan: &Plan,
    ) -> Self {
        let place = |name: &str| plan.columns.iter().position(|column| column.name == name);
        let mut features: Vec<Feature> = report
            .features
            .into_iter()
            .zip(baseline.columns().iter().cloned())
            .zip(profile.columns().iter().cloned())
            .map(|((report, column), current)| Feature { report, column, current })
            .collect();
        features.sort_by_key(|feature| place(&feature.report.name));
        let notes = plan.two_kinds.iter().map(|(name, one, two)| {
            format!(
                "column `{name}` holds {} in the reference and {} in the current data",
                one.as_str(),
                two.as_str()
            )
        });
        let mut comparison = Self {
            reference,
            current,
            criteria: report.criteria,
            verdict: report.verdict,
            reason: report.reason,
            features,
            only_in_reference: plan.only_in_reference.clone(),
            only_in_current: plan.only_in_current.clone(),
            exact: false,
            blocks: None,
            notes: notes.collect(),
            times: plan.times.clone(),
        };
        comparison.check_reference();
        comparison
    }

    /// A reference of a few rows says as little as current data of a few rows.
    fn check_reference(&mut self) {
        let (rows, least) = (self.reference.rows, self.criteria.min_rows);
        if rows >= least {
            return;
        }
        let reason = format!("the reference has {rows} rows, under the minimum of {least}");
        for feature in &mut self.features {
            feature.report.verdict = Verdict::InsufficientData;
            feature.report.reason.clone_from(&reason);
        }
        self.verdict = Verdict::InsufficientData;
        self.reason = reason;
    }

    /// States values that were of another kind than their column.
    pub(super) fn note_tallies(&mut self, side: &str, tallies: &[(String, Tally)]) {
        for (name, tally) in tallies {
            if let Some(first) = tally.first_wrong {
                let values = if tally.wrong == 1 { "value" } else { "values" };
                let first = if tally.wrong == 1 { "at" } else { "the first at" }.to_owned()
                    + " row "
                    + &grouped(first);
                self.notes.push(format!(
                    "column `{name}` of the {side}: {} {values} of another kind counted as missing, {first}",
                    grouped(tally.wrong)
                ));
            }
        }
    }

    /// States columns that only rows far behind the first have.
    pub(super) fn note_unknown(&mut self, side: &str, unknown: &BTreeSet<String>) {
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.iter().map(|name| format!("`{name}`")).collect();
            self.notes.push(format!(
                "the {side} have columns that their first rows lack, which were not compared: {}",
                names.join(", ")
            ));
        }
    }

    /// What could be done better next time.
    pub(super) fn hints(&self, with_time: bool) -> Vec<String> {
        let mut hints = Vec::new();
        if !self.times.is_empty() {
            let names = self.times.join(",");
            let time = if with_time {
                String::new()
            } else {
                format!(", or learn from it with `--time {}`", self.times[0])
            };
            hints.push(format!("times only ever move on; leave them out with `--exclude {names}`{time}"));
        } else if !with_time {
            hints.push("natural variation is unknown; if the reference has event times, name them with `--time COLUMN`".to_owned());
        }
        if with_time && self.features.iter().all(|feature| feature.column.psi_variation.is_none()) {
            let blocks = self.blocks.unwrap_or(0);
            hints.push(format!(
                "natural variation is unknown: {blocks} blocks of time are too few; take a shorter `--window`, or more data"
            ));
        }
        hints
    }

    /// The features, what matters most first: by verdict, then by effect.
    pub(super) fn by_effect(&self) -> Vec<&Feature> {
        let mut sorted: Vec<&Feature> = self.features.iter().collect();
        sorted.sort_by(|a, b| {
            let rank = |feature: &Feature| match feature.report.verdict {
                Verdict::Drift => 0,
                Verdict::Untrusted => 1,
                Verdict::InsufficientData => 2,
                Verdict::Ok => 3,
            };
            rank(a).cmp(&rank(b)).then_with(|| b.effect().partial_cmp(&a.effect()).unwrap_or(Ordering::Equal))
        });
        sorted
    }

    /// Number of features with this verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.features.iter().filter(|feature| feature.report.verdict == verdict).count()
    }

    /// The document that `--json` prints.
    pub(super) fn to_json(&self) -> Json {
        let features: Vec<Json> = self.features.iter().map(Feature::to_json).collect();
        let mut document = json!({
            "reference": {"path": self.reference.path, "rows": self.reference.rows},
            "current": {"path": self.current.path, "rows": self.current.rows},
            "alpha": self.criteria.alpha,
            "correction": self.criteria.correction.as_str(),
            "verdict": self.verdict.as_str(),
            "reason": self.reason,
            "exact": self.exact,
            "features": features,
        });
        if let Some(document) = document.as_object_mut() {
            for (key, names) in [
                ("only_in_reference", &self.only_in_reference),
                ("only_in_current", &self.only_in_current),
                ("notes", &self.notes),
            ] {
                if !names.is_empty() {
                    document.insert(key.to_owned(), json!(names));
                }
            }
        }
        document
    }
}

impl Feature {
    /// The PSI, by which features are ranked; without one, the KS statistic.
    pub(super) fn effect(&self) -> f64 {
        let statistic = |name: &str| self.report.statistics.get(name).copied();
        statistic("psi").or_else(|| statistic("ks")).unwrap_or(0.0)
    }

    fn to_json(&self) -> Json {
        let report = &self.report;
        let mut feature = Map::new();
        let mut put = |key: &str, value: Json| feature.insert(key.to_owned(), value);
        put("name", json!(report.name));
        put("role", json!(report.role));
        put("kind", json!(report.kind));
        put("n_reference", json!(report.n_reference));
        put("n_current", json!(report.n_current));
        put("missing_reference", json!(report.missing_reference));
        put("missing_current", json!(report.missing_current));
        put("statistics", json!(report.statistics));
        put("p_values", json!(report.p_values));
        if let Some(p) = report.p_adjusted {
            put("p_adjusted", json!(p));
        }
        if let Some(variation) = &report.natural_variation {
            put("natural_variation", json!(variation));
        }
        put("verdict", json!(report.verdict));
        put("reason", json!(report.reason));
        put("bins", json!(report.bins));
        Json::Object(feature)
    }
}
