//! What runs all the time: recorder, ingestion, evaluator, grouping, notifier, retention, and the supervisor over them.

mod catalog;
mod dispatch;
mod evaluator;
pub mod grouping;
mod ingest;
mod labels;
mod minutes;
pub mod notifier;
mod privacy;
mod recorder;
mod retention;
mod supervisor;
mod traffic;

pub use catalog::{Captures, Catalog, CatalogTask, Entry};
pub use dispatch::training_spec;
pub use evaluator::Evaluator;
pub use grouping::Grouping;
pub use ingest::Ingestion;
pub use labels::{Labels, rules as label_rules};
pub use notifier::Notifier;
pub use privacy::load_privacy;
pub use recorder::Recorder;
pub use retention::Retention;
pub use supervisor::supervise;
pub use traffic::judge_again;
