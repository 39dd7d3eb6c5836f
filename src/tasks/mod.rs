//! What runs all the time: recorder, ingestion, evaluator, notifier, retention, and the supervisor over them.

mod catalog;
mod dispatch;
mod evaluator;
mod ingest;
mod minutes;
pub mod notifier;
mod recorder;
mod retention;
mod supervisor;

pub use catalog::{Catalog, CatalogTask, Entry};
pub use dispatch::training_spec;
pub use evaluator::Evaluator;
pub use ingest::Ingestion;
pub use notifier::Notifier;
pub use recorder::Recorder;
pub use retention::Retention;
pub use supervisor::supervise;
