//! What rules would have done: stored reports, oldest first, by rules that start without any alert.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::evaluate::{Evaluation, StoredAlert, evaluate};
use super::rule::RuleSet;
use super::state::AlertState;
use crate::drift::DriftReport;

/// One run of rules over the reports of one model.
#[derive(Debug)]
pub struct Replay<'a> {
    rules: &'a RuleSet,
    alerts: BTreeMap<String, StoredAlert>,
    counts: BTreeMap<String, Counts>,
    messages: u64,
    windows: u64,
    begin: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
}

/// What is counted of one rule.
#[derive(Debug, Default)]
struct Counts {
    alerts: u64,
    subjects: BTreeSet<String>,
    messages: u64,
    /// Seconds that its alerts fired, one after the other.
    seconds: i64,
    /// The alerts that fire now, by fingerprint, and since when.
    firing: BTreeMap<String, DateTime<Utc>>,
    spells: Vec<Spell>,
}

/// A time in which at least one alert of a rule was firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spell {
    /// End of the window with which it began.
    pub from: DateTime<Utc>,
    /// End of the window with which it was over, or of the last one.
    pub until: DateTime<Utc>,
}

/// What all rules did together over the reports of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Windows that were judged.
    pub windows: u64,
    /// Start of the first one; absent without windows.
    pub begin: Option<DateTime<Utc>>,
    /// End of the last one.
    pub end: Option<DateTime<Utc>>,
    /// Messages; one may tell of several rules.
    pub messages: u64,
    /// Each rule of the model by name, in order, those that never fired among them.
    pub rules: BTreeMap<String, RuleReplayed>,
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleReplayed {
    /// How often an alert began to fire.
    pub alerts: u64,
    /// For how many subjects.
    pub subjects: u64,
    /// How long alerts fired, added up over subjects, in seconds; what still fires counts up to the last window.
    pub seconds: f64,
    /// How long at least one fired, in seconds.
    pub firing_seconds: f64,
    /// Messages that told of it.
    pub messages: u64,
    /// When at least one alert of it was firing, in order.
    pub spells: Vec<Spell>,
}

impl<'a> Replay<'a> {
    /// A replay that begins without any alert.
    pub fn new(rules: &'a RuleSet) -> Self {
        Self {
            rules,
            alerts: BTreeMap::new(),
            counts: BTreeMap::new(),
            messages: 0,
            windows: 0,
            begin: None,
            end: None,
        }
    }

    /// Judges the next report, stored under `id` at `now`; the same evaluation as when it was judged first.
    pub fn window(&mut self, report: &DriftReport, id: Uuid, now: DateTime<Utc>) -> Evaluation {
        for rule in
            self.rules.rules.iter().filter(|rule| rule.watch.is_none() && rule.applies_to(&report.model))
        {
            // Most rules are known from the first window on; a name is copied once.
            if !self.counts.contains_key(&rule.name) {
                self.counts.insert(rule.name.clone(), Counts::default());
            }
        }
        let previous: Vec<StoredAlert> = self.alerts.values().cloned().collect();
        let evaluation = evaluate(self.rules, report, id, &previous, now);
        for alert in &evaluation.alerts {
            if alert.state == AlertState::Inactive {
                self.alerts.remove(&alert.fingerprint);
            } else {
                self.alerts.insert(alert.fingerprint.clone(), alert.clone());
            }
        }
        for transition in &evaluation.transitions {
            let counts = self.counts.entry(transition.rule.clone()).or_default();
            if transition.to == "firing" {
                counts.begin(&transition.fingerprint, &transition.subject, transition.at);
            } else if transition.from == "firing" {
                counts.end(&transition.fingerprint, transition.at);
            }
        }
        let told = messages(&evaluation);
        self.messages += told.len() as u64;
        for rule in told.iter().flatten() {
            self.counts.entry((*rule).to_owned()).or_default().messages += 1;
        }
        self.windows += 1;
        self.begin = Some(self.begin.unwrap_or(report.window_start));
        self.end = Some(report.window_end);
        evaluation
    }

    /// What the rules did up to the end of the last window.
    pub fn finish(self) -> Replayed {
        let (windows, begin, end, messages) = (self.windows, self.begin, self.end, self.messages);
        let rules = self.counts.into_iter().map(|(name, mut counts)| {
            if let Some(end) = end {
                let firing: Vec<String> = counts.firing.keys().cloned().collect();
                for fingerprint in &firing {
                    counts.end(fingerprint, end);
                }
            }
            let length = |spell: &Spell| (spell.until - spell.from).num_seconds();
            let replayed = RuleReplayed {
                alerts: counts.alerts,
                subjects: counts.subjects.len() as u64,
                seconds: counts.seconds as f64,
                firing_seconds: counts.spells.iter().map(length).sum::<i64>() as f64,
                messages: counts.messages,
                spells: counts.spells,
            };
            (name, replayed)
        });
        Replayed { windows, begin, end, messages, rules: rules.collect() }
    }
}

impl Counts {
    fn begin(&mut self, fingerprint: &str, subject: &str, at: DateTime<Utc>) {
        self.alerts += 1;
        self.subjects.insert(subject.to_owned());
        if self.firing.is_empty() {
            // A spell that ends in the window in which the next one begins goes on.
            match self.spells.last_mut() {
                Some(last) if last.until == at => {}
                _ => self.spells.push(Spell { from: at, until: at }),
            }
        }
        self.firing.insert(fingerprint.to_owned(), at);
    }

    fn end(&mut self, fingerprint: &str, at: DateTime<Utc>) {
        let Some(since) = self.firing.remove(fingerprint) else { return };
        self.seconds += (at - since).max(TimeDelta::zero()).num_seconds();
        if self.firing.is_empty()
            && let Some(last) = self.spells.last_mut()
        {
            last.until = at.max(last.from);
        }
    }
}

/// The messages that a window leads to, each as the rules it tells of.
///
/// All that begins to fire or ends in a window of a model is one message, whatever the number of rules, subjects and
/// receivers. Repetitions and escalations are not counted.
fn messages(evaluation: &Evaluation) -> Vec<BTreeSet<&str>> {
    let told: BTreeSet<&str> = evaluation
        .transitions
        .iter()
        .filter(|transition| transition.from == "firing" || transition.to == "firing")
        .map(|transition| transition.rule.as_str())
        .collect();
    if told.is_empty() { Vec::new() } else { vec![told] }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
