//! What one evaluation of one window found: the numbers, the verdict and why.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::joint::JointReport;
use super::segments::{SegmentCriteria, SegmentReport};
use crate::baseline::Baseline;
use crate::expectations::{self, CheckResult, CheckVerdict, Expectations, Observed};
use crate::model::{FeatureKind, ModelName, Role};
use crate::profile::Profile;
use crate::schema::{self, Expected, SchemaChange, Seen};
use crate::stats::Variation;
use crate::traffic::TrafficReport;

/// The decision on a feature or a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing beyond chance and natural variation, or too small to matter.
    Ok,
    /// Significant at the false-alarm budget *and* over the effect floor.
    Drift,
    /// Too few rows to say anything; never to be shown as ok.
    InsufficientData,
    /// Too much was lost on the way for the numbers to stand for the traffic.
    Untrusted,
}

impl Verdict {
    /// The word used in rules, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::InsufficientData => "insufficient_data",
            Self::Untrusted => "untrusted",
        }
    }
}

/// How p-values of one evaluation are adjusted for their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Holm's step-down: family-wise error rate, no assumption on dependence.
    #[default]
    Holm,
    /// Benjamini–Hochberg: false discovery rate.
    BenjaminiHochberg,
    /// Bonferroni.
    Bonferroni,
}

impl Correction {
    /// The word used in settings and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holm => "holm",
            Self::BenjaminiHochberg => "benjamini_hochberg",
            Self::Bonferroni => "bonferroni",
        }
    }
}

/// What a model's owner has decided about judging its windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// Significance level of one evaluation, over all columns together.
    pub alpha: f64,
    /// How p-values are adjusted across columns.
    pub correction: Correction,
    /// Rows below which nothing is said.
    pub min_rows: u64,
    /// Effect that PSI has to reach.
    pub psi_floor: f64,
    /// Effect that KS has to reach where PSI is undefined.
    pub ks_floor: f64,
    /// Share of lost exchanges above which the window is not trusted.
    pub loss_limit: f64,
    /// How segments are judged; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<SegmentCriteria>,
}

impl Default for Criteria {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            correction: Correction::Holm,
            min_rows: 200,
            psi_floor: 0.1,
            ks_floor: 0.05,
            loss_limit: 0.05,
            segments: None,
        }
    }
}

/// Where every exchange of the window went: `seen = kept + sampled_out + sum(dropped)`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Exchanges that the tap recognised as predictions.
    pub seen: u64,
    /// Of these, profiled.
    pub kept: u64,
    /// Of these, left out by the sampling rate.
    pub sampled_out: u64,
    /// Of these, lost, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// Reasons that lie with the client or the model server: nothing was answered, so there was nothing to profile.
const NOT_ANSWERED: [&str; 7] = [
    "client_disconnected",
    "error_status",
    "request_incomplete",
    "unforwardable",
    "upstream_reset",
    "upstream_timeout",
    "upstream_unreachable",
];

impl Losses {
    /// Share of the answered exchanges that should have been profiled and were not, in `[0, 1]`.
    pub fn share(&self) -> f64 {
        let answered = self.dropped.iter().filter(|(reason, _)| !NOT_ANSWERED.contains(&reason.as_str()));
        let lost: u64 = answered.map(|(_, count)| count).sum();
        let wanted = self.kept + lost;
        if wanted == 0 { 0.0 } else { lost as f64 / wanted as f64 }
    }

    /// Adds another part's counts.
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.kept += other.kept;
        self.sampled_out += other.sampled_out;
        for (reason, count) in &other.dropped {
            *self.dropped.entry(reason.clone()).or_default() += count;
        }
    }
}

/// A value that the baseline never had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenValue {
    /// At most its first 64 bytes.
    pub value: String,
    /// Rows of the window.
    pub rows: u64,
}

/// One bin of the evidence: what it covers and how many of each side fell in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinEvidence {
    /// `(-inf, 3.5]`, a value, a category, `missing`, `other`, `unseen`.
    pub label: String,
    /// Rows of the baseline.
    pub reference: u64,
    /// Rows of the window.
    pub current: u64,
}

/// One feature or output of a window against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureReport {
    /// Name of the column.
    pub name: String,
    /// Input, output or derived.
    pub role: Role,
    /// Kind as frozen in the baseline.
    pub kind: FeatureKind,
    /// Usable rows of the baseline.
    pub n_reference: u64,
    /// Usable rows of the window.
    pub n_current: u64,
    /// Missing, NaN and wrongly typed rows of the baseline.
    pub missing_reference: u64,
    /// Missing, NaN and wrongly typed rows of the window.
    pub missing_current: u64,
    /// Statistics by name (`psi`, `ks`, `chi2`, `mean_shift`, …); one that does not apply is absent.
    pub statistics: BTreeMap<String, f64>,
    /// p-values by statistic; the natural-variation rule already applied.
    pub p_values: BTreeMap<String, f64>,
    /// The p-value that decides, adjusted for the number of features.
    pub p_adjusted: Option<f64>,
    /// The statistic that decides and its floor.
    pub deciding: Option<Deciding>,
    /// Natural variation used for the deciding statistic, when the baseline knows it.
    pub natural_variation: Option<Variation>,
    /// The slots of the season that the window was compared with, for people; absent when it was all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<String>,
    /// The most frequent values that the baseline never had, categorical columns only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<UnseenValue>,
    /// The decision.
    pub verdict: Verdict,
    /// The decision in one sentence.
    pub reason: String,
    /// The PSI bins, for people and for recomputing.
    pub bins: Vec<BinEvidence>,
}

/// The statistic that the verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deciding {
    /// `psi` or `ks`.
    pub statistic: String,
    /// Its value.
    pub value: f64,
    /// The effect floor it has to reach.
    pub floor: f64,
}

/// One window of one model against one baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// The model.
    pub model: ModelName,
    /// Version of the baseline.
    pub baseline: String,
    /// First instant of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window, exclusive.
    pub window_end: DateTime<Utc>,
    /// Rows in the window.
    pub rows: u64,
    /// Rows in the baseline.
    pub rows_reference: u64,
    /// Where the exchanges of the window went.
    pub losses: Losses,
    /// What it was judged by; with the stored parts this is all that recomputing it needs.
    pub criteria: Criteria,
    /// The decision over all features and outputs.
    pub verdict: Verdict,
    /// The decision in one sentence.
    pub reason: String,
    /// Every feature and output, in the baseline's order, and what is derived from them.
    pub features: Vec<FeatureReport>,
    /// How well rows of the window can be told from the baseline's, where both have a sample of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<JointReport>,
    /// How its columns differ from those that are expected; they stand beside `verdict` and do not change it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_changes: Vec<SchemaChange>,
    /// What the model's owner expects, check by check; empty when nothing is expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<CheckResult>,
    /// The worst verdict of these checks; it stands beside `verdict` and does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expectations_verdict: Option<CheckVerdict>,
    /// Version of the document they were judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expectations_version: Option<String>,
    /// How long answers took and how they ended, beside earlier windows; absent where the tap saw no traffic. Its verdict
    /// stands beside `verdict` and does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficReport>,
    /// Each segment, in the order of the columns and of their values in the baseline; their verdicts stand beside `verdict`
    /// and do not change it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentReport>,
}

impl DriftReport {
    /// Notes how the columns of the window differ from those that are expected.
    ///
    /// # Arguments
    ///
    /// * `approved`: the columns of the settings; where there are none, those of the baseline.
    /// * `baseline`, `profile`: those that the report was made from.
    /// * `seen`: what its rows had beside the columns of the baseline.
    pub fn compare_schema(
        &mut self,
        approved: &[Expected],
        baseline: &Baseline,
        profile: &Profile,
        seen: &Seen,
    ) {
        let of_baseline;
        let expected = if approved.is_empty() {
            of_baseline = schema::of_layout(baseline.layout());
            &of_baseline
        } else {
            approved
        };
        self.schema_changes = schema::changes(expected, baseline.layout(), profile, seen);
    }

    /// Judges what is expected of the window, beside drift and independent of it.
    ///
    /// # Arguments
    ///
    /// * `baseline`, `profile`: those that the report was made from.
    pub fn judge_expectations(&mut self, expected: &Expectations, baseline: &Baseline, profile: &Profile) {
        let window = (self.window_start, self.window_end);
        self.expectations =
            expectations::evaluate(expected, &Observed::of(baseline.layout(), profile, window));
        self.expectations_verdict =
            (!self.expectations.is_empty()).then(|| expectations::worst(&self.expectations));
        self.expectations_version = Some(expected.version());
    }

    /// The checks that were violated.
    pub fn violated(&self) -> impl Iterator<Item = &CheckResult> {
        self.expectations.iter().filter(|result| result.verdict == CheckVerdict::Violated)
    }

    /// The features and outputs found drifted.
    pub fn drifted(&self) -> impl Iterator<Item = &FeatureReport> {
        self.features.iter().filter(|feature| feature.verdict == Verdict::Drift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_answered_can_be_lost() {
        let dropped = |reason: &str| Losses {
            seen: 100,
            kept: 90,
            dropped: [(reason.to_owned(), 10)].into(),
            ..Losses::default()
        };
        assert!((dropped("queue_full").share() - 0.1).abs() < 1e-12);
        assert!(dropped("error_status").share().abs() < 1e-12);
        assert!(Losses::default().share().abs() < 1e-12);
    }
}
