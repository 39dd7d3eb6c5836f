//! What a receiver is told: data first, so that every receiver can render it in its own way.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::retrain::RetrainMode;
use crate::drift::Verdict;
use crate::model::{FeatureKind, ModelName, Role};

/// Version of the JSON form; raised when a key changes its meaning or goes away.
pub const MESSAGE_VERSION: u32 = 2;

/// The receiver inside the program that takes messages on trial; no setting may use the name.
pub const CANARY_RECEIVER: &str = "driftline-canary";

/// Most alerts that one message describes; the rest are counted.
pub const MAX_NOTICES: usize = 10;

/// Whether an alert begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It turned firing.
    Firing,
    /// It is over.
    Resolved,
}

impl Status {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Why a message is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The group began to fire.
    Began,
    /// Alerts joined or left a group that goes on.
    Changed,
    /// Nothing changed; the group still fires after `repeat_interval`.
    Repeated,
    /// Nobody acknowledged the group in time, and this receiver is the next one.
    Escalated,
    /// All of the group is over.
    Resolved,
    /// A person asked for a test message.
    Test,
}

/// What the alerts of a message have in common, and what ties its messages together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The same for every message of one episode, and for no other: an e-mail thread, an incident's key.
    pub key: String,
    /// The labels that its alerts share by the route's `group_by`, `model` among them as a rule.
    pub labels: BTreeMap<String, String>,
    /// Since when the group has been firing without a break.
    pub since: DateTime<Utc>,
}

/// One message to one receiver: the alerts of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// [`MESSAGE_VERSION`] when it was written.
    pub version: u32,
    /// Stable across retries: receivers recognise a repeated delivery by it.
    pub id: Uuid,
    /// Name of the receiver.
    pub receiver: String,
    /// Firing while any of its alerts fires.
    pub status: Status,
    /// Why it is sent now.
    pub occasion: Occasion,
    /// What its alerts have in common.
    pub group: Group,
    /// The whole message in one sentence.
    pub summary: String,
    /// The alerts, strongest impact first, of a group that has grown what is new before the rest; at most [`MAX_NOTICES`].
    pub alerts: Vec<Notice>,
    /// How many more there are.
    pub more: usize,
    /// What to do next.
    pub next: Vec<NextStep>,
}

impl Message {
    /// The model, when all alerts are of one.
    pub fn model(&self) -> Option<&ModelName> {
        let first = &self.alerts.first()?.model;
        self.alerts.iter().all(|notice| notice.model == *first).then_some(first)
    }

    /// The gravest `severity` of its alerts: `critical`, `warning`, `info`, then any other word.
    pub fn severity(&self) -> Option<&str> {
        let rank = |severity: &str| SEVERITIES.iter().position(|known| *known == severity);
        self.alerts
            .iter()
            .filter_map(Notice::severity)
            .min_by_key(|severity| rank(severity).unwrap_or(usize::MAX))
    }
}

/// Words of `severity` that receivers know, gravest first.
pub const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// One alert, as a message tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Identifies the alert.
    pub fingerprint: String,
    /// Firing or resolved.
    pub status: Status,
    /// The model.
    pub model: ModelName,
    /// The rule.
    pub rule: String,
    /// The rule's labels, `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// The rule's texts, filled in for this alert.
    pub annotations: BTreeMap<String, String>,
    /// The condition, as it stands in the rule; empty when the rule is gone.
    pub expression: String,
    /// Since when the rule has been firing without a break.
    pub firing_since: DateTime<Utc>,
    /// The report; absent for a rule that watches between windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Uuid>,
    /// Version of the baseline; absent without a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// First instant of what was looked at.
    pub window_start: DateTime<Utc>,
    /// End of what was looked at, exclusive.
    pub window_end: DateTime<Utc>,
    /// The verdict on the window; absent without a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Rows in the window.
    pub rows: u64,
    /// Rows in the baseline.
    pub rows_reference: u64,
    /// Share of the exchanges that should have been profiled and were not.
    pub loss_share: f64,
    /// How the rule may become a training run; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrain: Option<RetrainMode>,
    /// Its subject, with the numbers.
    pub item: Item,
}

impl Notice {
    /// `severity`, when the rule has that label.
    pub fn severity(&self) -> Option<&str> {
        self.labels.get("severity").map(String::as_str)
    }
}

/// The subject of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The feature or output; the model's name for a rule over the model.
    pub subject: String,
    /// Input or output; absent for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Kind of the column; absent for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FeatureKind>,
    /// The verdict on the subject; absent for a rule that watches between windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The adjusted p-value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// Statistics by name; finite ones only.
    pub statistics: BTreeMap<String, f64>,
    /// Usable rows of the window.
    pub n: u64,
    /// Usable rows of the baseline.
    pub n_reference: u64,
    /// How strong the effect is, in units of the floor it has to reach.
    pub effect: f64,
    /// How much the production version leans on the column, 1 for an average one; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<f64>,
    /// The rule's summary, filled in for this subject.
    pub summary: String,
    /// How far it moved, in words and numbers.
    pub moved: Vec<String>,
    /// The bins that moved most, in the report's order.
    pub bins: Vec<BinMove>,
}

impl Item {
    /// Effect times importance: what the alerts of a message are ordered by. Without importance all weigh the same.
    pub fn impact(&self) -> f64 {
        self.effect * self.importance.filter(|importance| importance.is_finite()).unwrap_or(1.0)
    }

    /// The order of a message: the strongest impact first, then the strongest effect, then by name.
    pub fn by_impact(&self, other: &Self) -> std::cmp::Ordering {
        other
            .impact()
            .total_cmp(&self.impact())
            .then_with(|| other.effect.total_cmp(&self.effect))
            .then_with(|| self.subject.cmp(&other.subject))
    }
}

/// A bin that moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinMove {
    /// What it covers.
    pub label: String,
    /// Share of the baseline's rows, in `[0, 1]`.
    pub reference: f64,
    /// Share of the window's rows, in `[0, 1]`.
    pub current: f64,
}

/// A command that leads on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep {
    /// What it is good for.
    pub purpose: String,
    /// What to type.
    pub command: String,
}
