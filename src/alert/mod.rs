//! Rules over a window's report, and the life of an alert.

mod retrain;

pub use retrain::{Budget, RetrainMode, RetrainPolicy};
