//! A window's profile against its baseline: report and verdict.

mod evaluate;
mod report;

pub use evaluate::{Criteria, evaluate};
pub use report::{BinEvidence, Correction, Deciding, DriftReport, FeatureReport, Losses, Verdict};
