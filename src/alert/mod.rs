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
mod sample;
mod state;
mod template;
mod traffic_names;
mod vocabulary;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod traffic_tests;

pub use crate::yaml::Problem;
pub use evaluate::{Evaluation, Evidence, RetrainRequest, StoredAlert, Transition, evaluate, fingerprint};
pub use evidence::percent;
pub use expression::{Expression, MAX_DEPTH, MAX_NODES, MAX_SOURCE, Outcome};
pub use hold::Hold;
pub use message::{
    BinMove, Group, Item, MAX_NOTICES, MESSAGE_VERSION, Message, NextStep, Notice, Occasion, SEVERITIES,
    Status,
};
pub use render::{Outline, Picture, Rendered, Section, one_line};
pub use retrain::{Budget, RetrainMode, RetrainPolicy};
pub use rule::{Rule, RuleSet};
pub use sample::sample;
pub use state::{AlertState, HoldTimes};
pub use template::{Template, number_text};
pub use vocabulary::ForEach;
