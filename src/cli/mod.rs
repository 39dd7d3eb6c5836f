//! The command line: one file per noun.

pub mod retrain;
pub mod models;
