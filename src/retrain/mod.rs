//! From alert to version: what a run trains, when an alert may become one, when a result may replace a model.

pub mod spec;
pub mod pipeline;
pub mod artifact;
pub mod policy;
pub mod gate;
pub mod importance;
pub mod evaluation;
pub mod guard;
pub mod card;
pub mod rehearsal;
pub mod export;

pub use artifact::{Artifact, ArtifactError, ModelKind};
pub use spec::{
    Connection, DataSpec, DeepSpec, EvaluationSpec, ExportSpec, FeatureSpec, FeaturesSpec, LimitsSpec,
    Objective, RunReason, RunState, SegmentSpec, SimpleSpec, Source, Task, TrainingSpec,
};
