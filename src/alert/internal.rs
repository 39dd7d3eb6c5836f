//! Alerts of driftline about itself: what can be wrong with the watch, and the alerts that follow.
//!
//! They have the states, transitions, messages and receivers of all others. They stand under the reserved name
//! [`ModelName::own`], are built into the program, and rest on no report.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::evaluate::{BUILD, Evaluation, Evidence, StoredAlert, Transition, derived_id, fingerprint};
use super::hold::Hold;
use super::message::{Item, NextStep, Notice, Status};
use super::state::{AlertState, HoldTimes};
use crate::model::ModelName;

/// Something that is wrong with the watch itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// Rule files changed and were refused; the rules before them are in force.
    RulesReloadFailed,
    /// A complete window waits to be judged: the evaluator fails, or there is none.
    WindowsNotJudged,
    /// A message has waited long to be delivered.
    MessagesLate,
    /// A message was given up.
    MessagesGivenUp,
    /// Counts were dropped because the database was away for too long.
    StoreBehind,
    /// Captured rows cannot be moved into files: the store is away or full.
    CaptureFailed,
    /// A known shift was not seen, calm was taken for drift, or a message on trial did not arrive.
    CanaryFailed,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::RulesReloadFailed,
        Self::WindowsNotJudged,
        Self::MessagesLate,
        Self::MessagesGivenUp,
        Self::StoreBehind,
        Self::CaptureFailed,
        Self::CanaryFailed,
    ];

    /// Its name, which is the name of the alert.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RulesReloadFailed => "RulesReloadFailed",
            Self::WindowsNotJudged => "WindowsNotJudged",
            Self::MessagesLate => "MessagesLate",
            Self::MessagesGivenUp => "MessagesGivenUp",
            Self::StoreBehind => "StoreBehind",
            Self::CaptureFailed => "CaptureFailed",
            Self::CanaryFailed => "CanaryFailed",
        }
    }

    /// The fault of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == name)
    }

    /// What it means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::RulesReloadFailed => {
                "changed rule files were refused, and the rules before them are in force"
            }
            Self::WindowsNotJudged => "complete windows are not judged, so that drift would not be seen",
            Self::MessagesLate => "messages wait to be delivered, so that alerts do not reach people",
            Self::MessagesGivenUp => "a message was given up, so that its receiver has not been told",
            Self::StoreBehind => {
                "counts of predictions were lost, because the database was away for too long"
            }
            Self::CaptureFailed => "captured rows are not moved into files, and fill the database meanwhile",
            Self::CanaryFailed => "the trial of the watch failed: drift may pass unseen or untold",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::RulesReloadFailed => {
                "Correct what the problems name; good files are taken up by themselves"
            }
            Self::WindowsNotJudged => "Look for \"windows could not be judged\" in the log of the sidecar",
            Self::MessagesLate => "See why the last attempts failed, and whether the receiver answers",
            Self::MessagesGivenUp => {
                "See why the last attempt failed, correct the receiver, and tell people by hand"
            }
            Self::StoreBehind => {
                "See whether the database answers and keeps up; lost minutes do not come back"
            }
            Self::CaptureFailed => {
                "See whether the place in `capture.store` has room and answers; the rows wait and are moved then"
            }
            Self::CanaryFailed => "Look for \"canary\" in the log of the sidecar",
        }
    }

    /// A command that leads on.
    fn command(self) -> &'static str {
        match self {
            Self::RulesReloadFailed | Self::StoreBehind | Self::MessagesLate | Self::MessagesGivenUp => {
                "driftline check"
            }
            Self::CaptureFailed => "driftline capture status",
            Self::WindowsNotJudged | Self::CanaryFailed => "driftline drift list",
        }
    }

    /// `severity` of its alert.
    pub fn severity(self) -> &'static str {
        match self {
            Self::RulesReloadFailed | Self::StoreBehind | Self::MessagesGivenUp | Self::CaptureFailed => {
                "warning"
            }
            Self::WindowsNotJudged | Self::MessagesLate | Self::CanaryFailed => "critical",
        }
    }

    /// How long it lasts before its alert fires, and how long the alert stays after it.
    fn times(self) -> HoldTimes {
        let keep_firing = match self {
            // These happen at one moment: the alert stays until a person had the time to read it.
            Self::StoreBehind | Self::MessagesGivenUp => Hold::Time(Duration::from_mins(30)),
            _ => Hold::default(),
        };
        HoldTimes { hold: Hold::default(), keep_firing }
    }
}

/// Takes one step of every internal alert.
///
/// The same arguments give the same bytes, as with the rules.
///
/// # Arguments
///
/// * `previous`: the stored alerts of [`ModelName::own`].
/// * `found`: what is wrong at this moment, each with its details in a sentence.
/// * `now`: wall time, as faults are none of event time.
pub fn judge(previous: &[StoredAlert], found: &BTreeMap<Fault, String>, now: DateTime<Utc>) -> Evaluation {
    let model = ModelName::own();
    let mut evaluation = Evaluation::default();
    for fault in Fault::ALL {
        let identity = fingerprint(&model, fault.as_str(), model.as_str());
        let stored = previous.iter().find(|alert| alert.fingerprint == identity);
        let detail = found.get(&fault);
        let before = stored.map(|alert| alert.state).unwrap_or_default();
        let history = stored.map(|alert| alert.history).unwrap_or_default();
        let (after, history) = before.step(history, detail.is_some(), now, fault.times());
        if after == AlertState::Inactive && stored.is_none() {
            continue;
        }
        let summary = match (detail, stored) {
            (Some(detail), _) => format!("{}: {detail}", fault.meaning()),
            (None, Some(alert)) => alert.summary.clone(),
            (None, None) => fault.meaning().to_owned(),
        };
        let alert = StoredAlert {
            fingerprint: identity,
            model: model.clone(),
            rule: fault.as_str().to_owned(),
            subject: model.to_string(),
            state: after,
            history,
            episode: after.firing_since(),
            labels: BTreeMap::from([("severity".to_owned(), fault.severity().to_owned())]),
            receivers: Vec::new(),
            summary,
            report: None,
            notice: stored.and_then(|alert| alert.notice.clone()),
            rule_text: None,
            rule_hash: None,
        };
        step(&mut evaluation, alert, before, fault, now);
    }
    // Alerts of faults that an earlier build knew have nobody left to end them.
    for alert in previous.iter().filter(|alert| Fault::parse(&alert.rule).is_none()) {
        evaluation.alerts.push(StoredAlert { state: AlertState::Inactive, ..alert.clone() });
    }
    evaluation
}

/// Keeps the alert, with its transition where there is one, and what is told of it.
fn step(
    evaluation: &mut Evaluation,
    mut alert: StoredAlert,
    before: AlertState,
    fault: Fault,
    now: DateTime<Utc>,
) {
    let (from, to) = (before.as_str(), alert.state.as_str());
    if from != to {
        let since = before.firing_since().or(alert.state.firing_since()).unwrap_or(now);
        let notice = notice(&alert, fault, since, now);
        evaluation.transitions.push(Transition {
            id: derived_id(now, &["transition", &alert.fingerprint, from, to]),
            fingerprint: alert.fingerprint.clone(),
            model: alert.model.clone(),
            rule: alert.rule.clone(),
            subject: alert.subject.clone(),
            from,
            to,
            at: now,
            report: None,
            evidence: Evidence {
                expression: None,
                hold: Some(fault.times().hold.to_string()),
                rule_text: None,
                rule_hash: None,
                build: BUILD.to_owned(),
                baseline: None,
                window_start: since,
                window_end: now,
                item: notice.item.clone(),
            },
        });
        alert.notice = Some(Box::new(notice));
    }
    evaluation.alerts.push(alert);
}

/// An internal alert as messages tell it.
fn notice(alert: &StoredAlert, fault: Fault, since: DateTime<Utc>, now: DateTime<Utc>) -> Notice {
    let firing = alert.state.firing_since().is_some();
    let summary = if firing { alert.summary.clone() } else { format!("{} is over", fault.as_str()) };
    Notice {
        fingerprint: alert.fingerprint.clone(),
        status: if firing { Status::Firing } else { Status::Resolved },
        model: alert.model.clone(),
        rule: alert.rule.clone(),
        labels: alert.labels.clone(),
        annotations: BTreeMap::from([
            ("summary".to_owned(), summary.clone()),
            ("description".to_owned(), fault.remedy().to_owned()),
        ]),
        expression: String::new(),
        firing_since: since,
        report: None,
        baseline: None,
        window_start: since,
        window_end: now,
        verdict: None,
        rows: 0,
        rows_reference: 0,
        loss_share: 0.0,
        retrain: None,
        item: Item {
            subject: alert.subject.clone(),
            role: None,
            kind: None,
            verdict: None,
            p: None,
            statistics: BTreeMap::new(),
            n: 0,
            n_reference: 0,
            effect: 1.0,
            importance: None,
            summary,
            moved: if firing { vec![fault.remedy().to_owned()] } else { Vec::new() },
            bins: Vec::new(),
        },
    }
}

/// What leads on from an alert, when it is one of these.
pub(super) fn next_step(notice: &Notice) -> Option<NextStep> {
    let fault = Fault::parse(&notice.rule).filter(|_| notice.model == ModelName::own())?;
    Some(NextStep { purpose: fault.remedy().to_owned(), command: fault.command().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::example;

    fn at(minute: u32) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::from_mins(1) * minute
    }

    fn found(fault: Fault) -> BTreeMap<Fault, String> {
        BTreeMap::from([(fault, "rules/a.yaml:3: no such name".to_owned())])
    }

    /// Judges once a minute; gives what is told of each change, and the alerts at the end.
    fn walk(steps: &[BTreeMap<Fault, String>]) -> (Vec<String>, Vec<StoredAlert>) {
        let (mut previous, mut said) = (Vec::new(), Vec::new());
        for (minute, found) in steps.iter().enumerate() {
            let evaluation = judge(&previous, found, at(u32::try_from(minute).unwrap()));
            let told = evaluation.alerts.iter().filter(|_| !evaluation.transitions.is_empty());
            said.extend(
                told.filter_map(|alert| alert.notice.as_deref())
                    .map(|notice| format!("{minute} {}: {}", notice.status.as_str(), notice.item.summary)),
            );
            previous = evaluation.alerts;
            previous.retain(|alert| alert.state != AlertState::Inactive);
        }
        (said, previous)
    }

    #[test]
    fn a_fault_is_told_once_and_so_is_its_end() {
        let (bad, good) = (found(Fault::RulesReloadFailed), BTreeMap::new());
        let (said, alerts) = walk(&[good.clone(), bad.clone(), bad, good.clone(), good]);
        let detail = "changed rule files were refused, and the rules before them are in force: \
                      rules/a.yaml:3: no such name";
        let expected = [format!("1 firing: {detail}"), "3 resolved: RulesReloadFailed is over".to_owned()];
        assert_eq!(said, expected);
        assert_eq!(alerts.iter().map(|alert| alert.state.as_str()).collect::<Vec<_>>(), ["resolved"]);
    }

    #[test]
    fn what_happens_at_one_moment_stays_for_half_an_hour() {
        let mut steps = vec![found(Fault::StoreBehind)];
        steps.resize(30, BTreeMap::new());
        assert_eq!(walk(&steps).1[0].state.as_str(), "firing");
        steps.resize(33, BTreeMap::new());
        assert_eq!(walk(&steps).1[0].state.as_str(), "resolved");
    }

    #[test]
    fn the_same_step_gives_the_same_bytes() {
        let once = judge(&[], &found(Fault::CanaryFailed), at(5));
        assert_eq!(once, judge(&[], &found(Fault::CanaryFailed), at(5)));
        let message = &example::told(&once.alerts, &["oncall"])[0];
        assert_eq!((message.model(), message.severity()), (Some(&ModelName::own()), Some("critical")));
        assert_eq!(once.transitions[0].report, None);
        let rendered = message.render();
        assert!(rendered.subject.starts_with("[FIRING] CanaryFailed on driftline: "), "{}", rendered.subject);
        assert!(rendered.text.contains("Look for \"canary\" in the log"), "{}", rendered.text);
    }

    #[test]
    fn alerts_of_faults_that_are_no_more_go_away() {
        let mut old = judge(&[], &found(Fault::CanaryFailed), at(0)).alerts;
        old[0].rule = "OfAnEarlierBuild".to_owned();
        old[0].fingerprint = "of an earlier build".to_owned();
        let evaluation = judge(&old, &BTreeMap::new(), at(1));
        assert_eq!(
            evaluation.alerts.iter().map(|alert| alert.state).collect::<Vec<_>>(),
            [AlertState::Inactive]
        );
    }

    #[test]
    fn names_are_their_own() {
        let names: std::collections::BTreeSet<_> = Fault::ALL.into_iter().map(Fault::as_str).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.as_str()), Some(fault));
            assert!(!fault.meaning().is_empty() && !fault.remedy().is_empty());
        }
        assert_eq!(Fault::parse("FeatureDrift"), None);
    }
}
