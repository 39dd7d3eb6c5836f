//! Rules over a window's report, the life of an alert, and who is told of it.

mod evaluate;
mod evidence;
mod expression;
mod group;
mod hold;
mod inhibit;
mod matcher;
mod message;
mod mute;
mod render;
mod retrain;
mod route;
mod route_file;
mod rule;
mod rule_file;
mod silence;
mod source_text;
mod state;
mod telling;
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
pub use expression::{Expression, MAX_DEPTH, MAX_NODES, MAX_SOURCE, Outcome};
pub use group::{
    Decision, GroupEvent, Happening, Member, Situation, StoredGroup, Suppression, decide, labels,
};
pub use hold::Hold;
pub use inhibit::Inhibition;
pub use matcher::Matcher;
pub use message::{
    BinMove, Group, Item, MAX_NOTICES, MESSAGE_VERSION, Message, NextStep, Notice, Occasion, SEVERITIES,
    Status,
};
pub use mute::Maintenance;
pub use render::Rendered;
pub use retrain::{Budget, RetrainMode, RetrainPolicy};
pub use route::{Escalation, GroupBy, Route, Routing};
pub use route_file::RoutingSections;
pub use rule::{Rule, RuleSet};
pub use silence::{Ack, AckTarget, MAX_MATCHERS, Silence, WordError};
pub use state::{AlertState, HoldTimes};
pub use template::Template;
pub use vocabulary::ForEach;
