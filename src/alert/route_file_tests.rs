//! Tests of the settings' routes, inhibitions and maintenance windows.

use super::*;
use crate::yaml;

/// Reads the three sections of a document.
fn read(text: &str) -> Result<Routing, Vec<String>> {
    let root = yaml::parse(text).unwrap();
    let Yaml::Map(entries) = root.value else { panic!("{text}") };
    let section = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node.clone());
    let sections = RoutingSections {
        route: section("route"),
        inhibit: section("inhibit"),
        maintenance: section("maintenance"),
    };
    let receivers = ["chat", "lead", "oncall"].map(str::to_owned);
    sections
        .read("driftline.yaml", &receivers)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

const GOOD: &str = r#"
route:
  receiver: oncall
  group_by: [model, severity]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
  escalate: [{after: 30m, receivers: [lead]}]
  routes:
    - matchers: ['severity="critical"', model=~"fraud.*"]
      receivers: [lead, oncall]
      continue: true
      routes:
        - {matchers: [rule=X], repeat_interval: 1h, escalate: []}
    - matchers: [about=drift]
      receiver: chat
      group_by: ['...']
      mute: [weekend]
    - matchers: [about=drift]
inhibit:
  - {source: [severity=critical], target: [severity=warning], equal: [model]}
maintenance:
  - {name: weekend, weekdays: [sat-sun], zone: +01:00}
  - {name: nights, times: ['22:00-06:00'], matchers: [severity=info]}
"#;

#[test]
fn a_tree_is_read_and_routes_take_from_those_above() {
    let routing = read(GOOD).unwrap();
    let root = &routing.root;
    assert_eq!((root.id.as_str(), &root.receivers[..]), ("{}", &["oncall".to_owned()][..]));
    assert_eq!(root.repeat_interval, Duration::from_hours(4));
    let first = &root.routes[0];
    assert_eq!(first.id, r#"{}/{severity="critical",model=~"fraud.*"}"#);
    assert!(first.goes_on && first.group_wait == Duration::from_secs(30) && first.escalate.len() == 1);
    let below = &first.routes[0];
    assert_eq!(below.id, r#"{}/{severity="critical",model=~"fraud.*"}/{rule="X"}"#);
    assert_eq!(
        (below.repeat_interval, below.group_interval),
        (Duration::from_hours(1), Duration::from_mins(5))
    );
    assert!(below.escalate.is_empty() && !below.goes_on && below.receivers == ["lead", "oncall"]);
    assert_eq!(
        (root.routes[1].group_by.clone(), &root.routes[1].mute[..]),
        (GroupBy::All, &["weekend".to_owned()][..])
    );
    assert!(root.routes[2].mute.is_empty());
    assert_ne!(root.routes[1].id, root.routes[2].id);
    assert_eq!((routing.inhibitions.len(), routing.maintenance.len()), (1, 2));
    assert!(routing.keeps_models_apart());
}

#[test]
fn what_is_not_said_is_what_ships() {
    let routing = read("other: 1").unwrap();
    assert_eq!(routing, Routing::to(&["chat", "lead", "oncall"].map(str::to_owned)));
    assert_eq!(routing.inhibitions.len(), 1);
    let routing = read("inhibit: []\nroute: {group_by: []}").unwrap();
    assert!(routing.inhibitions.is_empty() && !routing.keeps_models_apart());
    assert!(!read("inhibit: [{source: [a=b], target: [c=d]}]").unwrap().keeps_models_apart());
}

#[test]
fn every_problem_is_reported_with_its_line() {
    for (text, expected) in [
        ("route: {reciever: oncall}", "1: unknown key `reciever` in `route`, did you mean `receiver`?"),
        (
            "route:\n  receiver: onecall",
            "2: `receiver`: receiver `onecall` is not among the settings' receivers, did you mean `oncall`?",
        ),
        (
            "route: {receiver: chat, receivers: [chat]}",
            "1: expected either `receiver` or `receivers`, found both",
        ),
        ("route: {matchers: [a=b]}", "1: `matchers`: every alert takes the first route; match in `routes`"),
        ("route:\n  routes:\n    - receiver: chat", "3: expected `matchers` in a route"),
        (
            "route:\n  routes:\n    - matchers: [severity]",
            "3: `matchers`: expected a matcher such as severity=\"critical\", found `severity`",
        ),
        (
            "route: {routes: [{matchers: [model=~.*]}]}",
            "1: `matchers`: every alert matches; one has to ask for more than an absent label",
        ),
        (
            "route: {group_wait: soon}",
            "1: `group_wait`: expected a duration such as 30s, 5m, 1h or 30d, found `soon`",
        ),
        ("route: {repeat_interval: 1s}", "1: `repeat_interval`: expected at least 1m"),
        (
            "route: {routes: [{matchers: [a=b], continue: maybe}]}",
            "1: `continue`: expected `true` or `false`, found `maybe`",
        ),
        ("route: {escalate: [{after: 1h}]}", "1: expected `receivers` in a step of `escalate`"),
        (
            "route:\n  escalate:\n    - {after: 1h, receivers: [lead]}\n    - {after: 1h, receivers: [lead]}",
            "4: `after`: expected more than 0, and more than in the step before",
        ),
        (
            "maintenance:\n  - {name: night, times: ['22:00-06:00'], matchers: [a=b]}\nroute: {mute: [nights]}",
            "3: `mute`: there is no maintenance window `nights`, did you mean `night`?",
        ),
        (
            "maintenance:\n  - {name: night, times: ['22:00-06:00']}",
            "2: maintenance window `night` mutes nothing: give it `matchers`, or name it in `mute` of a route",
        ),
        (
            "maintenance: [{name: always, matchers: [a=b]}]",
            "1: `always` would last for ever: expected `weekdays`, `times` or `dates`",
        ),
        (
            "maintenance: [{name: w, weekdays: [caturday], matchers: [a=b]}]",
            "1: `weekdays`: expected a day such as `mon`, or days such as `mon-fri`, found `caturday`",
        ),
        (
            "maintenance: [{name: w, weekdays: [sat], zone: Europe/Berlin, matchers: [a=b]}]",
            "1: `zone`: expected `UTC` or an offset from it such as `+01:00`, found `Europe/Berlin`; zones with summer time are not known",
        ),
        ("inhibit: [{source: [a=b]}]", "1: expected `target` in an inhibition"),
    ] {
        let problems = read(text).expect_err(text);
        assert!(problems.contains(&format!("driftline.yaml:{expected}")), "{text}\n{problems:#?}");
    }
}
