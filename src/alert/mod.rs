//! Rules over a window's report, and the life of an alert.

mod expression;
mod hold;
mod names;
mod retrain;
mod state;
mod template;
mod vocabulary;
mod yaml;

#[cfg(test)]
pub(crate) mod example;

pub use expression::{Expression, Outcome};
pub use hold::Hold;
pub use retrain::{Budget, RetrainMode, RetrainPolicy};
pub use state::{AlertState, HoldTimes};
pub use template::Template;
pub use vocabulary::ForEach;
