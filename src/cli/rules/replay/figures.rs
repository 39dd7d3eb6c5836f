//! The figures of a replay, rule by rule, of the rules in force and of the changed ones.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::alert::replay::{Replayed, RuleReplayed, Spell};
use crate::model::ModelName;
use crate::retrain::rehearsal::RehearsedRun;

const WEEK: f64 = 7.0 * 86_400.0;

/// What one set of rules did.
pub(super) struct Side {
    pub(super) replayed: Replayed,
    pub(super) runs: Vec<RehearsedRun>,
}

/// The replay of one model; what is serialised here is documented in `rules/README.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ModelReplay {
    pub(super) model: ModelName,
    pub(super) windows: u64,
    /// Start of the first window; absent without windows, as is `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<DateTime<Utc>>,
    /// End of the last window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<DateTime<Utc>>,
    /// What a run of the model takes in the mean; absent: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run_minutes: Option<f64>,
    /// Of so many runs.
    pub(super) finished_runs: u64,
    /// All rules together.
    pub(super) total: Compared,
    pub(super) rules: Vec<RuleCompared>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// One rule on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RuleCompared {
    pub(super) rule: String,
    #[serde(flatten)]
    pub(super) figures: Compared,
}

/// Figures of the rules in force and of those of `--rules`; absent where a side has no such rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Compared {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_force: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replayed: Option<Figures>,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) alerts: u64,
    pub(super) subjects: u64,
    /// How long alerts fired, added up over subjects.
    pub(super) total_seconds: f64,
    /// The same of one alert; absent without alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mean_seconds: Option<f64>,
    /// Share of the time in which at least one alert fired.
    pub(super) firing_share: f64,
    pub(super) messages: u64,
    pub(super) messages_per_week: f64,
    /// Runs that would have been written down and left to a person.
    pub(super) runs_suggested: u64,
    /// Runs that would have been trained.
    pub(super) runs_started: u64,
    /// What these take together; absent: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gpu_minutes: Option<f64>,
    /// When at least one alert fired.
    pub(super) spells: Vec<Spell>,
}

impl ModelReplay {
    /// Puts both sides together.
    pub(super) fn new(
        model: &ModelName,
        in_force: &Side,
        changed: Option<&Side>,
        length: Option<(Duration, u64)>,
        notes: Vec<String>,
    ) -> Self {
        let run_minutes = length.map(|(mean, _)| mean.as_secs_f64() / 60.0);
        let sides = [Some(in_force), changed];
        let names: BTreeSet<&String> =
            sides.into_iter().flatten().flat_map(|side| side.replayed.rules.keys()).collect();
        let rules = names
            .into_iter()
            .map(|name| {
                let of = |side: &Side| {
                    side.replayed.rules.get(name).map(|rule| side.figures(Some((name, rule)), run_minutes))
                };
                let figures = Compared { in_force: of(in_force), replayed: changed.and_then(of) };
                RuleCompared { rule: name.clone(), figures }
            })
            .collect();
        let total = |side: &Side| side.figures(None, run_minutes);
        Self {
            model: model.clone(),
            windows: in_force.replayed.windows,
            from: in_force.replayed.begin,
            until: in_force.replayed.end,
            run_minutes,
            finished_runs: length.map_or(0, |(_, runs)| runs),
            total: Compared { in_force: Some(total(in_force)), replayed: changed.map(total) },
            rules,
            notes,
        }
    }

    /// Whether there are rules to compare those in force with.
    pub(super) fn is_compared(&self) -> bool {
        self.total.replayed.is_some()
    }
}

impl Side {
    /// Seconds from the start of the first window to the end of the last.
    fn seconds(&self) -> f64 {
        let span = self.replayed.begin.zip(self.replayed.end);
        span.map_or(0.0, |(begin, end)| (end - begin).num_seconds() as f64)
    }

    /// The figures of one rule, or of all together.
    fn figures(&self, rule: Option<(&str, &RuleReplayed)>, run_minutes: Option<f64>) -> Figures {
        let all = self.all();
        let (figures, messages) = match rule {
            Some((_, rule)) => (rule, rule.messages),
            None => (&all, self.replayed.messages),
        };
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let runs = self.runs.iter().filter(|run| rule.is_none_or(|(name, _)| run.rule == name));
        let (started, suggested): (Vec<_>, Vec<_>) = runs.partition(|run| run.is_started());
        let (started, suggested) = (started.len() as u64, suggested.len() as u64);
        Figures {
            alerts: figures.alerts,
            subjects: figures.subjects,
            total_seconds: figures.seconds,
            mean_seconds: (figures.alerts > 0).then(|| figures.seconds / figures.alerts as f64),
            firing_share: ratio(figures.firing_seconds, self.seconds()),
            messages,
            messages_per_week: ratio(messages as f64 * WEEK, self.seconds()),
            runs_suggested: suggested,
            runs_started: started,
            // What never runs costs nothing, however long a run may take.
            gpu_minutes: if started == 0 { Some(0.0) } else { run_minutes.map(|m| m * started as f64) },
            spells: figures.spells.clone(),
        }
    }

    /// All rules as if they were one.
    fn all(&self) -> RuleReplayed {
        let mut all = RuleReplayed::default();
        for rule in self.replayed.rules.values() {
            all.alerts += rule.alerts;
            all.subjects += rule.subjects;
            all.seconds += rule.seconds;
            all.spells.extend(&rule.spells);
        }
        all.spells.sort_by_key(|spell| (spell.from, spell.until));
        let mut joined: Vec<Spell> = Vec::new();
        for spell in all.spells {
            match joined.last_mut() {
                Some(last) if spell.from <= last.until => last.until = last.until.max(spell.until),
                _ => joined.push(spell),
            }
        }
        all.firing_seconds = joined.iter().map(|spell| (spell.until - spell.from).num_seconds() as f64).sum();
        all.spells = joined;
        all
    }
}
