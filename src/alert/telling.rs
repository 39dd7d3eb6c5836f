//! What a message about a group says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::evaluate::StoredAlert;
use super::group::{Member, StoredGroup};
use super::hold::duration_text;
use super::internal;
use super::message::{
    Group, Item, MAX_NOTICES, MESSAGE_VERSION, Message, NextStep, Notice, Occasion, SEVERITIES, Status,
};
use super::retrain::RetrainMode;

/// Most subjects that a summary names.
const MAX_NAMED: usize = 3;

/// One telling of a group.
#[derive(Clone, Copy)]
pub(super) struct Telling<'a> {
    /// Why now.
    pub(super) occasion: Occasion,
    /// What fires, strongest first; of a group that has grown, what is new before the rest.
    pub(super) firing: &'a [Notice],
    /// How many of these the receivers do not know yet.
    pub(super) joined: usize,
    /// What ended since the last telling.
    pub(super) ended: &'a [Notice],
    /// For how long it has been told, or waited for an acknowledgement.
    pub(super) waited: Option<Duration>,
}

/// What is told of firing alerts, strongest impact first.
///
/// A rule over a whole model has no effect to be compared with a feature's; it comes first, gravest first, so that it
/// is never among those that are only counted.
pub(super) fn firing(alerts: &[&StoredAlert]) -> Vec<Notice> {
    strongest_first(alerts.iter().map(|alert| notice(alert)).collect())
}

/// How the members of a group ended, strongest impact first.
pub(super) fn all_ended(group: &StoredGroup) -> Vec<Notice> {
    strongest_first(group.members.values().filter_map(|member| member.ended.as_deref().cloned()).collect())
}

fn strongest_first(mut notices: Vec<Notice>) -> Vec<Notice> {
    let rank = |notice: &Notice| {
        let severity = SEVERITIES.iter().position(|known| notice.severity() == Some(known));
        if notice.item.role.is_none() { (0, severity.unwrap_or(SEVERITIES.len())) } else { (1, 0) }
    };
    notices.sort_by(|left, right| {
        let impact = right.item.impact().total_cmp(&left.item.impact());
        let name =
            |notice: &Notice| (notice.model.to_string(), notice.item.subject.clone(), notice.rule.clone());
        rank(left).cmp(&rank(right)).then(impact).then_with(|| name(left).cmp(&name(right)))
    });
    notices
}

/// The latest that is known of an alert.
fn notice(alert: &StoredAlert) -> Notice {
    alert.notice.as_deref().cloned().unwrap_or_else(|| {
        let since = alert.state.firing_since();
        bare(
            &alert.fingerprint,
            &Named::of(alert),
            &alert.labels,
            alert.episode.or(since).unwrap_or_default(),
        )
    })
}

/// How a member ended.
pub(super) fn ended(fingerprint: &str, member: &Member, alert: Option<&StoredAlert>) -> Notice {
    let known = alert.and_then(|alert| alert.notice.as_deref());
    let mut notice = known.cloned().unwrap_or_else(|| {
        let named = Named { model: &member.model, rule: &member.rule, subject: &member.subject };
        bare(fingerprint, &named, &BTreeMap::new(), chrono::DateTime::UNIX_EPOCH)
    });
    if alert.is_some_and(|alert| alert.state.firing_since().is_some()) {
        notice.item.summary = format!("{} of {} is told by another route now", member.rule, member.subject);
    }
    notice.status = Status::Resolved;
    notice
}

struct Named<'a> {
    model: &'a crate::model::ModelName,
    rule: &'a str,
    subject: &'a str,
}

impl<'a> Named<'a> {
    fn of(alert: &'a StoredAlert) -> Self {
        Self { model: &alert.model, rule: &alert.rule, subject: &alert.subject }
    }
}

/// What can be said of an alert of which only the name is known: it was stored by an earlier version.
fn bare(
    fingerprint: &str,
    named: &Named<'_>,
    labels: &BTreeMap<String, String>,
    since: chrono::DateTime<chrono::Utc>,
) -> Notice {
    Notice {
        fingerprint: fingerprint.to_owned(),
        status: Status::Firing,
        model: named.model.clone(),
        rule: named.rule.to_owned(),
        labels: labels.clone(),
        annotations: BTreeMap::new(),
        expression: String::new(),
        firing_since: since,
        report: None,
        baseline: None,
        window_start: since,
        window_end: since,
        verdict: None,
        rows: 0,
        rows_reference: 0,
        loss_share: 0.0,
        retrain: None,
        item: Item {
            subject: named.subject.to_owned(),
            role: None,
            kind: None,
            verdict: None,
            p: None,
            statistics: BTreeMap::new(),
            n: 0,
            n_reference: 0,
            effect: 0.0,
            importance: None,
            summary: format!("{} of {}", named.rule, named.subject),
            moved: Vec::new(),
            bins: Vec::new(),
        },
    }
}

impl Telling<'_> {
    /// The message to one receiver.
    pub(super) fn message(&self, id: Uuid, receiver: &str, group: &StoredGroup) -> Message {
        let status = if self.firing.is_empty() { Status::Resolved } else { Status::Firing };
        let alerts: Vec<Notice> = self.firing.iter().chain(self.ended).take(MAX_NOTICES).cloned().collect();
        Message {
            version: MESSAGE_VERSION,
            id,
            receiver: receiver.to_owned(),
            status,
            occasion: self.occasion,
            group: Group { key: group.key.clone(), labels: group.labels.clone(), since: group.since },
            summary: self.summary(),
            more: self.firing.len() + self.ended.len() - alerts.len(),
            alerts,
            next: self.next_steps(group, status),
        }
    }

    /// The whole message in one sentence.
    fn summary(&self) -> String {
        let fires = self.firing_sentence();
        let over = self.over_sentence();
        match self.occasion {
            Occasion::Resolved => over,
            Occasion::Changed if self.joined == 0 => format!("{over}; still firing: {fires}"),
            Occasion::Changed if !self.ended.is_empty() => format!("{fires}; {over}"),
            Occasion::Repeated => format!("still firing{}: {fires}", self.waited_text(" after ")),
            Occasion::Escalated => format!("not acknowledged{}: {fires}", self.waited_text(" for ")),
            Occasion::Began | Occasion::Changed | Occasion::Test => fires,
        }
    }

    fn waited_text(&self, word: &str) -> String {
        self.waited
            .map(|waited| {
                // Whole minutes are what a person wants to know of a repeat.
                let seconds = waited.as_secs();
                let rounded = if seconds >= 60 { seconds / 60 * 60 } else { seconds };
                format!("{word}{}", duration_text(Duration::from_secs(rounded)))
            })
            .unwrap_or_default()
    }

    /// The strongest alert with its numbers, and the names of the next ones; of a group that has grown, of what is new.
    fn firing_sentence(&self) -> String {
        let Some(first) = self.firing.first() else { return String::new() };
        let grown = self.occasion == Occasion::Changed && self.joined > 0;
        let (new, old) =
            self.firing.split_at(if grown { self.joined.min(self.firing.len()) } else { self.firing.len() });
        let also = list(&names(new.iter().filter(|notice| notice.item.subject != first.item.subject)));
        let known = list(&names(old.iter().filter(|notice| notice.item.subject != first.item.subject)));
        let part = |word: &str, names: String| {
            if names.is_empty() { String::new() } else { format!("; {word} {names}") }
        };
        format!("{}{}{}", first.item.summary, part("also", also), part("still firing:", known))
    }

    fn over_sentence(&self) -> String {
        let rules: BTreeSet<&str> = self.ended.iter().map(|notice| notice.rule.as_str()).collect();
        let rules: Vec<&str> = rules.into_iter().collect();
        let verb = if rules.len() == 1 { "is" } else { "are" };
        format!("{} {verb} over for {}", list(&rules), list(&names(self.ended.iter())))
    }

    /// What leads on, with the strongest alert in mind.
    fn next_steps(&self, group: &StoredGroup, status: Status) -> Vec<NextStep> {
        let step = |purpose: &str, command: String| NextStep { purpose: purpose.to_owned(), command };
        let all = || self.firing.iter().chain(self.ended);
        let mut next = Vec::new();
        if let Some(report) = all().find_map(|notice| notice.report) {
            next.push(step("See every figure", format!("driftline drift explain {report}")));
        }
        let Some(first) = self.firing.first().filter(|_| status == Status::Firing) else { return next };
        let model = &first.model;
        if let Some(own) = internal::next_step(first) {
            next.push(own);
            return next;
        }
        match self.firing.iter().find_map(|notice| notice.retrain) {
            Some(RetrainMode::Auto) => {
                next.push(step("Follow the retraining", format!("retrain list -m {model}")));
            }
            Some(RetrainMode::Approve) => {
                next.push(step("Find the run that waits for approval", format!("retrain list -m {model}")));
            }
            Some(RetrainMode::Suggest) | None => {
                let words: String =
                    first.rule.chars().filter(|c| c.is_alphanumeric() || " -_.".contains(*c)).collect();
                next.push(step("Retrain", format!("retrain now -m {model} --reason \"{words}\"")));
            }
        }
        let key: String = group.key.chars().take(12).collect();
        next.push(step("Take it on", format!("driftline alerts ack {key} --by YOU --reason WHY")));
        let plain = |value: &str| {
            !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        };
        let matchers: Vec<String> = group
            .labels
            .iter()
            .filter(|(_, value)| plain(value))
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        if !matchers.is_empty() {
            let matchers = matchers.join(" ");
            next.push(step(
                "Silence it for two hours",
                format!("driftline alerts silence {matchers} --for 2h --by YOU --reason WHY"),
            ));
        }
        next
    }
}

/// Subjects in their order, each once.
fn names<'a>(notices: impl Iterator<Item = &'a Notice>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    notices.map(|notice| notice.item.subject.as_str()).filter(|name| seen.insert(*name)).collect()
}

/// `a`, `a and b`, `a, b, c and 2 more`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., last] if names.len() <= MAX_NAMED => format!("{} and {last}", head.join(", ")),
        _ => {
            let shown = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
            format!("{shown} and {} more", names.len() - MAX_NAMED)
        }
    }
}
