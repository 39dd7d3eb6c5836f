//! What runs all the time: recorder, evaluator, notifier, retention, and the supervisor over them.

mod catalog;
mod dispatch;
mod evaluator;
mod minutes;
pub mod notifier;
mod recorder;
mod retention;
mod supervisor;
mod traffic;

pub use catalog::{Catalog, CatalogTask, Entry};
pub use dispatch::training_spec;
pub use evaluator::Evaluator;
pub use notifier::Notifier;
pub use recorder::{Intake, Recorder};
pub use retention::Retention;
pub use supervisor::supervise;
pub use traffic::judge_again;
