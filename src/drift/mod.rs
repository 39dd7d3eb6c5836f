//! A window's profile against its baseline: report and verdict.

mod report;

pub use report::{
    BinEvidence, Correction, Deciding, DriftReport, FeatureReport, Losses, NaturalVariation, Verdict,
};
