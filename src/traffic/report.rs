//! What one window's traffic was, beside that of earlier windows, and the verdict on it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Figure;
use crate::baseline::Season;

/// The decision on a window's traffic; it never changes the one on drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficVerdict {
    /// Nothing beyond what earlier windows show, or too little to matter.
    Ok,
    /// A figure is worse than in earlier windows: significant *and* over its floor.
    Worse,
    /// Too few exchanges to say anything.
    InsufficientData,
    /// There are too few earlier windows to compare with, or what is stored cannot be read.
    Unknown,
}

impl TrafficVerdict {
    /// Every word of [`as_str`](Self::as_str).
    pub const WORDS: [&'static str; 4] = ["ok", "worse", "insufficient_data", "unknown"];

    /// The word used in rules, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Worse => "worse",
            Self::InsufficientData => "insufficient_data",
            Self::Unknown => "unknown",
        }
    }
}

/// What decides about a window's traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficCriteria {
    /// Significance level of one window, over all figures together.
    pub alpha: f64,
    /// Exchanges below which nothing is said, and a window is none to compare with.
    pub min_requests: u64,
    /// What a share has to rise by.
    pub share_floor: f64,
    /// How many times as long as before a time has to be.
    pub time_ratio_floor: f64,
    /// What a time has to rise by, in seconds.
    pub time_floor: f64,
}

impl Default for TrafficCriteria {
    fn default() -> Self {
        Self { alpha: 0.05, min_requests: 50, share_floor: 0.01, time_ratio_floor: 1.25, time_floor: 0.001 }
    }
}

/// The earlier windows that a window was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReferenceWindows {
    /// The rhythm that they were chosen by: with one, all are of the same hour of the day or of the week.
    pub season: Season,
    /// How many.
    pub windows: usize,
    /// Exchanges in them.
    pub requests: u64,
    /// How many within reach were left out, because their own traffic was worse than that before them.
    pub left_out: usize,
    /// Start of the oldest.
    pub first: Option<DateTime<Utc>>,
    /// Start of the newest.
    pub last: Option<DateTime<Utc>>,
}

/// One figure of a window beside the same of earlier windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Of the window.
    pub value: f64,
    /// Of the earlier windows; absent where there are too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// `value / baseline`; also absent where the window has too few exchanges, or the baseline is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Probability of such a rise between windows that differ as the earlier ones do, adjusted for the number of
    /// figures; 1 where the rise is under its floor. Absent for a figure that is only shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
}

/// The traffic of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// The decision.
    pub verdict: TrafficVerdict,
    /// The decision in one sentence.
    pub reason: String,
    /// What decided.
    pub criteria: TrafficCriteria,
    /// What it was compared with.
    pub reference: ReferenceWindows,
    /// Every figure.
    pub figures: BTreeMap<Figure, Compared>,
    /// Exchanges by HTTP status; 0 and 499: the client went away first; 1000: any over 999.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls by gRPC status; 17: any over 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grpc_statuses: BTreeMap<u16, u64>,
}

impl TrafficReport {
    /// The report on traffic of which nothing can be read; every figure is absent.
    pub fn unreadable(criteria: TrafficCriteria, reason: String) -> Self {
        Self {
            verdict: TrafficVerdict::Unknown,
            reason,
            criteria,
            reference: ReferenceWindows::default(),
            figures: BTreeMap::new(),
            statuses: BTreeMap::new(),
            grpc_statuses: BTreeMap::new(),
        }
    }

    /// The figures that are worse than in earlier windows.
    pub fn worse(&self) -> impl Iterator<Item = (Figure, &Compared)> {
        let alpha = self.criteria.alpha;
        let all = self.figures.iter().map(|(figure, compared)| (*figure, compared));
        all.filter(move |(_, compared)| compared.p.is_some_and(|p| p <= alpha))
    }

    /// The figures that are worse, each in one sentence.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.worse().map(|(figure, compared)| compared.sentence(figure))
    }
}

impl Compared {
    /// `upstream_p99 is 840 ms, before 120 ms (7 times, p 1e-9)`.
    pub fn sentence(&self, figure: Figure) -> String {
        let mut details = Vec::new();
        details.extend(self.ratio.map(|ratio| format!("{} times", super::figures::short(ratio))));
        details.extend(self.p.map(|p| format!("p {p:.0e}")));
        let before = self.baseline.map(|baseline| format!(", before {}", figure.text(baseline)));
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        format!("{} is {}{}{details}", figure.as_str(), figure.text(self.value), before.unwrap_or_default())
    }
}
