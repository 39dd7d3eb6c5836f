//! From alert to version: what a run trains, when an alert may become one, when a result may replace a model.

pub mod spec;
pub mod pipeline;
pub mod artifact;
pub mod policy;
pub mod gate;
pub mod importance;
pub mod rehearsal;

pub use artifact::{Artifact, ArtifactError, ModelKind};
pub use spec::{
    DataSpec, DeepSpec, EvaluationSpec, ExportSpec, FeatureSpec, FeaturesSpec, LimitsSpec, Objective,
    RunReason, RunState, SegmentSpec, Source, Task, TrainingSpec,
};
