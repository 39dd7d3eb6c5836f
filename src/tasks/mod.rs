//! What runs all the time: recorder, evaluator, notifier, retention, and the supervisor over them.

mod catalog;
mod dispatch;
mod evaluator;
mod minutes;
pub mod notifier;
mod privacy;
mod recorder;
mod retention;
mod supervisor;

pub use catalog::{Catalog, CatalogTask, Entry};
pub use dispatch::training_spec;
pub use evaluator::Evaluator;
pub use notifier::Notifier;
pub use privacy::load_privacy;
pub use recorder::{Intake, Recorder};
pub use retention::Retention;
pub use supervisor::supervise;
