//! Rules over a window's report or between windows, the life of an alert, and who is told of it.

mod evaluate;
mod evidence;
mod expression;
mod group;
mod hold;
mod importance;
mod inhibit;
mod internal;
mod look_names;
mod matcher;
mod message;
mod mute;
mod performance_names;
mod render;
mod retrain;
mod route;
mod route_file;
mod rule;
mod rule_changes;
mod rule_file;
mod rule_text;
mod sample;
mod satisfiable;
mod silence;
mod sized_stack;
mod state;
mod telling;
mod template;
mod traffic_names;
mod view;
mod vocabulary;

pub mod replay;
pub mod trial;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod segments_tests;
#[cfg(test)]
mod shipped_quiet_tests;
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
pub use group::{
    Decision, GroupEvent, Happening, Member, Situation, StoredGroup, Suppression, decide, labels,
};
pub use hold::{Hold, MAX_HISTORY};
pub use importance::Importance;
pub use inhibit::Inhibition;
pub use internal::{Fault, judge as judge_faults};
pub use matcher::Matcher;
pub use message::{
    BinMove, CANARY_RECEIVER, Group, Item, MAX_NOTICES, MESSAGE_VERSION, Message, NextStep, Notice, Occasion,
    SEVERITIES, Status,
};
pub use mute::Maintenance;
pub use render::{Outline, Picture, Rendered, Section, one_line};
pub use retrain::{Budget, RetrainMode, RetrainPolicy};
pub use route::{Escalation, GroupBy, Route, Routing};
pub use route_file::RoutingSections;
pub use rule::{Rule, RuleSet, Watch};
pub use rule_changes::RuleChanges;
pub use sample::sample;
pub use silence::{Ack, AckTarget, MAX_MATCHERS, Silence, Word, WordError};
pub use state::{AlertState, History, HoldTimes};
pub use template::{Template, number_text};
pub use view::Look;
pub use vocabulary::ForEach;
