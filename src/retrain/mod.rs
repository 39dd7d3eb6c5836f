//! From alert to version: what a run trains, when an alert may become one, when a result may replace a model.

pub mod spec;

pub use spec::{DeepSpec, RunReason, RunState, Source, Task, TrainingSpec};
