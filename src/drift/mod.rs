//! A window's profile against its baseline: report and verdict.

mod baseline_diff;
mod evaluate;
mod explanation;
mod joint;
mod report;
mod segments;
pub mod shadow;

pub use baseline_diff::BaselineDiff;
pub use evaluate::{evaluate, short, short_p};
pub use explanation::Explanation;
pub use joint::{ColumnWeight, JointReport};
pub use report::{
    BinEvidence, Correction, Criteria, Deciding, DriftReport, FeatureReport, Losses, UnseenValue, Verdict,
};
pub use segments::{ComparedWith, SegmentCriteria, SegmentReport};

#[cfg(test)]
mod season_tests;
#[cfg(test)]
mod shape_tests;
