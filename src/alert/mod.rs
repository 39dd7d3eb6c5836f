//! Rules over a window's report, and the life of an alert.

mod evaluate;
mod evidence;
mod expression;
mod hold;
mod message;
mod render;
mod retrain;
mod rule;
mod rule_file;
mod state;
mod template;
mod traffic_names;
mod vocabulary;

pub mod replay;
pub mod trial;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod traffic_tests;

pub use crate::yaml::Problem;
pub use evaluate::{Evaluation, Evidence, RetrainRequest, StoredAlert, Transition, evaluate, fingerprint};
pub use expression::{Expression, MAX_DEPTH, MAX_NODES, MAX_SOURCE, Outcome};
pub use hold::Hold;
pub use message::{
    BinMove, Group, Item, MAX_NOTICES, MESSAGE_VERSION, Message, NextStep, Notice, Occasion, SEVERITIES,
    Status,
};
pub use render::Rendered;
pub use retrain::{Budget, RetrainMode, RetrainPolicy};
pub use rule::{Rule, RuleSet};
pub use state::{AlertState, HoldTimes};
pub use template::Template;
pub use vocabulary::ForEach;
