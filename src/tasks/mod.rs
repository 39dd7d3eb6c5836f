//! What runs all the time: recorder, ingestion, evaluator, watch, notifier, retention, what watches these, and the supervisor.

mod canary;
mod catalog;
mod dispatch;
mod evaluator;
mod faults;
mod ingest;
mod labels;
mod minutes;
pub mod notifier;
mod privacy;
mod recorder;
mod retention;
mod segments;
mod rule_files;
mod self_watch;
mod supervisor;
mod traffic;
mod watch;

pub use canary::{Canary, Trial};
pub use catalog::{Captures, Catalog, CatalogTask, Entry};
pub use dispatch::training_spec;
pub use evaluator::Evaluator;
pub use faults::Faults;
pub use ingest::Ingestion;
pub use labels::{Labels, rules as label_rules};
pub use notifier::Notifier;
pub use privacy::load_privacy;
pub use recorder::Recorder;
pub use retention::Retention;
pub use rule_files::{RuleReload, RulesInForce, load_rules};
pub use segments::judge_segments;
pub use self_watch::SelfWatch;
pub use supervisor::supervise;
pub use traffic::judge_again;
pub use watch::Watch;
