//! Rules over a window's report or between windows, and the life of an alert.

mod evaluate;
mod evidence;
mod expression;
mod hold;
mod importance;
mod internal;
mod look_names;
mod message;
mod render;
mod retrain;
mod rule;
mod rule_changes;
mod rule_file;
mod rule_text;
mod satisfiable;
mod sized_stack;
mod sample;
mod state;
mod template;
mod traffic_names;
mod view;
mod vocabulary;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod segments_tests;
#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod traffic_tests;
#[cfg(test)]
mod watch_tests;

pub use crate::yaml::Problem;
pub use evaluate::{
    Evaluation, Evidence, RetrainRequest, StoredAlert, Transition, evaluate, evaluate_weighed, fingerprint,
    watch,
};
pub use evidence::percent;
pub use expression::{Expression, MAX_DEPTH, MAX_NODES, MAX_SOURCE, Outcome};
pub use hold::{Hold, MAX_HISTORY};
pub use importance::Importance;
pub use internal::{Fault, judge as judge_faults};
pub use message::{
    BinMove, CANARY_RECEIVER, Group, Item, MAX_NOTICES, MESSAGE_VERSION, Message, NextStep, Notice, Occasion,
    SEVERITIES, Status,
};
pub use render::{Outline, Picture, Rendered, Section, one_line};
pub use retrain::{Budget, RetrainMode, RetrainPolicy};
pub use rule::{Rule, RuleSet, Watch};
pub use rule_changes::RuleChanges;
pub use sample::sample;
pub use state::{AlertState, History, HoldTimes};
pub use template::{Template, number_text};
pub use view::Look;
pub use vocabulary::ForEach;
