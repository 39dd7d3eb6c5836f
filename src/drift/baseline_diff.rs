//! Two baselines compared as if the second were a window.

use chrono::DateTime;
use serde::Serialize;

use super::{Criteria, FeatureReport, Losses, Verdict, evaluate};
use crate::baseline::{self, Baseline};
use crate::profile::LayoutMismatch;
use crate::window::Window;

/// How one baseline differs from another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaselineDiff {
    /// The baseline that was compared with.
    pub from: String,
    /// The other one.
    pub to: String,
    /// Columns that only the first has.
    pub removed: Vec<String>,
    /// Columns that only the second has.
    pub added: Vec<String>,
    /// The columns of the first.
    pub features: Vec<FeatureReport>,
}

impl BaselineDiff {
    /// Compares `to` with `from`, on the cells of `from`.
    ///
    /// # Errors
    ///
    /// [`LayoutMismatch`], if the rows of one cannot be counted on the cells of the other.
    pub fn new(from: &Baseline, to: &Baseline) -> Result<Self, LayoutMismatch> {
        let names = |b: &Baseline| b.columns().iter().map(|c| c.layout.name.clone()).collect::<Vec<_>>();
        let (old, new) = (names(from), names(to));
        let window = Window { start: DateTime::UNIX_EPOCH, end: DateTime::UNIX_EPOCH };
        let criteria = Criteria { min_rows: 0, ..Criteria::default() };
        let report = evaluate(from, &baseline::rebin(from, to), Losses::default(), window, &criteria)?;
        Ok(Self {
            from: from.version().to_owned(),
            to: to.version().to_owned(),
            removed: old.iter().filter(|name| !new.contains(name)).cloned().collect(),
            added: new.iter().filter(|name| !old.contains(name)).cloned().collect(),
            features: report.features,
        })
    }

    /// Whether a column came, went, or drifted.
    pub fn differs(&self) -> bool {
        let drifted = self.features.iter().any(|feature| feature.verdict == Verdict::Drift);
        drifted || !self.removed.is_empty() || !self.added.is_empty()
    }
}
