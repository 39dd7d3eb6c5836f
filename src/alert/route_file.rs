//! Routes, inhibitions and maintenance windows as the settings have them, checked: every problem with its line.

use std::collections::BTreeSet;
use std::time::Duration;

use super::hold::parse_duration;
use super::inhibit::Inhibition;
use super::matcher::{Matcher, all_match};
use super::mute::{Maintenance, parse_dates, parse_times, parse_weekdays, parse_zone};
use super::route::{Escalation, GroupBy, Route, Routing};
use crate::yaml::{Fields, Node, Problem, Reader, Yaml, hint};

const ROUTE_KEYS: [&str; 11] = [
    "receiver",
    "receivers",
    "matchers",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "escalate",
    "mute",
    "continue",
    "routes",
];
const ESCALATION_KEYS: [&str; 2] = ["after", "receivers"];
const INHIBITION_KEYS: [&str; 3] = ["source", "target", "equal"];
const WINDOW_KEYS: [&str; 6] = ["name", "matchers", "weekdays", "times", "dates", "zone"];

/// Most entries of one list.
const MAX_ENTRIES: usize = 1_000;

/// Shortest `repeat_interval`: less is a loop, not a reminder.
const SHORTEST_REPEAT: Duration = Duration::from_mins(1);

/// The parts of the settings that say who is told what; absent ones mean what ships.
#[derive(Debug, Clone, Default)]
pub struct RoutingSections {
    /// `route`.
    pub(crate) route: Option<Node>,
    /// `inhibit`.
    pub(crate) inhibit: Option<Node>,
    /// `maintenance`.
    pub(crate) maintenance: Option<Node>,
}

impl RoutingSections {
    /// Reads and checks the sections of the settings at `path`; `receivers` are the configured ones.
    ///
    /// Labels are checked by [`Routing::check_labels`], once the rules are known.
    ///
    /// # Errors
    ///
    /// Every problem, by line.
    pub fn read(&self, path: &str, receivers: &[String]) -> Result<Routing, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut reading = Reading {
            reader: Reader { path, context: String::new(), problems: &mut problems },
            receivers,
            windows: Vec::new(),
            muting: BTreeSet::new(),
            named: Vec::new(),
        };
        if let Some(node) = &self.maintenance {
            reading.maintenance(node);
        }
        let root = Route { receivers: receivers.to_vec(), ..Route::default() };
        let root = match &self.route {
            Some(node) => reading.route(node, &root, "`route`", true),
            None => root,
        };
        let inhibitions = match &self.inhibit {
            Some(node) => reading.inhibitions(node),
            None => Inhibition::shipped(),
        };
        reading.unused_windows();
        let maintenance = reading.windows.into_iter().map(|(_, window)| window).collect();
        let named = reading.named;
        problems.sort();
        if problems.is_empty() {
            Ok(Routing { root, inhibitions, maintenance, named })
        } else {
            Err(problems)
        }
    }
}

struct Reading<'a> {
    reader: Reader<'a>,
    receivers: &'a [String],
    windows: Vec<(u64, Maintenance)>,
    /// Windows that a route names.
    muting: BTreeSet<String>,
    named: Vec<(String, Problem)>,
}

impl Reading<'_> {
    /// A route; what it does not say it takes from `above`, but for `matchers`, `mute`, `continue` and `routes`.
    fn route(&mut self, node: &Node, above: &Route, what: &str, is_root: bool) -> Route {
        let mut route = Route {
            matchers: Vec::new(),
            mute: Vec::new(),
            goes_on: false,
            routes: Vec::new(),
            ..above.clone()
        };
        let Some(fields) = self.reader.fields(node, what, &ROUTE_KEYS) else { return route };
        if let Some(matchers) = fields.get("matchers") {
            route.matchers = self.matchers(matchers, "matchers");
            if is_root {
                self.reader.problem(
                    matchers.line,
                    "`matchers`: every alert takes the first route; match in `routes`",
                );
            }
        } else if !is_root {
            self.reader.problem(node.line, format!("expected `matchers` in {what}"));
        }
        if !is_root {
            let matchers: Vec<String> = route.matchers.iter().map(ToString::to_string).collect();
            route.id = format!("{}/{{{}}}", above.id, matchers.join(","));
        }
        self.who(node, &fields, &mut route);
        if let Some(group_by) = fields.get("group_by") {
            route.group_by = self.group_by(group_by);
        }
        for (key, time) in [
            ("group_wait", &mut route.group_wait),
            ("group_interval", &mut route.group_interval),
            ("repeat_interval", &mut route.repeat_interval),
        ] {
            let Some(node) = fields.get(key) else { continue };
            let Some(read) = self.reader.value(node, key, parse_duration) else { continue };
            if key == "repeat_interval" && read < SHORTEST_REPEAT {
                self.reader.problem(node.line, "`repeat_interval`: expected at least 1m");
            }
            *time = read;
        }
        if let Some(steps) = fields.get("escalate") {
            route.escalate = self.escalation(steps);
        }
        if let Some(mute) = fields.get("mute") {
            route.mute = self.mute(mute);
        }
        if let Some(node) = fields.get("continue") {
            let read = self.reader.value(node, "continue", |text| {
                text.parse::<bool>().map_err(|_| format!("expected `true` or `false`, found `{text}`"))
            });
            route.goes_on = read.unwrap_or_default();
        }
        if let Some(routes) = fields.get("routes") {
            self.routes(routes, &mut route);
        }
        route
    }

    fn routes(&mut self, node: &Node, above: &mut Route) {
        let mut seen = BTreeSet::new();
        for (index, node) in self.entries(node, "`routes`").iter().enumerate() {
            let mut route = self.route(node, above, "a route", false);
            // Two routes with the same matchers, the first of which goes on, keep groups of their own.
            if !seen.insert(route.id.clone()) {
                route.id = format!("{}#{index}", route.id);
                for below in &mut route.routes {
                    below.id = format!("{}#{index}", below.id);
                }
            }
            above.routes.push(route);
        }
    }

    /// `receiver` or `receivers`.
    fn who(&mut self, node: &Node, fields: &Fields<'_>, route: &mut Route) {
        match (fields.get("receiver"), fields.get("receivers")) {
            (Some(_), Some(_)) => {
                self.reader.problem(node.line, "expected either `receiver` or `receivers`, found both");
            }
            (Some(one), None) => route.receivers = self.receiver(one, "receiver").into_iter().collect(),
            (None, Some(many)) => route.receivers = self.receivers(many),
            (None, None) => {}
        }
    }

    fn receivers(&mut self, node: &Node) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for entry in self.entries(node, "`receivers`") {
            let Some(name) = self.receiver(entry, "receivers") else { continue };
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    }

    fn receiver(&mut self, node: &Node, key: &str) -> Option<String> {
        let name = self.reader.text(node, key)?;
        if !self.receivers.iter().any(|known| known == name) {
            let near = hint(name, self.receivers.iter().map(String::as_str));
            self.reader.problem(
                node.line,
                format!("`{key}`: receiver `{name}` is not among the settings' receivers{near}"),
            );
        }
        Some(name.to_owned())
    }

    fn group_by(&mut self, node: &Node) -> GroupBy {
        let mut labels = BTreeSet::new();
        // An empty list is meant: everything in one group.
        if matches!(&node.value, Yaml::List(items) if items.is_empty()) {
            return GroupBy::Labels(labels);
        }
        for entry in self.entries(node, "`group_by`") {
            let Some(label) = self.reader.text(entry, "group_by") else { continue };
            if label == "..." {
                return GroupBy::All;
            }
            self.name_label(label, entry.line, "`group_by`: ");
            labels.insert(label.to_owned());
        }
        GroupBy::Labels(labels)
    }

    fn escalation(&mut self, node: &Node) -> Vec<Escalation> {
        if matches!(&node.value, Yaml::List(items) if items.is_empty()) {
            return Vec::new();
        }
        let mut steps: Vec<Escalation> = Vec::new();
        for entry in self.entries(node, "`escalate`") {
            let Some(fields) = self.reader.fields(entry, "a step of `escalate`", &ESCALATION_KEYS) else {
                continue;
            };
            let after = fields.required(&mut self.reader, "after");
            let after = after.and_then(|node| self.reader.value(node, "after", parse_duration));
            let receivers = fields.required(&mut self.reader, "receivers").map(|node| self.receivers(node));
            let Some((after, receivers)) = after.zip(receivers) else { continue };
            if steps.last().is_some_and(|last| last.after >= after) || after.is_zero() {
                self.reader
                    .problem(entry.line, "`after`: expected more than 0, and more than in the step before");
            }
            steps.push(Escalation { after, receivers });
        }
        steps
    }

    fn mute(&mut self, node: &Node) -> Vec<String> {
        let mut names = Vec::new();
        for entry in self.entries(node, "`mute`") {
            let Some(name) = self.reader.text(entry, "mute") else { continue };
            if !self.windows.iter().any(|(_, window)| window.name == name) {
                let near = hint(name, self.windows.iter().map(|(_, window)| window.name.as_str()));
                self.reader
                    .problem(entry.line, format!("`mute`: there is no maintenance window `{name}`{near}"));
            }
            self.muting.insert(name.to_owned());
            names.push(name.to_owned());
        }
        names
    }

    fn inhibitions(&mut self, node: &Node) -> Vec<Inhibition> {
        if matches!(&node.value, Yaml::List(items) if items.is_empty()) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for entry in self.entries(node, "`inhibit`") {
            let Some(fields) = self.reader.fields(entry, "an inhibition", &INHIBITION_KEYS) else { continue };
            let source =
                fields.required(&mut self.reader, "source").map(|node| self.matchers(node, "source"));
            let target =
                fields.required(&mut self.reader, "target").map(|node| self.matchers(node, "target"));
            let mut equal = Vec::new();
            for entry in fields.get("equal").map(|node| self.entries(node, "`equal`")).unwrap_or_default() {
                let Some(label) = self.reader.text(entry, "equal") else { continue };
                self.name_label(label, entry.line, "`equal`: ");
                equal.push(label.to_owned());
            }
            let Some((source, target)) = source.zip(target) else { continue };
            found.push(Inhibition { source, target, equal });
        }
        found
    }

    fn maintenance(&mut self, node: &Node) {
        for entry in self.entries(node, "`maintenance`") {
            let Some(fields) = self.reader.fields(entry, "a maintenance window", &WINDOW_KEYS) else {
                continue;
            };
            let name = fields.required(&mut self.reader, "name");
            let Some(name) = name.and_then(|node| self.reader.text(node, "name")) else { continue };
            if self.windows.iter().any(|(_, window)| window.name == name) {
                self.reader.problem(entry.line, format!("`maintenance`: `{name}` is there twice"));
            }
            let weekdays = self.each(&fields, "weekdays", parse_weekdays).into_iter().flatten().collect();
            let zone = fields.get("zone").and_then(|node| self.reader.value(node, "zone", parse_zone));
            let Some(zone) = zone.or_else(|| parse_zone("UTC").ok()) else { continue };
            let window = Maintenance {
                name: name.to_owned(),
                matchers: fields
                    .get("matchers")
                    .map(|node| self.matchers(node, "matchers"))
                    .unwrap_or_default(),
                weekdays,
                times: self.each(&fields, "times", parse_times),
                dates: self.each(&fields, "dates", parse_dates),
                zone,
            };
            if window.weekdays.is_empty() && window.times.is_empty() && window.dates.is_empty() {
                self.reader.problem(
                    entry.line,
                    format!("`{name}` would last for ever: expected `weekdays`, `times` or `dates`"),
                );
            }
            self.windows.push((entry.line, window));
        }
    }

    /// A window that nothing refers to is a mistake, and not a quiet one.
    fn unused_windows(&mut self) {
        for (line, window) in &self.windows {
            if window.matchers.is_empty() && !self.muting.contains(&window.name) {
                let name = &window.name;
                self.reader.problem(
                    *line,
                    format!("maintenance window `{name}` mutes nothing: give it `matchers`, or name it in `mute` of a route"),
                );
            }
        }
    }

    fn each<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let entries = self.entries(node, &format!("`{key}`"));
        entries.iter().filter_map(|entry| self.reader.value(entry, key, &read)).collect()
    }

    fn matchers(&mut self, node: &Node, key: &str) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        for entry in self.entries(node, &format!("`{key}`")) {
            let Some(matcher) = self.reader.value(entry, key, Matcher::parse) else { continue };
            self.name_label(matcher.label(), entry.line, &format!("`{key}`: "));
            matchers.push(matcher);
        }
        if !matchers.is_empty() && all_match(&matchers, &std::collections::BTreeMap::new()) {
            self.reader.problem(
                node.line,
                format!("`{key}`: every alert matches; one has to ask for more than an absent label"),
            );
        }
        matchers
    }

    /// Notes a label, to be looked up once the rules are known.
    fn name_label(&mut self, label: &str, line: u64, message: &str) {
        let place = Problem { path: self.reader.path.to_owned(), line, message: message.to_owned() };
        self.named.push((label.to_owned(), place));
    }

    fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        let entries = self.reader.list(node, what);
        if entries.len() > MAX_ENTRIES {
            self.reader.problem(node.line, format!("expected at most {MAX_ENTRIES} entries in {what}"));
            return &[];
        }
        entries
    }
}

#[cfg(test)]
#[path = "route_file_tests.rs"]
mod tests;
