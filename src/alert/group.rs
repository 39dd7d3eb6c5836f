//! Groups of alerts over time: what is told now, to whom, and what is not told and why.
//!
//! Everything is decided from arguments alone, so that the same alerts at the same time give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::evaluate::{StoredAlert, derived_id, hex};
use super::inhibit::Inhibitions;
use super::matcher::all_match;
use super::message::{Message, Notice, Occasion, Status};
use super::mute;
use super::route::{Routing, Way};
use super::silence::{Ack, AckTarget, Silence};
use super::telling::{self, Telling};
use crate::model::ModelName;

/// A group as it is kept between looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredGroup {
    /// The place that is taken by at most one group at a time: the hash of route and labels.
    pub slot: String,
    /// Of this episode and no other.
    pub key: String,
    /// The route.
    pub route: String,
    /// What its alerts have in common.
    pub labels: BTreeMap<String, String>,
    /// Since when any of its alerts has been firing, in event time.
    pub since: DateTime<Utc>,
    /// When its first alert came in.
    pub opened_at: DateTime<Utc>,
    /// When it was first told; absent before.
    pub began_at: Option<DateTime<Utc>>,
    /// When it was last told, escalations apart.
    pub told_at: Option<DateTime<Utc>>,
    /// How often it was told, escalations among them.
    pub tellings: u64,
    /// Who was told, and is to be told of its end.
    pub receivers: BTreeSet<String>,
    /// How many steps of its escalation were taken.
    pub escalated: usize,
    /// Its alerts, by fingerprint.
    pub members: BTreeMap<String, Member>,
    /// When it has to be looked at again even if nothing happens.
    pub next_at: Option<DateTime<Utc>>,
}

/// An alert in a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The model.
    pub model: ModelName,
    /// The rule.
    pub rule: String,
    /// The subject.
    pub subject: String,
    /// Whether the receivers know that it fires.
    pub told: bool,
    /// How it ended, until the receivers know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Box<Notice>>,
    /// Why it is not told, while that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
}

/// Why an alert is not told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Suppression {
    /// Somebody silenced it.
    Silence {
        /// The silence.
        id: Uuid,
        /// Who.
        who: String,
        /// Why.
        reason: String,
        /// When the silence ends.
        until: DateTime<Utc>,
    },
    /// It is maintenance time.
    Maintenance {
        /// The window.
        window: String,
    },
    /// Its cause fires.
    Inhibition {
        /// Fingerprint of the cause.
        fingerprint: String,
        /// Rule of the cause.
        rule: String,
        /// Subject of the cause.
        subject: String,
    },
}

impl Suppression {
    /// In words.
    pub fn sentence(&self) -> String {
        match self {
            Self::Silence { who, reason, until, .. } => {
                format!("silenced by {who} until {}: {reason}", until.format("%F %H:%M UTC"))
            }
            Self::Maintenance { window } => format!("maintenance window {window}"),
            Self::Inhibition { rule, subject, .. } => format!("inhibited by {rule} of {subject}"),
        }
    }
}

/// Something that happened to alerts of a group, for their history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupEvent {
    /// Derived, so that the same look has the same ids.
    pub id: Uuid,
    /// The group's key.
    pub group: String,
    /// To which alerts, by fingerprint.
    pub fingerprints: Vec<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub happening: Happening,
}

/// What can happen to alerts of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Happening {
    /// Receivers were told.
    Told {
        /// Why then.
        occasion: Occasion,
        /// Whom.
        receivers: Vec<String>,
        /// The messages, in the order of the receivers.
        messages: Vec<Uuid>,
    },
    /// They are not told for a while.
    Suppressed {
        /// Why.
        why: Suppression,
    },
    /// They may be told again.
    Released,
    /// Somebody took them on.
    Acknowledged {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
}

/// All that decides who is told what.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The settings.
    pub routing: &'a Routing,
    /// Alerts that fire, and those that lately did; others do no harm.
    pub alerts: &'a [StoredAlert],
    /// Every open group of these alerts.
    pub groups: &'a [StoredGroup],
    /// Silences; those that do not hold now do no harm.
    pub silences: &'a [Silence],
    /// Acknowledgements.
    pub acks: &'a [Ack],
    /// The clock: waits and repeats are of the person who reads, not of the window.
    pub now: DateTime<Utc>,
}

/// What follows; to be stored in one transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    /// Groups that are new or changed.
    pub groups: Vec<StoredGroup>,
    /// Slots of groups that are over.
    pub closed: Vec<String>,
    /// What receivers are to be told.
    pub messages: Vec<Message>,
    /// What happened to alerts.
    pub events: Vec<GroupEvent>,
}

/// Labels that routes, silences and inhibitions see: the rule's, and what the alert is about.
pub fn labels(alert: &StoredAlert) -> BTreeMap<String, String> {
    let mut labels = alert.labels.clone();
    labels.insert("model".to_owned(), alert.model.to_string());
    labels.insert("rule".to_owned(), alert.rule.clone());
    labels.insert("subject".to_owned(), alert.subject.clone());
    labels
}

/// Decides what is told at `situation.now`.
///
/// Doing it twice at the same time tells nothing twice: the second time finds everything told.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let firing: Vec<&StoredAlert> =
        situation.alerts.iter().filter(|alert| alert.state.firing_since().is_some()).collect();
    let inhibitions = Inhibitions::new(&situation.routing.inhibitions, &firing);
    let mut look = Look {
        situation,
        by_fingerprint: situation.alerts.iter().map(|alert| (alert.fingerprint.as_str(), alert)).collect(),
        decision: Decision::default(),
    };
    let mut slots: BTreeMap<String, Slot<'_>> = BTreeMap::new();
    for alert in firing {
        let labels = labels(alert);
        let general = look.suppressed(&labels, &inhibitions);
        for way in situation.routing.ways(&labels, &alert.receivers) {
            let shared = way.route.group_by.group(&labels);
            let suppressed = general.clone().or_else(|| look.muted(&way.route.mute));
            let slot = slots.entry(slot_of(&way.id, &shared)).or_insert_with(|| Slot {
                way,
                labels: shared,
                alerts: Vec::new(),
            });
            slot.alerts.push((alert, suppressed));
        }
    }
    let stored: BTreeMap<&str, &StoredGroup> =
        situation.groups.iter().map(|group| (group.slot.as_str(), group)).collect();
    for group in situation.groups.iter().filter(|group| !slots.contains_key(&group.slot)) {
        look.end(group);
    }
    for (id, slot) in &slots {
        look.group(id, slot, stored.get(id.as_str()).copied());
    }
    look.decision
}

fn slot_of(route: &str, labels: &BTreeMap<String, String>) -> String {
    let parts: Vec<&str> =
        labels.iter().flat_map(|(label, value)| [label.as_str(), value.as_str()]).collect();
    hex(&[&["group", route], parts.as_slice()].concat())
}

/// The firing alerts of one group.
struct Slot<'a> {
    way: Way<'a>,
    labels: BTreeMap<String, String>,
    alerts: Vec<(&'a StoredAlert, Option<Suppression>)>,
}

struct Look<'a> {
    situation: &'a Situation<'a>,
    by_fingerprint: BTreeMap<&'a str, &'a StoredAlert>,
    decision: Decision,
}

impl Look<'_> {
    /// Why an alert is told nowhere.
    fn suppressed(
        &self,
        labels: &BTreeMap<String, String>,
        inhibitions: &Inhibitions<'_>,
    ) -> Option<Suppression> {
        let now = self.situation.now;
        let silences = self.situation.silences.iter();
        // The one that lasts longest, so that its end is worth waiting for.
        let silence = silences
            .filter(|silence| silence.is_active(now) && all_match(&silence.matchers, labels))
            .max_by_key(|silence| (silence.ends_at, silence.id));
        if let Some(silence) = silence {
            return Some(Suppression::Silence {
                id: silence.id,
                who: silence.by.clone(),
                reason: silence.reason.clone(),
                until: silence.ends_at,
            });
        }
        let windows = self.situation.routing.maintenance.iter();
        let window = windows
            .filter(|window| !window.matchers.is_empty())
            .find(|window| window.is_active(now) && all_match(&window.matchers, labels));
        if let Some(window) = window {
            return Some(Suppression::Maintenance { window: window.name.clone() });
        }
        inhibitions.cause(labels).map(|cause| Suppression::Inhibition {
            fingerprint: cause.fingerprint.clone(),
            rule: cause.rule.clone(),
            subject: cause.subject.clone(),
        })
    }

    /// The window that mutes a route now.
    fn muted(&self, mute: &[String]) -> Option<Suppression> {
        let windows = &self.situation.routing.maintenance;
        let named = mute.iter().filter_map(|name| windows.iter().find(|window| window.name == *name));
        named
            .filter(|window| window.is_active(self.situation.now))
            .map(|window| Suppression::Maintenance { window: window.name.clone() })
            .next()
    }

    /// Whether somebody has taken every one of `firing` on.
    fn acknowledged(&self, key: &str, firing: &[&StoredAlert]) -> bool {
        let acks = self.situation.acks;
        let of_group = |ack: &Ack| matches!(&ack.target, AckTarget::Group { key: of } if of == key);
        let of_alert = |alert: &StoredAlert| {
            acks.iter().any(|ack| {
                matches!(&ack.target, AckTarget::Alert { fingerprint, since }
                    if *fingerprint == alert.fingerprint && Some(*since) == alert.state.firing_since())
            })
        };
        acks.iter().any(of_group) || firing.iter().all(|alert| of_alert(alert))
    }

    /// A group of which no alert fires any more, or which no route leads to: who was told is told of its end,
    /// whatever is silenced, so that no incident stays open.
    fn end(&mut self, group: &StoredGroup) {
        self.decision.closed.push(group.slot.clone());
        if group.began_at.is_none() {
            return;
        }
        let mut group = group.clone();
        self.note_ends(&mut group, &BTreeSet::new());
        let ended = telling::all_ended(&group);
        let receivers: Vec<String> = group.receivers.iter().cloned().collect();
        let telling =
            Telling { occasion: Occasion::Resolved, firing: &[], joined: 0, ended: &ended, waited: None };
        self.tell(&mut group, &telling, &receivers);
    }

    /// Looks at a group that has firing alerts.
    fn group(&mut self, id: &str, slot: &Slot<'_>, stored: Option<&StoredGroup>) {
        let now = self.situation.now;
        let mut group = stored.cloned().unwrap_or_else(|| opened(id, slot, now));
        self.note_firing(&mut group, slot);
        let fingerprints: BTreeSet<&str> = slot.alerts.iter().map(|(a, _)| a.fingerprint.as_str()).collect();
        self.note_ends(&mut group, &fingerprints);

        let visible: Vec<&StoredAlert> =
            slot.alerts.iter().filter(|(_, why)| why.is_none()).map(|(alert, _)| *alert).collect();
        let mut due = Due { now, next: None };
        if !visible.is_empty() {
            self.tell_what_is_due(&mut group, slot, &visible, &mut due);
        }
        for (_, why) in &slot.alerts {
            match why {
                Some(Suppression::Silence { until, .. }) => due.wait_until(*until),
                Some(Suppression::Maintenance { .. }) => due.wait_until(mute::next_look(now)),
                Some(Suppression::Inhibition { .. }) | None => {}
            }
        }
        group.next_at = due.next;
        if stored != Some(&group) {
            self.decision.groups.push(group);
        }
    }

    /// Tells what is due of a group of which `visible` may be told.
    fn tell_what_is_due(
        &mut self,
        group: &mut StoredGroup,
        slot: &Slot<'_>,
        visible: &[&StoredAlert],
        due: &mut Due,
    ) {
        let route = slot.way.route;
        let is_new = |fingerprint: &str| group.members.get(fingerprint).is_none_or(|member| !member.told);
        let joined = visible.iter().filter(|alert| is_new(&alert.fingerprint)).count();
        let firing = telling::firing(visible);
        let mut new_first = firing.clone();
        new_first.sort_by_key(|notice| !is_new(&notice.fingerprint));
        let ended = telling::all_ended(group);
        let mut telling =
            Telling { occasion: Occasion::Began, firing: &firing, joined, ended: &ended, waited: None };
        let Some((began, told)) = group.began_at.zip(group.told_at) else {
            if due.at(group.opened_at, route.group_wait) {
                self.tell_all(group, slot, visible, &telling);
                self.tell_next(group, slot, visible, &telling, due);
            }
            return;
        };
        let changed = telling.joined > 0 || !ended.is_empty();
        let acknowledged = self.acknowledged(&group.key, visible);
        if changed && due.at(told, route.group_interval) {
            telling.occasion = Occasion::Changed;
            let telling = Telling { firing: &new_first, ..telling };
            self.tell_all(group, slot, visible, &telling);
        } else if !changed && !acknowledged && due.at(told, route.repeat_interval) {
            telling.occasion = Occasion::Repeated;
            telling.waited = (due.now - began).to_std().ok();
            self.tell_all(group, slot, visible, &telling);
        }
        self.tell_next(group, slot, visible, &telling, due);
    }

    /// Takes the steps of the escalation that are due, and notes when the next ones and the next repeat are.
    fn tell_next(
        &mut self,
        group: &mut StoredGroup,
        slot: &Slot<'_>,
        visible: &[&StoredAlert],
        telling: &Telling<'_>,
        due: &mut Due,
    ) {
        let route = slot.way.route;
        let Some((began, told)) = group.began_at.zip(group.told_at) else { return };
        if self.acknowledged(&group.key, visible) {
            return;
        }
        for step in route.escalate.iter().skip(group.escalated) {
            if !due.at(began, step.after) {
                break;
            }
            let telling = Telling { occasion: Occasion::Escalated, waited: Some(step.after), ..*telling };
            self.tell(group, &telling, &step.receivers);
            group.escalated += 1;
        }
        due.at(told, route.repeat_interval);
    }

    /// Tells everyone who belongs to a group.
    fn tell_all(
        &mut self,
        group: &mut StoredGroup,
        slot: &Slot<'_>,
        visible: &[&StoredAlert],
        telling: &Telling<'_>,
    ) {
        let now = self.situation.now;
        let own: BTreeSet<String> = slot.way.receivers.iter().cloned().collect();
        let receivers: Vec<String> = own.union(&group.receivers).cloned().collect();
        self.tell(group, telling, &receivers);
        group.began_at.get_or_insert(now);
        group.told_at = Some(now);
        group.members.retain(|_, member| member.ended.is_none());
        for alert in visible {
            if let Some(member) = group.members.get_mut(&alert.fingerprint) {
                member.told = true;
            }
        }
    }

    /// Writes the messages of one telling, and that they were.
    fn tell(&mut self, group: &mut StoredGroup, telling: &Telling<'_>, receivers: &[String]) {
        let now = self.situation.now;
        group.tellings += 1;
        let number = group.tellings.to_string();
        group.receivers.extend(receivers.iter().cloned());
        let messages: Vec<Message> = receivers
            .iter()
            .map(|receiver| {
                telling.message(derived_id(now, &["message", &group.key, &number, receiver]), receiver, group)
            })
            .collect();
        let fingerprints =
            telling.firing.iter().chain(telling.ended).map(|n| n.fingerprint.clone()).collect();
        self.decision.events.push(GroupEvent {
            id: derived_id(now, &["told", &group.key, &number]),
            group: group.key.clone(),
            fingerprints,
            at: now,
            happening: Happening::Told {
                occasion: telling.occasion,
                receivers: receivers.to_vec(),
                messages: messages.iter().map(|message| message.id).collect(),
            },
        });
        self.decision.messages.extend(messages);
    }

    /// Takes firing alerts into the group, and notes what is suppressed and what no longer is.
    fn note_firing(&mut self, group: &mut StoredGroup, slot: &Slot<'_>) {
        let mut changes: Vec<(Option<Suppression>, Vec<String>)> = Vec::new();
        for (alert, why) in &slot.alerts {
            let member = group.members.entry(alert.fingerprint.clone()).or_insert_with(|| Member {
                model: alert.model.clone(),
                rule: alert.rule.clone(),
                subject: alert.subject.clone(),
                told: false,
                ended: None,
                suppressed: None,
            });
            member.ended = None;
            if member.suppressed != *why {
                member.suppressed.clone_from(why);
                match changes.iter_mut().find(|(known, _)| known == why) {
                    Some((_, fingerprints)) => fingerprints.push(alert.fingerprint.clone()),
                    None => changes.push((why.clone(), vec![alert.fingerprint.clone()])),
                }
            }
        }
        let now = self.situation.now;
        for (number, (why, fingerprints)) in changes.into_iter().enumerate() {
            let happening = match why {
                Some(why) => Happening::Suppressed { why },
                None => Happening::Released,
            };
            let id = derived_id(now, &["noted", &group.key, &number.to_string(), &fingerprints.join(",")]);
            self.decision.events.push(GroupEvent {
                id,
                group: group.key.clone(),
                fingerprints,
                at: now,
                happening,
            });
        }
    }

    /// Notes how alerts ended that are not among `firing`; those that nobody was told of are forgotten.
    fn note_ends(&self, group: &mut StoredGroup, firing: &BTreeSet<&str>) {
        group.members.retain(|fingerprint, member| member.told || firing.contains(fingerprint.as_str()));
        for (fingerprint, member) in &mut group.members {
            if firing.contains(fingerprint.as_str()) || member.ended.is_some() {
                continue;
            }
            member.suppressed = None;
            let notice =
                telling::ended(fingerprint, member, self.by_fingerprint.get(fingerprint.as_str()).copied());
            member.ended = Some(Box::new(notice));
        }
    }
}

/// A group that has just got its first alert.
fn opened(id: &str, slot: &Slot<'_>, now: DateTime<Utc>) -> StoredGroup {
    let since = slot.alerts.iter().filter_map(|(alert, _)| alert.state.firing_since()).min().unwrap_or(now);
    StoredGroup {
        slot: id.to_owned(),
        key: hex(&["episode", id, &since.to_rfc3339(), &now.to_rfc3339()]),
        route: slot.way.id.clone(),
        labels: slot.labels.clone(),
        since,
        opened_at: now,
        began_at: None,
        told_at: None,
        tellings: 0,
        receivers: BTreeSet::new(),
        escalated: 0,
        members: BTreeMap::new(),
        next_at: None,
    }
}

/// What is due, and when the next thing is.
struct Due {
    now: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
}

impl Due {
    /// Whether `wait` after `since` is over; if not, its end is waited for.
    fn at(&mut self, since: DateTime<Utc>, wait: Duration) -> bool {
        let at = TimeDelta::from_std(wait).ok().and_then(|wait| since.checked_add_signed(wait));
        let Some(at) = at else { return false };
        if at > self.now {
            self.wait_until(at);
        }
        at <= self.now
    }

    fn wait_until(&mut self, at: DateTime<Utc>) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl StoredGroup {
    /// Firing while any of its alerts fires.
    pub fn status(&self) -> Status {
        if self.members.values().any(|member| member.ended.is_none()) {
            Status::Firing
        } else {
            Status::Resolved
        }
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
