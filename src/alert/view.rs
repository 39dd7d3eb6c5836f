//! What rules are judged on: one window's report, or one look at a model between windows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::vocabulary::{ForEach, Scope, Subject};
use crate::drift::{DriftReport, Losses, Verdict};
use crate::model::ModelName;
use crate::performance::{Cohort, PerformanceReport};
use crate::traffic::{Compared, Figure};

/// What is known of a model at one instant, without a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The model.
    pub model: ModelName,
    /// First instant of the traffic that is looked at.
    pub from: DateTime<Utc>,
    /// The instant; end of that traffic, exclusive.
    pub at: DateTime<Utc>,
    /// Length of the model's windows.
    pub window: Duration,
    /// Figures of the traffic since `from`, beside those of earlier windows; empty where there was none.
    pub figures: BTreeMap<Figure, Compared>,
    /// Where the exchanges since `from` went.
    pub losses: Losses,
    /// When a prediction last came, whatever time it says it is of.
    pub last_prediction: Option<DateTime<Utc>>,
    /// When a window was last judged.
    pub last_report: Option<DateTime<Utc>>,
    /// When the first prediction came that lies after the last judged window; absent where all are judged.
    pub unjudged_since: Option<DateTime<Utc>>,
    /// When a label last came.
    pub last_label: Option<DateTime<Utc>>,
    /// How good predictions were, in the newest window whose labels have come.
    pub performance: Option<Arc<PerformanceReport>>,
}

impl Look {
    /// Seconds from `time` to the look; 0 for what is newer than it.
    pub(super) fn seconds_since(&self, time: DateTime<Utc>) -> f64 {
        (self.at - time).to_std().map_or(0.0, |span| span.as_secs_f64())
    }

    /// The rows of a segment, of which performance is known.
    pub(super) fn segment(&self, key: &str) -> Option<&Cohort> {
        self.performance.as_ref()?.cohort(Some(key))
    }

    /// Seconds of traffic that are looked at.
    pub(super) fn over(&self) -> f64 {
        self.seconds_since(self.from)
    }

    /// Exchanges in the traffic that is looked at.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a figure that is a number of exchanges"
    )]
    pub(super) fn requests(&self) -> u64 {
        self.figures.get(&Figure::Requests).map_or(0, |requests| requests.value as u64)
    }
}

/// What a run of rules looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'a> {
    Window { report: &'a DriftReport, id: Uuid },
    Look(&'a Look),
}

impl<'a> View<'a> {
    pub(super) fn model(self) -> &'a ModelName {
        match self {
            Self::Window { report, .. } => &report.model,
            Self::Look(look) => &look.model,
        }
    }

    /// First instant of what is looked at.
    pub(super) fn start(self) -> DateTime<Utc> {
        match self {
            Self::Window { report, .. } => report.window_start,
            Self::Look(look) => look.from,
        }
    }

    /// Its end: the time that alerts live in.
    pub(super) fn at(self) -> DateTime<Utc> {
        match self {
            Self::Window { report, .. } => report.window_end,
            Self::Look(look) => look.at,
        }
    }

    pub(super) fn report_id(self) -> Option<Uuid> {
        match self {
            Self::Window { id, .. } => Some(id),
            Self::Look(_) => None,
        }
    }

    /// What ids are derived from: the same for the same window or look, and for no other.
    pub(super) fn key(self) -> String {
        match self {
            Self::Window { id, .. } => id.to_string(),
            Self::Look(look) => format!("look {} {}", look.model, look.at.timestamp_millis()),
        }
    }

    fn report(self) -> Option<&'a DriftReport> {
        match self {
            Self::Window { report, .. } => Some(report),
            Self::Look(_) => None,
        }
    }

    pub(super) fn baseline(self) -> Option<&'a str> {
        self.report().map(|report| report.baseline.as_str())
    }

    pub(super) fn verdict(self) -> Option<Verdict> {
        self.report().map(|report| report.verdict)
    }

    pub(super) fn rows(self) -> u64 {
        self.report().map_or(0, |report| report.rows)
    }

    pub(super) fn rows_reference(self) -> u64 {
        self.report().map_or(0, |report| report.rows_reference)
    }

    pub(super) fn losses(self) -> &'a Losses {
        match self {
            Self::Window { report, .. } => &report.losses,
            Self::Look(look) => &look.losses,
        }
    }

    /// What a rule is judged on: the subject of this name when it is there, and otherwise the whole.
    pub(super) fn subject(self, for_each: ForEach, name: &str) -> Subject<'a> {
        match self {
            Self::Window { report, .. } => {
                let named = for_each.scopes(report).into_iter().find(|scope| scope.subject() == name);
                Subject::Window(named.unwrap_or(Scope { report, column: None, segment: None }))
            }
            Self::Look(look) => match look.segment(name) {
                Some(cohort) if for_each == ForEach::Segment => Subject::LookSegment(look, cohort),
                _ => Subject::Look(look),
            },
        }
    }
}
