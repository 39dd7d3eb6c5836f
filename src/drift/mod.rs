//! A window's profile against its baseline: report and verdict.

mod evaluate;
mod report;

pub use evaluate::evaluate;
pub use report::{BinEvidence, Correction, Criteria, Deciding, DriftReport, FeatureReport, Losses, Verdict};

#[cfg(test)]
mod season_tests;
#[cfg(test)]
mod shape_tests;
