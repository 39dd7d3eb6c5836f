//! Tests of who is told what, when.

use proptest::prelude::*;

use super::*;
use crate::alert::example::{self, report_at, window_end};
use crate::alert::message::MAX_NOTICES;
use crate::alert::{
    Escalation, GroupBy, Inhibition, Maintenance, Matcher, Problem, Route, RuleSet, evaluate,
};
use crate::drift::DriftReport;
use crate::model::Role;

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: FeatureDrift
        for_each: feature
        expr: verdict == "drift"
        labels: {severity: warning, about: drift}
        annotations: {summary: "{{feature}} drifted: PSI {{psi}}"}
        retrain: {mode: auto}
      - alert: OutputDrift
        for_each: output
        expr: verdict == "drift"
        labels: {severity: critical, about: drift}
      - alert: Lost
        for_each: model
        expr: loss_share > 0.5
        labels: {severity: critical, cause: upstream}
"#;

/// Judges windows and keeps what a store would keep; its clock is apart from event time.
struct Story {
    rules: RuleSet,
    routing: Routing,
    alerts: Vec<StoredAlert>,
    groups: BTreeMap<String, StoredGroup>,
    silences: Vec<Silence>,
    acks: Vec<Ack>,
    events: Vec<GroupEvent>,
    index: u32,
    now: DateTime<Utc>,
}

impl Story {
    fn new(routing: Routing) -> Self {
        Self {
            rules: RuleSet::parse(&[("r.yaml".to_owned(), RULES.to_owned())]).unwrap(),
            routing,
            alerts: Vec::new(),
            groups: BTreeMap::new(),
            silences: Vec::new(),
            acks: Vec::new(),
            events: Vec::new(),
            index: 0,
            now: window_end(0),
        }
    }

    /// A story with one receiver whose root route is changed.
    fn with(change: impl FnOnce(&mut Route)) -> Self {
        let mut routing = Routing::to(&["oncall".to_owned()]);
        change(&mut routing.root);
        Self::new(routing)
    }

    /// A window with columns; `count` is an output. What it makes known is told at once.
    fn window(&mut self, columns: &[(&str, f64)]) -> Vec<Message> {
        self.judge(report_at(self.index, columns))
    }

    fn judge(&mut self, mut report: DriftReport) -> Vec<Message> {
        for column in report.features.iter_mut().filter(|column| column.name == "count") {
            column.role = Role::Output;
        }
        let id = Uuid::from_u128(u128::from(self.index) + 1);
        self.index += 1;
        let found = evaluate(&self.rules, &report, id, &self.alerts, self.now);
        for alert in found.alerts {
            self.alerts.retain(|known| known.fingerprint != alert.fingerprint);
            self.alerts.push(alert);
        }
        self.look()
    }

    /// So many minutes pass.
    fn wait(&mut self, minutes: i64) -> Vec<Message> {
        self.now += TimeDelta::minutes(minutes);
        self.look()
    }

    fn look(&mut self) -> Vec<Message> {
        let decision = self.decide();
        assert_eq!(decision, self.decide(), "the same look differs");
        for slot in &decision.closed {
            self.groups.remove(slot);
        }
        for group in decision.groups {
            let text = serde_json::to_string(&group).unwrap();
            assert_eq!(serde_json::from_str::<StoredGroup>(&text).unwrap(), group, "it survives storage");
            assert!(
                group.next_at.is_none_or(|next| next > self.now),
                "it would be looked at for ever: {group:?}"
            );
            self.groups.insert(group.slot.clone(), group);
        }
        self.events.extend(decision.events);
        let again = self.decide();
        assert_eq!(again, Decision::default(), "a second look at the same time finds nothing to do");
        decision.messages
    }

    fn decide(&self) -> Decision {
        let groups: Vec<StoredGroup> = self.groups.values().cloned().collect();
        decide(&Situation {
            routing: &self.routing,
            alerts: &self.alerts,
            groups: &groups,
            silences: &self.silences,
            acks: &self.acks,
            now: self.now,
        })
    }

    /// The only group.
    fn group(&self) -> &StoredGroup {
        assert_eq!(self.groups.len(), 1, "{:?}", self.groups);
        self.groups.values().next().unwrap()
    }

    fn silence(&mut self, matcher: &str, minutes: i64) {
        self.silences.push(Silence {
            id: Uuid::from_u128(self.silences.len() as u128),
            matchers: vec![Matcher::parse(matcher).unwrap()],
            starts_at: self.now,
            ends_at: self.now + TimeDelta::minutes(minutes),
            by: "ann".to_owned(),
            reason: "deploy".to_owned(),
        });
    }

    fn ack(&mut self, target: AckTarget) {
        let (by, reason) = ("ann".to_owned(), "on it".to_owned());
        self.acks.push(Ack { id: Uuid::nil(), target, by, reason, at: self.now });
    }
}

/// `receiver occasion: summary` of every message.
fn said(messages: &[Message]) -> Vec<String> {
    let occasion = |message: &Message| format!("{:?}", message.occasion).to_lowercase();
    messages.iter().map(|m| format!("{} {}: {}", m.receiver, occasion(m), m.summary)).collect()
}

const MINUTES: fn(u64) -> Duration = Duration::from_mins;

#[test]
fn a_window_is_one_message_and_an_episode_one_key() {
    let mut story = Story::with(|_| ());
    assert_eq!(said(&story.window(&[("temp", 0.0), ("hum", 0.0), ("count", 0.0)])), [""; 0]);
    let began = story.window(&[("temp", 0.3), ("hum", 0.5), ("count", 0.2)]);
    assert_eq!(said(&began), ["oncall began: hum drifted: PSI 0.50; also temp and count"]);
    let message = &began[0];
    let rules: Vec<_> = message.alerts.iter().map(|notice| notice.rule.as_str()).collect();
    assert_eq!(rules, ["FeatureDrift", "FeatureDrift", "OutputDrift"], "the strongest effect comes first");
    assert_eq!((message.status, message.severity()), (Status::Firing, Some("critical")));
    assert_eq!(message.group.labels, BTreeMap::from([("model".to_owned(), "bike-demand".to_owned())]));
    assert_eq!(message.group.since, window_end(1));
    let commands: Vec<_> = message.next.iter().map(|step| step.command.as_str()).collect();
    let key = &message.group.key[..12];
    let expected = [
        "driftline drift explain 00000000-0000-0000-0000-000000000002".to_owned(),
        "retrain list -m bike-demand".to_owned(),
        format!("driftline alerts ack {key} --by YOU --reason WHY"),
        "driftline alerts silence model=bike-demand --for 2h --by YOU --reason WHY".to_owned(),
    ];
    assert_eq!(commands, expected);
    assert_eq!(message.id.get_version_num(), 7);

    assert_eq!(
        said(&story.window(&[("temp", 0.3), ("hum", 0.5), ("count", 0.2)])),
        [""; 0],
        "nothing changed"
    );
    let left = story.window(&[("temp", 0.3), ("hum", 0.0), ("count", 0.2)]);
    let expected =
        "oncall changed: FeatureDrift is over for hum; still firing: temp drifted: PSI 0.30; also count";
    assert_eq!(said(&left), [expected]);
    assert_eq!(left[0].alerts.last().map(|notice| notice.status), Some(Status::Resolved));
    let swapped = story.window(&[("temp", 0.0), ("hum", 0.5), ("count", 0.2)]);
    let expected =
        "oncall changed: hum drifted: PSI 0.50; still firing: count; FeatureDrift is over for temp";
    assert_eq!(said(&swapped), [expected]);
    let over = story.window(&[("temp", 0.0), ("hum", 0.0), ("count", 0.0)]);
    assert_eq!(said(&over), ["oncall resolved: FeatureDrift and OutputDrift are over for count and hum"]);
    assert_eq!((over[0].status, &over[0].group.key), (Status::Resolved, &message.group.key));
    assert!(story.groups.is_empty());
    let anew = story.window(&[("temp", 0.3)]);
    assert_ne!(anew[0].group.key, message.group.key, "another episode has another key");
    let ids: BTreeSet<_> =
        [&began, &left, &swapped, &over, &anew].into_iter().flatten().map(|message| message.id).collect();
    assert_eq!(ids.len(), 5);
}

#[test]
fn importance_weighs_effects_and_alerts_on_the_model_come_first() {
    let mut story = Story::with(|_| ());
    let mut report = report_at(0, &[("temp", 0.3), ("hum", 0.5)]);
    story.rules.rules[2].labels.remove("cause");
    report.losses.kept = 100;
    report.losses.dropped.insert("queue_full".to_owned(), 910);
    story.judge(report);
    let mut alerts = story.alerts.clone();
    for alert in &mut alerts {
        let item = &mut alert.notice.as_mut().unwrap().item;
        item.importance = (item.subject == "temp").then_some(2.0);
    }
    let messages = example::told(&alerts, &["a", "b"]);
    assert_eq!(messages.len(), 2, "one to each receiver");
    let subjects: Vec<_> = messages[0].alerts.iter().map(|notice| notice.item.subject.as_str()).collect();
    assert_eq!(subjects, ["bike-demand", "temp", "hum"]);
}

#[test]
fn a_message_of_very_many_subjects_stays_short() {
    let names: Vec<String> = (0..5000).map(|index| format!("f{index}")).collect();
    let columns: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.3)).collect();
    let mut story = Story::with(|_| ());
    let messages = story.window(&columns);
    assert_eq!((messages.len(), messages[0].alerts.len()), (1, MAX_NOTICES));
    assert_eq!(messages[0].more, 5000 - MAX_NOTICES);
    assert_eq!(messages[0].summary, "f0 drifted: PSI 0.30; also f1, f10, f100 and 4996 more");
    assert!(serde_json::to_string(&messages[0]).unwrap().len() < 20_000);
    let text = serde_json::to_string(&messages[0]).unwrap();
    assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), messages[0]);
}

#[test]
fn a_group_waits_for_more_and_changes_keep_their_distance() {
    let mut story = Story::with(|route| {
        route.group_wait = MINUTES(5);
        route.group_interval = MINUTES(30);
        route.repeat_interval = MINUTES(120);
    });
    assert_eq!(said(&story.window(&[("temp", 0.3)])), [""; 0]);
    assert_eq!(story.group().next_at, Some(story.now + TimeDelta::minutes(5)));
    assert_eq!(said(&story.wait(4)), [""; 0]);
    assert_eq!(said(&story.window(&[("temp", 0.3), ("hum", 0.5)])), [""; 0]);
    assert_eq!(said(&story.wait(1)), ["oncall began: hum drifted: PSI 0.50; also temp"]);
    assert_eq!(said(&story.window(&[("temp", 0.3), ("hum", 0.5), ("wind", 0.2)])), [""; 0]);
    assert_eq!(said(&story.window(&[("temp", 0.0), ("hum", 0.5), ("wind", 0.2)])), [""; 0]);
    // `temp` was told of and comes back before its end was: there is nothing to tell of it.
    assert_eq!(said(&story.window(&[("temp", 0.3), ("hum", 0.0), ("wind", 0.2)])), [""; 0]);
    assert_eq!(said(&story.wait(29)), [""; 0]);
    let changed = story.wait(1);
    let expected = "oncall changed: wind drifted: PSI 0.20; still firing: temp; FeatureDrift is over for hum";
    assert_eq!(said(&changed), [expected]);
    assert_eq!(said(&story.wait(119)), [""; 0]);
    let expected = "oncall repeated: still firing after 150m: temp drifted: PSI 0.30; also wind";
    assert_eq!(said(&story.wait(1)), [expected]);
    let expected = "oncall repeated: still firing after 270m: temp drifted: PSI 0.30; also wind";
    assert_eq!(said(&story.wait(120)), [expected]);
    // An end is told when it comes: there is nothing left to wait for.
    let over = story.window(&[("temp", 0.0), ("hum", 0.0), ("wind", 0.0)]);
    assert_eq!(said(&over), ["oncall resolved: FeatureDrift is over for temp and wind"]);
}

#[test]
fn what_is_over_before_anyone_was_told_is_never_told() {
    let mut story = Story::with(|route| route.group_wait = MINUTES(5));
    story.window(&[("temp", 0.3)]);
    assert_eq!(said(&story.window(&[("temp", 0.0)])), [""; 0]);
    assert_eq!(said(&story.wait(10)), [""; 0]);
    assert!(story.groups.is_empty());
}

#[test]
fn nobody_answers_so_the_next_one_is_told() {
    let escalate = |route: &mut Route| {
        route.repeat_interval = MINUTES(600);
        route.escalate = vec![
            Escalation { after: MINUTES(30), receivers: vec!["lead".to_owned()] },
            Escalation { after: MINUTES(60), receivers: vec!["head".to_owned()] },
        ];
    };
    let mut story = Story::with(escalate);
    story.window(&[("temp", 0.3)]);
    assert_eq!(said(&story.wait(29)), [""; 0]);
    assert_eq!(said(&story.wait(1)), ["lead escalated: not acknowledged for 30m: temp drifted: PSI 0.30"]);
    assert_eq!(said(&story.wait(5)), [""; 0]);
    let key = story.group().key.clone();
    story.ack(AckTarget::Group { key });
    assert_eq!(said(&story.wait(1000)), [""; 0], "no step and no repeat after an acknowledgement");
    let more = story.window(&[("temp", 0.3), ("hum", 0.2)]);
    let expected = "changed: hum drifted: PSI 0.20; still firing: temp";
    assert_eq!(said(&more), [format!("lead {expected}"), format!("oncall {expected}")], "news are told");
    let over = story.window(&[("temp", 0.0), ("hum", 0.0)]);
    let told: Vec<_> = over.iter().map(|message| message.receiver.as_str()).collect();
    assert_eq!(told, ["lead", "oncall"], "who was told of the start is told of the end");

    // After an outage both steps are taken, each once.
    let mut story = Story::with(escalate);
    story.window(&[("temp", 0.3)]);
    let told: Vec<_> = story.wait(70).into_iter().map(|message| message.receiver).collect();
    assert_eq!(told, ["lead", "head"]);
}

#[test]
fn an_acknowledged_alert_does_not_quiet_its_neighbours() {
    let mut story = Story::with(|route| route.repeat_interval = MINUTES(60));
    story.window(&[("temp", 0.3), ("hum", 0.5)]);
    let target = |story: &Story, subject: &str| {
        let alert = story.alerts.iter().find(|alert| alert.subject == subject).unwrap();
        AckTarget::Alert {
            fingerprint: alert.fingerprint.clone(),
            since: alert.state.firing_since().unwrap(),
        }
    };
    story.ack(target(&story, "temp"));
    assert_eq!(story.wait(60).len(), 1);
    story.ack(target(&story, "hum"));
    assert_eq!(said(&story.wait(60)), [""; 0]);
    // Another firing of the same alert is another matter.
    story.window(&[("temp", 0.0), ("hum", 0.0)]);
    assert_eq!(story.window(&[("temp", 0.3), ("hum", 0.5)]).len(), 1);
    assert_eq!(story.wait(60).len(), 1);
}

#[test]
fn a_silence_keeps_an_alert_from_being_told_until_it_ends() {
    let mut story = Story::with(|_| ());
    story.silence("subject=temp", 60);
    assert_eq!(said(&story.window(&[("temp", 0.3), ("hum", 0.2)])), ["oncall began: hum drifted: PSI 0.20"]);
    let Happening::Suppressed { why } = &story.events[0].happening else { panic!("{:?}", story.events) };
    assert_eq!(why.sentence(), "silenced by ann until 2025-06-15 16:00 UTC: deploy");
    assert_eq!(story.group().next_at, Some(story.now + TimeDelta::minutes(60)));
    let expected = "oncall changed: temp drifted: PSI 0.30; still firing: hum";
    assert_eq!(said(&story.wait(60)), [expected]);
    assert!(story.events.iter().any(|event| event.happening == Happening::Released));
    // Told, then silenced: no repeats, but its end is told, so that no incident stays open.
    story.silence("model=bike-demand", 60 * 100);
    assert_eq!(said(&story.wait(60 * 48)), [""; 0]);
    let over = story.window(&[("temp", 0.0), ("hum", 0.0)]);
    assert_eq!(said(&over), ["oncall resolved: FeatureDrift is over for hum and temp"]);
}

#[test]
fn a_silenced_alert_that_resolves_meanwhile_is_never_told() {
    let mut story = Story::with(|_| ());
    story.silence("subject=temp", 60);
    assert_eq!(said(&story.window(&[("temp", 0.3)])), [""; 0]);
    assert_eq!(said(&story.window(&[("temp", 0.0)])), [""; 0]);
    assert_eq!(said(&story.wait(120)), [""; 0]);
    assert!(story.groups.is_empty());
}

#[test]
fn a_cause_quiets_its_consequences() {
    let mut story = Story::with(|_| ());
    let dead = |index| {
        let mut report = report_at(index, &[("temp", 0.3)]);
        report.losses.kept = 100;
        report.losses.dropped.insert("queue_full".to_owned(), 910);
        report
    };
    let told = story.judge(dead(0));
    assert_eq!(told[0].alerts.len(), 1, "{told:?}");
    assert_eq!(told[0].alerts[0].rule, "Lost");
    let Happening::Suppressed { why } = &story.events[0].happening else { panic!("{:?}", story.events) };
    assert_eq!(why.sentence(), "inhibited by Lost of bike-demand");
    // The cause is over and the drift is still there: now it is told.
    let told = story.window(&[("temp", 0.3)]);
    assert_eq!(said(&told), ["oncall changed: temp drifted: PSI 0.30; Lost is over for bike-demand"]);
    // Without the shipped inhibition both are told.
    let mut story = Story::with(|_| ());
    story.routing.inhibitions.clear();
    assert_eq!(story.judge(dead(0))[0].alerts.len(), 2);
    // Of another model it says nothing.
    let mut story = Story::with(|_| ());
    story.judge(dead(0));
    story.alerts[0].model = ModelName::parse("other").unwrap();
    story.alerts[1].model = ModelName::parse("another").unwrap();
    story.groups.clear();
    assert_eq!(story.look().len(), 2);
    // What is cause and consequence at once is told.
    let both = vec![Matcher::parse("model=~.+").unwrap()];
    let inhibition = Inhibition { source: both.clone(), target: both, equal: Vec::new() };
    let mut story = Story::with(|_| ());
    story.routing.inhibitions = vec![inhibition];
    assert_eq!(story.judge(dead(0))[0].alerts.len(), 2);
}

#[test]
fn maintenance_is_waited_out() {
    let window = |matchers: &[&str]| Maintenance {
        name: "nights".to_owned(),
        matchers: matchers.iter().map(|text| Matcher::parse(text).unwrap()).collect(),
        weekdays: Vec::new(),
        times: vec![(14 * 60, 16 * 60)],
        dates: Vec::new(),
        zone: chrono::FixedOffset::east_opt(0).unwrap(),
    };
    // The first window ends at 15:00.
    let mut muted = Story::with(|route| route.mute = vec!["nights".to_owned()]);
    muted.routing.maintenance = vec![window(&[])];
    let mut matched = Story::with(|_| ());
    matched.routing.maintenance = vec![window(&["severity=warning"])];
    for mut story in [muted, matched] {
        assert_eq!(said(&story.window(&[("temp", 0.3)])), [""; 0]);
        assert_eq!(story.group().next_at, Some(story.now + TimeDelta::minutes(1)));
        assert_eq!(said(&story.wait(59)), [""; 0]);
        assert_eq!(said(&story.wait(1)), ["oncall began: temp drifted: PSI 0.30"]);
    }
    let mut unnamed = Story::with(|_| ());
    unnamed.routing.maintenance = vec![window(&[])];
    assert_eq!(
        unnamed.window(&[("temp", 0.3)]).len(),
        1,
        "a window without matchers mutes only where it is named"
    );
}

/// A tree: critical ones to `pager` and on, drift to `chat` by rule, the rest to `oncall`.
fn tree() -> Routing {
    let route = |id: &str, matcher: &str, receiver: &str| Route {
        id: id.to_owned(),
        matchers: vec![Matcher::parse(matcher).unwrap()],
        receivers: vec![receiver.to_owned()],
        ..Route::default()
    };
    let mut routing = Routing::to(&["oncall".to_owned()]);
    let by_rule = GroupBy::Labels(BTreeSet::from(["model".to_owned(), "rule".to_owned()]));
    routing.root.routes = vec![
        Route { goes_on: true, ..route("a", "severity=critical", "pager") },
        Route { group_by: by_rule, ..route("b", "about=drift", "chat") },
        route("c", "about=drift", "never"),
    ];
    routing.root.routes[0].routes = vec![route("a/1", "rule=Nothing", "nobody")];
    routing
}

#[test]
fn routes_lead_where_the_labels_say() {
    let mut story = Story::new(tree());
    let mut report = report_at(0, &[("temp", 0.3), ("count", 0.2)]);
    report.losses.kept = 100;
    report.losses.dropped.insert("queue_full".to_owned(), 910);
    story.routing.inhibitions.clear();
    let told: BTreeMap<String, Vec<String>> = story
        .judge(report)
        .into_iter()
        .map(|message| {
            let rules = message.alerts.iter().map(|notice| notice.rule.clone()).collect();
            (
                format!(
                    "{} {}",
                    message.receiver,
                    message.group.labels.values().cloned().collect::<Vec<_>>().join(" ")
                ),
                rules,
            )
        })
        .collect();
    let expected = BTreeMap::from([
        ("pager bike-demand".to_owned(), vec!["Lost".to_owned(), "OutputDrift".to_owned()]),
        ("chat bike-demand FeatureDrift".to_owned(), vec!["FeatureDrift".to_owned()]),
        ("chat bike-demand OutputDrift".to_owned(), vec!["OutputDrift".to_owned()]),
    ]);
    assert_eq!(told, expected);
    // A rule's own receivers go before the tree.
    for alert in &mut story.alerts {
        alert.receivers = vec!["own".to_owned()];
    }
    let told: BTreeSet<_> =
        story.look().into_iter().map(|m| (m.receiver, m.status == Status::Resolved)).collect();
    let expected =
        [("chat", true), ("own", false), ("pager", true)].map(|(name, over)| (name.to_owned(), over));
    assert_eq!(told, BTreeSet::from(expected), "who no longer gets it is told that it is over here");
}

#[test]
fn labels_that_no_alert_has_are_found() {
    let mut routing = tree();
    let place = Problem { path: "driftline.yaml".to_owned(), line: 7, message: "`group_by`: ".to_owned() };
    let rules = Story::new(tree()).rules;
    for (label, expected) in [
        ("severity", None),
        ("about", None),
        ("subject", None),
        (
            "severty",
            Some("driftline.yaml:7: `group_by`: no alert has the label `severty`, did you mean `severity`?"),
        ),
    ] {
        routing.named = vec![(label.to_owned(), place.clone())];
        let found = routing.check_labels(&rules).err().map(|problems| problems[0].to_string());
        assert_eq!(found.as_deref(), expected, "{label}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever happens in whatever order: a firing alert is in one group of each of its routes, and once all waits
    /// are over its receivers know of it, or its group says why not.
    #[test]
    fn every_firing_alert_is_told_or_suppressed_with_a_reason(
        steps in prop::collection::vec((0_u8..8, 0.0_f64..0.3, 0.0_f64..0.3, 0.0_f64..0.3, 1_i64..90), 1..12),
    ) {
        let mut story = Story::new(tree());
        for route in &mut story.routing.root.routes {
            route.group_wait = MINUTES(7);
            route.group_interval = MINUTES(11);
        }
        let mut known: BTreeMap<(String, String), Status> = BTreeMap::new();
        for (what, temp, hum, count, minutes) in steps {
            match what {
                0 => story.silence("subject=temp", minutes),
                1 => story.silence("severity=critical", minutes),
                2 => if let Some(group) = story.groups.values().next() {
                    let key = group.key.clone();
                    story.ack(AckTarget::Group { key });
                },
                _ => {}
            }
            let mut messages = story.window(&[("temp", temp), ("hum", hum), ("count", count)]);
            messages.extend(story.wait(minutes));
            // All timers, one after the other.
            for _ in 0..4 {
                messages.extend(story.wait(12));
            }
            for message in &messages {
                for notice in &message.alerts {
                    known.insert((message.group.key.clone(), notice.fingerprint.clone()), notice.status);
                }
            }
            for alert in story.alerts.iter().filter(|alert| alert.state.firing_since().is_some()) {
                let labels = labels(alert);
                for way in story.routing.ways(&labels, &alert.receivers) {
                    let of_route: Vec<_> = story.groups.values()
                        .filter(|group| group.route == way.id && group.members.contains_key(&alert.fingerprint))
                        .collect();
                    prop_assert_eq!(of_route.len(), 1);
                    let member = &of_route[0].members[&alert.fingerprint];
                    prop_assert!(member.told || member.suppressed.is_some(), "{:?}", member);
                    if member.told {
                        let status = known.get(&(of_route[0].key.clone(), alert.fingerprint.clone()));
                        prop_assert_eq!(status, Some(&Status::Firing));
                    }
                }
            }
        }
        // All over: nobody is left with an alert that seems to fire.
        let mut messages = story.window(&[("temp", 0.0), ("hum", 0.0), ("count", 0.0)]);
        messages.extend(story.wait(24 * 60));
        for message in &messages {
            for notice in &message.alerts {
                known.insert((message.group.key.clone(), notice.fingerprint.clone()), notice.status);
            }
        }
        prop_assert!(known.values().all(|status| *status == Status::Resolved), "{:?}", known);
        prop_assert!(story.groups.is_empty());
    }
}
