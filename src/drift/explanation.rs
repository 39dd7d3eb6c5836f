//! A stored report beside the same report made again, and where they differ.

use serde::Serialize;

use super::DriftReport;

/// What recomputing a report has shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether every number agrees to the last bit.
    pub agrees: bool,
    /// The columns and parts of the report that differ.
    pub differing: Vec<String>,
    /// What could not be made again, or came late, in sentences.
    pub notes: Vec<String>,
    /// Rows of the stored report; late ones may have come since.
    pub rows_stored: u64,
    /// The report made again.
    pub report: DriftReport,
}

impl Explanation {
    /// Compares `stored` with the report made `again`.
    pub fn new(stored: &DriftReport, again: DriftReport, notes: Vec<String>) -> Self {
        let mut differing: Vec<String> = again
            .features
            .iter()
            .zip(&stored.features)
            .filter(|(new, old)| new != old)
            .map(|(new, _)| new.name.clone())
            .collect();
        for (differs, name) in [
            (again.joint != stored.joint, "domain_auc"),
            (
                again.schema_changes != stored.schema_changes,
                "the columns of the window (or the approved `schema`)",
            ),
            (again.expectations != stored.expectations, "the expectations"),
            (again.segments != stored.segments, "the segments"),
            (again.traffic != stored.traffic, "the traffic"),
        ] {
            if differs {
                differing.push(name.to_owned());
            }
        }
        Self { agrees: again == *stored, differing, notes, rows_stored: stored.rows, report: again }
    }

    /// The outcome in one sentence.
    pub fn sentence(&self) -> String {
        if self.agrees {
            let rows = self.report.rows;
            return format!("recomputed from {rows} rows: every number agrees with the stored report");
        }
        format!(
            "the stored report differs ({} rows then, {} now) in: {}; late rows came since, old ones were dropped, or \
             another build computed it",
            self.rows_stored,
            self.report.rows,
            self.differing.join(", ")
        )
    }
}
