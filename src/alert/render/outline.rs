//! What there is to say about a message, in the order in which it is said, without the form of any receiver.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::one_line;
use crate::alert::evidence::percent;
use crate::alert::message::{BinMove, Item, Message, NextStep, Notice, Occasion, Status};

/// Longest line of an outline, in characters: names and categories come from data.
const MAX_LINE: usize = 300;

/// Longest label of a bin, in characters.
const MAX_LABEL: usize = 60;

/// Most models or rules that a topic names.
const MAX_NAMES: usize = 3;

/// Annotations that are no lines of their own: the summary is the headline.
const HEADLINE: &str = "summary";

/// A message as every receiver tells it; lines are clean, bounded and not escaped.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// How the group stands: `Firing`, `Changed`, `Still firing`, `Escalated`, `Resolved` or `Test`.
    pub word: &'static str,
    /// Whether anything of it fires.
    pub firing: bool,
    /// The cause in one sentence.
    pub headline: String,
    /// What the word means here, where it needs saying.
    pub note: Option<String>,
    /// What all alerts have in common, as name and value.
    pub facts: Vec<(&'static str, String)>,
    /// The alerts that fire, strongest impact first.
    pub sections: Vec<Section>,
    /// The alerts that are over, a line each.
    pub over: Vec<String>,
    /// How many more alerts there are.
    pub more: usize,
    /// What to do next.
    pub next: Vec<NextStep>,
}

/// One alert that fires.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The alert in one sentence.
    pub title: String,
    /// What it does not have in common with the others.
    pub facts: Vec<(&'static str, String)>,
    /// How far it moved, in words and numbers.
    pub moved: Vec<String>,
    /// The bins that moved most.
    pub bins: Vec<BinMove>,
    /// How strong the effect is, in units of its floor, where it has one.
    pub effect: Option<f64>,
    /// Further texts of the rule, as name and value.
    pub texts: Vec<(String, String)>,
}

impl Message {
    /// What there is to say.
    pub fn outline(&self) -> Outline {
        let (facts, differing) = self.common_facts();
        let firing = |notice: &&Notice| notice.status == Status::Firing;
        let section = |notice: &Notice| {
            let own = facts_of(notice).into_iter().filter(|(name, _)| differing.contains(name)).collect();
            section(notice, own)
        };
        Outline {
            word: self.outline_word(),
            firing: self.status == Status::Firing,
            headline: one_line(&self.summary, MAX_LINE),
            note: self.note(),
            facts,
            sections: self.alerts.iter().filter(firing).map(section).collect(),
            over: self
                .alerts
                .iter()
                .filter(|notice| !firing(notice))
                .map(|notice| over(&notice.item))
                .collect(),
            more: self.more,
            next: self
                .next
                .iter()
                .map(|step| NextStep {
                    purpose: one_line(&step.purpose, MAX_LINE),
                    command: one_line(&step.command, MAX_LINE),
                })
                .collect(),
        }
    }

    pub(super) fn outline_word(&self) -> &'static str {
        match (self.occasion, self.status) {
            (Occasion::Test, _) => "Test",
            (_, Status::Resolved) => "Resolved",
            (Occasion::Repeated, _) => "Still firing",
            (Occasion::Escalated, _) => "Escalated",
            (Occasion::Changed, _) => "Changed",
            (Occasion::Began | Occasion::Resolved, Status::Firing) => "Firing",
        }
    }

    pub(super) fn topic_text(&self) -> String {
        let rules = names(self.alerts.iter().map(|notice| notice.rule.as_str()), "rules");
        let models = names(self.alerts.iter().map(|notice| notice.model.as_str()), "models");
        if rules.is_empty() { self.summary.clone() } else { format!("{rules} on {models}: {}", self.summary) }
    }

    fn note(&self) -> Option<String> {
        let ends = self.alerts.iter().map(|notice| notice.window_end).max();
        let lasted = ends.map(|end| end - self.group.since).filter(|lasted| *lasted > TimeDelta::zero());
        match (self.occasion, self.status) {
            (Occasion::Test, _) => Some("Somebody asked for this test. Nothing is wrong.".to_owned()),
            (_, Status::Resolved) => lasted.map(|lasted| format!("It is over after {}.", span(lasted))),
            (Occasion::Repeated, _) => Some(match lasted {
                Some(lasted) => format!("It goes on, for {} by now; nothing has changed.", span(lasted)),
                None => "It goes on; nothing has changed.".to_owned(),
            }),
            (Occasion::Escalated, _) => {
                let receiver = one_line(&self.receiver, MAX_LABEL);
                Some(format!("Nobody acknowledged it in time, so `{receiver}` is told now."))
            }
            (Occasion::Changed, _) => {
                Some("Alerts joined or left since the last message; this is how it stands.".to_owned())
            }
            (Occasion::Began | Occasion::Resolved, Status::Firing) => None,
        }
    }

    /// What all alerts have in common, and the names of what they have not.
    fn common_facts(&self) -> (Vec<(&'static str, String)>, BTreeSet<&'static str>) {
        let (mut facts, mut differing) = (Vec::new(), BTreeSet::new());
        let all: Vec<_> = self.alerts.iter().map(facts_of).collect();
        let value = |of: &[(&str, String)], name: &str| {
            of.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        for name in NAMES {
            let Some(first) = all.iter().find_map(|of| value(of, name)) else { continue };
            if all.iter().all(|of| value(of, name).is_none_or(|value| value == first)) {
                facts.push((name, first));
            } else {
                differing.insert(name);
            }
        }
        let shown = ["model", "rule", "alertname", "severity"];
        let labels: Vec<String> = (self.group.labels.iter())
            .filter(|(name, _)| !shown.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !labels.is_empty() {
            facts.push(("Labels", one_line(&labels.join(", "), MAX_LINE)));
        }
        facts.push(("Firing since", time(self.group.since)));
        (facts, differing)
    }
}

/// Names of what is said of an alert, in this order.
const NAMES: [&str; 6] = ["Model", "Rule", "Severity", "Window", "Rows", "Lost on the way"];

fn facts_of(notice: &Notice) -> Vec<(&'static str, String)> {
    let [model, rule, severity, window, rows, lost] = NAMES;
    let mut facts = vec![(model, notice.model.to_string())];
    let stated = if notice.expression.is_empty() {
        notice.rule.clone()
    } else {
        format!("{} ({})", notice.rule, notice.expression)
    };
    facts.push((rule, one_line(&stated, MAX_LINE)));
    facts.extend(notice.severity().map(|label| (severity, one_line(label, MAX_LABEL))));
    facts.push((window, format!("{} to {}", time(notice.window_start), time(notice.window_end))));
    if let Some(baseline) = &notice.baseline {
        let counted = format!("{} against {} of the baseline {baseline}", notice.rows, notice.rows_reference);
        facts.push((rows, counted));
    }
    facts.push((lost, percent(notice.loss_share)));
    facts
}

fn section(notice: &Notice, facts: Vec<(&'static str, String)>) -> Section {
    let item = &notice.item;
    let bins = item.bins.iter().map(|bin| BinMove { label: one_line(&bin.label, MAX_LABEL), ..bin.clone() });
    let texts = (notice.annotations.iter())
        .filter(|(name, _)| name.as_str() != HEADLINE)
        .map(|(name, text)| (one_line(name, MAX_LABEL), one_line(text, 2 * MAX_LINE)));
    Section {
        title: one_line(&item.summary, MAX_LINE),
        facts,
        moved: item.moved.iter().map(|clause| one_line(clause, MAX_LINE)).collect(),
        bins: bins.collect(),
        effect: (!item.bins.is_empty() && item.effect > 0.0).then_some(item.effect),
        texts: texts.collect(),
    }
}

/// What is said of a subject whose alert is over.
fn over(item: &Item) -> String {
    match item.verdict {
        Some(verdict) => {
            one_line(&format!("{}: {} in this window", item.subject, verdict.as_str()), MAX_LINE)
        }
        None => one_line(&item.summary, MAX_LINE),
    }
}

/// The distinct names, sorted; past a few of them how many there are.
fn names<'a>(all: impl Iterator<Item = &'a str>, what: &str) -> String {
    let all: BTreeSet<&str> = all.collect();
    if all.len() > MAX_NAMES {
        return format!("{} {what}", all.len());
    }
    all.into_iter().collect::<Vec<_>>().join(", ")
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// A span of time in its two largest units.
fn span(time: TimeDelta) -> String {
    let minutes = time.num_minutes().max(1);
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min")];
    let parts: Vec<String> = parts
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (minutes, expected) in
            [(0, "1 min"), (59, "59 min"), (60, "1 h"), (250, "4 h 10 min"), (1440, "1 d"), (1501, "1 d 1 h")]
        {
            assert_eq!(span(TimeDelta::minutes(minutes)), expected);
        }
    }
}
