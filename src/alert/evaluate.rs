//! One window's report against the rules: new states, transitions and requests to retrain.
//!
//! Everything is decided here, from arguments alone, so that the same report and states give the same bytes:
//! even ids are derived, not drawn. Who stores the result in one transaction has judged the window once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::evidence;
use super::expression::{Engine, Outcome};
use super::importance::Importance;
use super::message::{Item, Notice, Status};
use super::retrain::RetrainPolicy;
use super::rule::{Rule, RuleSet};
use super::sized_stack;
use super::state::{AlertState, History};
use super::view::{Look, View};
use super::vocabulary::{ForEach, Subject};
use crate::drift::DriftReport;
use crate::model::ModelName;

/// One alert as it is kept between windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredAlert {
    /// What it is told apart by: the hash of model, rule and subject.
    pub fingerprint: String,
    /// The model.
    pub model: ModelName,
    /// The rule.
    pub rule: String,
    /// The feature or output; the model's name for a rule over the model.
    pub subject: String,
    /// Where it stands.
    pub state: AlertState,
    /// Which of the last windows were breached, for a rule that asks for so many of them.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub history: History,
    /// Since when the rule has been firing for any subject without a break; while this one fires.
    pub episode: Option<DateTime<Utc>>,
    /// The rule's labels.
    pub labels: BTreeMap<String, String>,
    /// Whom the rule wanted told when the alert began to fire; none: the routes decide.
    pub receivers: Vec<String>,
    /// The rule's summary for this subject, as of the last window that said something.
    pub summary: String,
    /// That window's report; absent for a rule that watches between windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Uuid>,
    /// What is told of it while it fires, and of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Box<Notice>>,
    /// The rule as it was then, as YAML; absent in alerts of older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_text: Option<String>,
    /// Names that text: the first 12 hexadecimal digits of its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_hash: Option<String>,
}

/// A change of state with the evidence it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transition {
    /// Derived from fingerprint, report and states.
    pub id: Uuid,
    /// Of which alert.
    pub fingerprint: String,
    /// The model.
    pub model: ModelName,
    /// The rule.
    pub rule: String,
    /// The subject.
    pub subject: String,
    /// State before.
    pub from: &'static str,
    /// State after.
    pub to: &'static str,
    /// The end of the window, in event time; for a rule that watches between windows, when it looked.
    pub at: DateTime<Utc>,
    /// The report; absent for a rule that watches between windows.
    pub report: Option<Uuid>,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What a transition rests on, complete enough to be read years later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rule's condition; absent when the rule is gone.
    pub expression: Option<String>,
    /// `for` in words.
    pub hold: Option<String>,
    /// The rule as YAML, with its keys in the file's order; when the rule is gone, as it was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_text: Option<String>,
    /// Names that text: the first 12 hexadecimal digits of its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_hash: Option<String>,
    /// The build that judged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// Version of the baseline; absent without a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// First instant of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window, exclusive.
    pub window_end: DateTime<Utc>,
    /// The subject's numbers.
    pub item: Item,
}

/// A rule's wish for a training run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrainRequest {
    /// The model.
    pub model: ModelName,
    /// The rule.
    pub rule: String,
    /// What keeps runs from storming.
    pub policy: RetrainPolicy,
    /// One run per cause: the same text for as long as the rule fires without a break.
    ///
    /// The request is repeated with every breached window, with the same cause, so that a policy which says
    /// "not yet" (cooldown, budget, too few labels) can say yes later; once a run has this cause, none follows.
    pub cause: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// What one window changes; to be stored in one transaction with the report.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// Every alert that is not inactive, and those that have just become so.
    pub alerts: Vec<StoredAlert>,
    /// What changed.
    pub transitions: Vec<Transition>,
    /// What may become training runs; at most one per rule.
    pub retrains: Vec<RetrainRequest>,
}

/// The identity of an alert.
pub fn fingerprint(model: &ModelName, rule: &str, subject: &str) -> String {
    hex(&[model.as_str(), rule, subject])
}

/// The build that evidence names.
pub(super) const BUILD: &str = concat!("driftline ", env!("CARGO_PKG_VERSION"));

/// Judges `report` by those rules of its model that are judged with a window.
///
/// # Arguments
///
/// * `report_id`: under which the report is stored.
/// * `previous`: every stored alert of the model.
/// * `now`: when the window is judged; goes into ids only. Alerts live in event time, the window's end.
pub fn evaluate(
    rules: &RuleSet,
    report: &DriftReport,
    report_id: Uuid,
    previous: &[StoredAlert],
    now: DateTime<Utc>,
) -> Evaluation {
    evaluate_weighed(rules, report, report_id, previous, &Importance::default(), now)
}

/// Like [`evaluate`], with items ordered by effect times `importance`.
pub fn evaluate_weighed(
    rules: &RuleSet,
    report: &DriftReport,
    report_id: Uuid,
    previous: &[StoredAlert],
    importance: &Importance,
    now: DateTime<Utc>,
) -> Evaluation {
    let view = View::Window { report, id: report_id };
    sized_stack::run(|| {
        let mut run = Run { importance, ..Run::new(view, previous, now) };
        for rule in rules.rules.iter().filter(|rule| rule.watch.is_none() && rule.applies_to(&report.model)) {
            run.rule(rule);
        }
        run.removed_rules(rules);
        run.evaluation
    })
}

/// Judges a model between windows, by rules with `every`.
///
/// # Arguments
///
/// * `due`: the rules whose turn it is, each with what it looks at.
/// * `previous`: every stored alert of the model.
/// * `now`: when this is judged; goes into ids only.
pub fn watch(
    rules: &RuleSet,
    due: &[(&Rule, &Look)],
    previous: &[StoredAlert],
    now: DateTime<Utc>,
) -> Evaluation {
    let Some((_, first)) = due.first() else { return Evaluation::default() };
    sized_stack::run(|| {
        let mut run = Run::new(View::Look(first), previous, now);
        for (rule, look) in due.iter().filter(|(rule, look)| rule.applies_to(&look.model)) {
            run.view = View::Look(look);
            run.rule(rule);
        }
        run.removed_rules(rules);
        run.evaluation
    })
}

struct Run<'a> {
    engine: Engine,
    view: View<'a>,
    importance: &'a Importance,
    previous: BTreeMap<&'a str, &'a StoredAlert>,
    /// The same by rule.
    by_rule: BTreeMap<&'a str, Vec<&'a StoredAlert>>,
    seen: BTreeSet<String>,
    now: DateTime<Utc>,
    evaluation: Evaluation,
}

/// What one rule did in this window.
#[derive(Default)]
struct Changes {
    /// Alerts of the rule that are firing now.
    firing: usize,
    breached_firing: Vec<Item>,
}

impl<'a> Run<'a> {
    fn new(view: View<'a>, previous: &'a [StoredAlert], now: DateTime<Utc>) -> Self {
        let mut by_rule: BTreeMap<&str, Vec<&StoredAlert>> = BTreeMap::new();
        for alert in previous {
            by_rule.entry(&alert.rule).or_default().push(alert);
        }
        Self {
            engine: Engine::new(),
            view,
            importance: Importance::UNKNOWN,
            previous: previous.iter().map(|alert| (alert.fingerprint.as_str(), alert)).collect(),
            by_rule,
            seen: BTreeSet::new(),
            now,
            evaluation: Evaluation::default(),
        }
    }

    fn rule(&mut self, rule: &Rule) {
        let mut changes = Changes::default();
        // The episode goes on when any alert of the rule was firing before this window.
        let before = self.by_rule.get(rule.name.as_str()).into_iter().flatten();
        let began = before
            .filter(|alert| alert.state.firing_since().is_some())
            .filter_map(|alert| alert.episode.or(alert.state.firing_since()))
            .min();
        let episode = began.unwrap_or(self.view.at());
        match self.view {
            View::Look(look) if rule.for_each == ForEach::Segment => {
                for cohort in look.performance.iter().flat_map(|report| &report.segments) {
                    self.subject(rule, Subject::LookSegment(look, cohort), episode, &mut changes);
                }
            }
            View::Look(look) => self.subject(rule, Subject::Look(look), episode, &mut changes),
            View::Window { report, .. } => {
                for scope in rule.for_each.scopes(report) {
                    self.subject(rule, scope.into(), episode, &mut changes);
                }
            }
        }
        self.vanished_subjects(rule);
        self.ask_for_training(rule, episode, changes);
    }

    fn subject(&mut self, rule: &Rule, subject: Subject<'_>, episode: DateTime<Utc>, changes: &mut Changes) {
        let name = subject.name();
        let fingerprint = fingerprint(self.view.model(), &rule.name, name);
        // Two columns of one name cannot be told apart; the first one is judged.
        if !self.seen.insert(fingerprint.clone()) {
            return;
        }
        let stored = self.previous.get(fingerprint.as_str()).copied();
        let before = stored.map(|alert| alert.state).unwrap_or_default();
        let history = stored.map(|alert| alert.history).unwrap_or_default();
        let outcome = rule.expression.evaluate(&self.engine, subject);
        let (after, history) = match outcome {
            Outcome::Inconclusive => (before, history),
            breached => before.step(history, breached == Outcome::Breach, self.view.at(), rule.times),
        };
        if (before, after) == (AlertState::Inactive, AlertState::Inactive) {
            return;
        }
        if outcome == Outcome::Inconclusive {
            changes.firing += usize::from(after.firing_since().is_some());
            self.evaluation.alerts.extend(stored.cloned());
            return;
        }
        let mut item = evidence::item(rule, subject);
        self.importance.weigh(&mut item);
        let fired = after.firing_since().is_some() && before.firing_since().is_none();
        let status = if after.firing_since().is_some() { Status::Firing } else { Status::Resolved };
        let known = stored.and_then(|alert| alert.notice.clone());
        // What is told while an alert only lingers are the numbers of its last breach.
        let said = match (outcome, status) {
            (Outcome::Breach, Status::Firing) => true,
            (_, Status::Firing) => known.is_none(),
            (_, Status::Resolved) => before.firing_since().is_some(),
        };
        let notice = said.then(|| Box::new(self.notice(Some(rule), &rule.name, status, &item, episode)));
        let receivers = match stored {
            Some(alert) if !fired => alert.receivers.clone(),
            _ => rule.receivers.clone(),
        };
        if after.firing_since().is_some() {
            changes.firing += 1;
            if outcome == Outcome::Breach {
                changes.breached_firing.push(item.clone());
            }
        }
        let alert = StoredAlert {
            fingerprint,
            model: self.view.model().clone(),
            rule: rule.name.clone(),
            subject: name.to_owned(),
            state: after,
            history,
            episode: after.firing_since().map(|_| episode),
            labels: labels(rule, subject),
            receivers,
            summary: item.summary.clone(),
            report: self.view.report_id(),
            notice: notice.or(known),
            rule_text: Some(rule.text.clone()),
            rule_hash: Some(rule.hash.clone()),
        };
        self.record(alert, before, Some(rule), item);
    }

    /// Keeps the alert, and the transition if there is one.
    fn record(&mut self, alert: StoredAlert, before: AlertState, rule: Option<&Rule>, item: Item) {
        let (from, to) = (before.as_str(), alert.state.as_str());
        if from != to {
            let evidence = Evidence {
                expression: rule.map(|rule| rule.expression.source().to_owned()),
                hold: rule.map(|rule| rule.hold().to_string()),
                rule_text: alert.rule_text.clone(),
                rule_hash: alert.rule_hash.clone(),
                build: BUILD.to_owned(),
                baseline: self.view.baseline().map(str::to_owned),
                window_start: self.view.start(),
                window_end: self.view.at(),
                item,
            };
            self.evaluation.transitions.push(Transition {
                id: self.derived_id(&["transition", &alert.fingerprint, from, to]),
                fingerprint: alert.fingerprint.clone(),
                model: alert.model.clone(),
                rule: alert.rule.clone(),
                subject: alert.subject.clone(),
                from,
                to,
                at: self.view.at(),
                report: self.view.report_id(),
                evidence,
            });
        }
        self.evaluation.alerts.push(alert);
    }

    /// Ends alerts of subjects that the report no longer holds: a column left the baseline.
    fn vanished_subjects(&mut self, rule: &Rule) {
        let all = self.by_rule.get(rule.name.as_str()).into_iter().flatten();
        let gone: Vec<&StoredAlert> =
            all.copied().filter(|alert| !self.seen.contains(&alert.fingerprint)).collect();
        let why = match self.view {
            View::Window { .. } => "the report no longer holds it",
            View::Look(look) if rule.for_each == ForEach::Segment => {
                // Before anything is known of segments, none is known to be gone.
                if look.performance.as_ref().is_none_or(|report| report.segments.is_empty()) {
                    for alert in gone {
                        self.seen.insert(alert.fingerprint.clone());
                        self.evaluation.alerts.push(alert.clone());
                    }
                    return;
                }
                "it is no segment any more"
            }
            View::Look(_) => "its rule now watches the model as a whole",
        };
        for alert in gone {
            self.withdraw(alert, Some(rule), why);
        }
    }

    /// Ends alerts of rules that are gone.
    fn removed_rules(&mut self, rules: &RuleSet) {
        let model = self.view.model();
        let known: BTreeSet<&str> =
            rules.rules.iter().filter(|rule| rule.applies_to(model)).map(|rule| rule.name.as_str()).collect();
        let gone: Vec<&StoredAlert> = self
            .by_rule
            .iter()
            .filter(|(rule, _)| !known.contains(*rule))
            .flat_map(|(_, alerts)| alerts.iter().copied())
            .collect();
        for alert in gone {
            self.withdraw(alert, None, "its rule was removed");
        }
    }

    /// Ends one alert without a subject.
    fn withdraw(&mut self, alert: &StoredAlert, rule: Option<&Rule>, why: &str) {
        self.seen.insert(alert.fingerprint.clone());
        let after = alert.state.withdrawn(self.view.at());
        let item = evidence::absent(&alert.rule, &alert.subject, self.view.verdict(), why);
        let notice = alert.state.firing_since().map(|since| {
            let began = alert.episode.unwrap_or(since);
            Box::new(self.notice(rule, &alert.rule, Status::Resolved, &item, began))
        });
        let ended = StoredAlert {
            state: after,
            history: History::default(),
            episode: None,
            summary: item.summary.clone(),
            report: self.view.report_id(),
            notice: notice.or_else(|| alert.notice.clone()),
            ..alert.clone()
        };
        self.record(ended, alert.state, rule, item);
    }

    fn notice(
        &self,
        rule: Option<&Rule>,
        name: &str,
        status: Status,
        item: &Item,
        firing_since: DateTime<Utc>,
    ) -> Notice {
        let view = self.view;
        let subject = view.subject(rule.map_or(ForEach::Model, |rule| rule.for_each), &item.subject);
        let annotations = rule.map(|rule| {
            rule.annotations.iter().map(|(key, text)| (key.clone(), text.render(subject))).collect()
        });
        Notice {
            fingerprint: fingerprint(view.model(), name, &item.subject),
            status,
            model: view.model().clone(),
            rule: name.to_owned(),
            labels: rule.map(|rule| labels(rule, subject)).unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
            expression: rule.map(|rule| rule.expression.source().to_owned()).unwrap_or_default(),
            firing_since,
            report: view.report_id(),
            baseline: view.baseline().map(str::to_owned),
            window_start: view.start(),
            window_end: view.at(),
            verdict: view.verdict(),
            rows: view.rows(),
            rows_reference: view.rows_reference(),
            loss_share: view.losses().share(),
            retrain: rule.and_then(|rule| rule.retrain).map(|policy| policy.mode),
            item: item.clone(),
        }
    }

    fn ask_for_training(&mut self, rule: &Rule, episode: DateTime<Utc>, mut changes: Changes) {
        let Some(policy) = rule.retrain else { return };
        if changes.breached_firing.is_empty() {
            return;
        }
        changes.breached_firing.sort_by(Item::by_impact);
        let model = self.view.model();
        let strongest = changes.breached_firing.first().map(|item| item.summary.as_str()).unwrap_or_default();
        self.evaluation.retrains.push(RetrainRequest {
            model: model.clone(),
            rule: rule.name.clone(),
            policy,
            cause: format!("rule:{}:{model}:{}", rule.name, episode.format("%Y-%m-%dT%H:%M:%SZ")),
            reason: format!("{} is firing for {} of its subjects: {strongest}", rule.name, changes.firing),
        });
    }

    /// An id that is the same whenever the same window is judged at the same time.
    fn derived_id(&self, parts: &[&str]) -> Uuid {
        let key = self.view.key();
        derived_id(self.now, &[&[key.as_str()], parts].concat())
    }
}

/// The rule's labels, and `segment` where the subject is one.
fn labels(rule: &Rule, subject: Subject<'_>) -> BTreeMap<String, String> {
    let mut labels = rule.labels.clone();
    if rule.for_each == ForEach::Segment {
        labels.insert("segment".to_owned(), subject.name().to_owned());
    }
    labels
}

/// A version 7 id that is the same for the same time and parts.
pub(super) fn derived_id(now: DateTime<Utc>, parts: &[&str]) -> Uuid {
    let digest = hash(parts);
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// The hash of `parts` as 32 hexadecimal digits.
pub(super) fn hex(parts: &[&str]) -> String {
    let digest = hash(parts);
    Uuid::from_slice(&digest[..16]).unwrap_or_default().simple().to_string()
}

/// SHA-256 over `parts`, each with its length, so that no two lists collide.
fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
