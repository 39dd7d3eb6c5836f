//! The shape of a rule file: groups, rules and their keys.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expression::Expression;
use super::hold::{Hold, parse_budget, parse_duration};
use super::retrain::{RetrainMode, RetrainPolicy};
use super::rule::{Rule, Watch};
use super::rule_text;
use super::state::HoldTimes;
use super::template::Template;
use super::vocabulary::{ForEach, Names};
use crate::model::ModelName;
use crate::yaml::{Fields, Node, Problem, Reader, Yaml, hint, parse};

const GROUP_KEYS: [&str; 3] = ["name", "model", "rules"];
const RULE_KEYS: [&str; 11] = [
    "alert",
    "for_each",
    "expr",
    "every",
    "over",
    "for",
    "keep_firing_for",
    "labels",
    "annotations",
    "receivers",
    "retrain",
];
const RETRAIN_KEYS: [&str; 4] = ["mode", "cooldown", "budget", "min_labels"];

/// Longest name of a rule, group, label or receiver, in characters.
const MAX_NAME: usize = 128;
/// Most rules of one file.
const MAX_RULES: usize = 10_000;
/// Shortest `every` and `over`, and what both are counted in: traffic is kept by the minute.
const MINUTE: Duration = Duration::from_mins(1);
/// Longest `every` and `over`: more traffic than that is read with a window.
const MAX_OVER: Duration = Duration::from_hours(1);

/// Adds the rules of one file, or its problems.
pub(super) fn read(path: &str, text: &str, rules: &mut Vec<Rule>, problems: &mut Vec<Problem>) {
    let mut reader = Reader { path, context: String::new(), problems };
    let root = match parse(text) {
        Ok(root) => root,
        Err((line, message)) => return reader.problem(line, format!("expected YAML: {message}")),
    };
    let Some(file) = reader.fields(&root, "a rule file", &["groups"]) else { return };
    let Some(groups) = file.required(&mut reader, "groups") else { return };
    let before = rules.len();
    for group in reader.list(groups, "`groups`") {
        reader.context.clear();
        reader.group(group, rules);
    }
    if rules.len() - before > MAX_RULES {
        rules.truncate(before);
        reader.context.clear();
        reader.problem(1, format!("expected at most {MAX_RULES} rules in a file"));
    }
}

impl Reader<'_> {
    /// A short name without control characters, so that it fits into a subject line or a log.
    fn name<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        let text = self.text(node, key)?;
        let fine = !text.trim().is_empty()
            && text.chars().count() <= MAX_NAME
            && !text.chars().any(char::is_control);
        if !fine {
            self.problem(
                node.line,
                format!(
                    "`{key}`: expected a name of 1 to {MAX_NAME} characters, none of them a control character"
                ),
            );
        }
        fine.then_some(text)
    }

    fn group(&mut self, node: &Node, rules: &mut Vec<Rule>) {
        let Some(fields) = self.fields(node, "a group", &GROUP_KEYS) else { return };
        let name = fields.required(self, "name").and_then(|node| self.name(node, "name")).unwrap_or("?");
        self.context = format!("group \"{name}\": ");
        let model = fields.get("model").and_then(|node| {
            let text = self.text(node, "model")?;
            self.keep(node.line, "model", ModelName::parse(text).map_err(|error| error.to_string()))
        });
        let Some(entries) = fields.required(self, "rules") else { return };
        for (index, entry) in self.list(entries, "`rules`").iter().enumerate() {
            self.context = format!("group \"{name}\", rule {}: ", index + 1);
            if let Some(rule) = self.rule(entry, name, model.as_ref()) {
                rules.push(rule);
            }
        }
    }

    fn rule(&mut self, node: &Node, group: &str, model: Option<&ModelName>) -> Option<Rule> {
        let named = |node: &Node| match &node.value {
            Yaml::Map(entries) => {
                entries.iter().find(|(key, _)| key.name == "alert").map(|(_, node)| node.clone())
            }
            _ => None,
        };
        if let Some(Node { value: Yaml::Scalar(name), .. }) = named(node) {
            self.context = format!("group \"{group}\", rule \"{name}\": ");
        }
        let fields = self.fields(node, "a rule", &RULE_KEYS)?;
        let name = fields.required(self, "alert").and_then(|node| self.name(node, "alert"));
        let for_each = fields.required(self, "for_each").and_then(|node| self.for_each(node));
        let watch = self.watch(&fields, for_each);
        let vocabulary = match &watch {
            Some(None) => for_each.map(Names::Window),
            Some(Some(_)) if for_each == Some(ForEach::Segment) => Some(Names::LookBySegment),
            Some(Some(_)) => Some(Names::Look),
            None => None,
        };
        let expr = fields.required(self, "expr");
        let expression = expr.zip(vocabulary).and_then(|(node, vocabulary)| {
            let text = self.text(node, "expr")?;
            self.keep(node.line, "expr", Expression::parse_with(text, vocabulary))
        });
        let watches = fields.get("every").is_some();
        let times = self.hold(&fields, "for", watches).zip(self.hold(&fields, "keep_firing_for", watches));
        let labels = self.texts(fields.get("labels"), "labels");
        let annotations = self
            .texts(fields.get("annotations"), "annotations")
            .into_iter()
            .filter_map(|(key, (line, text))| {
                let template = Template::parse_with(&text, vocabulary?);
                Some((key.clone(), self.keep(line, &format!("annotations.{key}"), template)?))
            })
            .collect();
        let receivers = fields.get("receivers");
        let receivers_line = receivers.map_or(node.line, |node| node.line);
        let receivers = receivers.map(|node| self.receivers(node)).unwrap_or_default();
        let retrain = fields.get("retrain").map(|node| self.retrain(node));
        let text = rule_text::write(node);
        if text.len() > rule_text::MAX_TEXT {
            self.problem(
                node.line,
                format!("expected at most {} bytes in a rule, found {}", rule_text::MAX_TEXT, text.len()),
            );
        }
        let (hold, keep_firing) = times?;
        Some(Rule {
            name: name?.to_owned(),
            group: group.to_owned(),
            model: model.cloned(),
            for_each: for_each?,
            expression: expression?,
            watch: watch?,
            times: HoldTimes { hold, keep_firing },
            labels: labels.into_iter().map(|(key, (_, text))| (key, text)).collect(),
            annotations,
            receivers,
            retrain: retrain.flatten(),
            hash: rule_text::hash(&text),
            text,
            path: self.path.to_owned(),
            line: node.line,
            receivers_line,
        })
    }

    /// `every` and `over`; none inside when the rule is judged with each window.
    #[expect(clippy::option_option, reason = "outside: refused; inside: not asked for")]
    fn watch(&mut self, fields: &Fields<'_>, for_each: Option<ForEach>) -> Option<Option<Watch>> {
        let Some(every) = fields.get("every") else {
            if let Some(over) = fields.get("over") {
                self.problem(over.line, "`over` is how far a rule with `every` looks back; add `every: 1m`");
                return None;
            }
            return Some(None);
        };
        let mut fine = true;
        if for_each.is_some_and(|for_each| !matches!(for_each, ForEach::Model | ForEach::Segment)) {
            let message = "`every`: between windows nothing is known of columns; expected `for_each: model`, or \
                           `for_each: segment` for performance";
            self.problem(every.line, message);
            fine = false;
        }
        if let Some(retrain) = fields.get("retrain") {
            let message =
                "`retrain` belongs to rules that are judged with a window; leave out `every` or `retrain`";
            self.problem(retrain.line, message);
            fine = false;
        }
        let every_span = self.minutes(every, "every");
        let over_span = fields.get("over").map_or(every_span, |over| {
            let span = self.minutes(over, "over")?;
            if every_span.is_some_and(|every| span < every) {
                self.problem(over.line, "`over`: expected no less than `every`, so that nothing is left out");
                return None;
            }
            Some(span)
        });
        let watch = Watch { every: every_span?, over: over_span? };
        fine.then_some(Some(watch))
    }

    /// A whole number of minutes, up to an hour.
    fn minutes(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let text = self.text(node, key)?;
        let span = self.keep(node.line, key, parse_duration(text))?;
        let whole = span.as_millis().is_multiple_of(MINUTE.as_millis());
        if !whole || span < MINUTE || span > MAX_OVER {
            self.problem(
                node.line,
                format!("`{key}`: expected whole minutes from 1m to 60m, found `{text}`"),
            );
            return None;
        }
        Some(span)
    }

    /// `for` or `keep_firing_for`.
    fn hold(&mut self, fields: &Fields<'_>, key: &str, watches: bool) -> Option<Hold> {
        let Some(node) = fields.get(key) else { return Some(Hold::default()) };
        let text = self.text(node, key)?;
        let hold = self.keep(node.line, key, Hold::parse(text))?;
        if key != "for" && matches!(hold, Hold::OutOf { .. }) {
            let message = format!(
                "`{key}`: so many of the last belong to `for`; expected `2w` or `5m`, found `{text}`"
            );
            self.problem(node.line, message);
            return None;
        }
        if watches && Hold::names_windows(text) {
            let message = format!(
                "`{key}`: a rule with `every` sees no windows; expected a duration such as `5m`, or `3 of 5` to count \
                 how often it looked, found `{text}`"
            );
            self.problem(node.line, message);
            return None;
        }
        Some(hold)
    }

    fn for_each(&mut self, node: &Node) -> Option<ForEach> {
        let text = self.text(node, "for_each")?;
        let words = [ForEach::Feature, ForEach::Output, ForEach::Segment, ForEach::Model];
        if let Some(found) = words.into_iter().find(|word| word.as_str() == text) {
            return Some(found);
        }
        let near = hint(text, ForEach::WORDS);
        let expected = "expected `feature`, `output`, `segment` or `model`";
        self.problem(node.line, format!("`for_each`: {expected}, found `{text}`{near}"));
        None
    }

    /// A mapping from names to texts, with the line of each text.
    fn texts(&mut self, node: Option<&Node>, key: &str) -> BTreeMap<String, (u64, String)> {
        let mut texts = BTreeMap::new();
        let Some(node) = node else { return texts };
        let Yaml::Map(entries) = &node.value else {
            self.problem(
                node.line,
                format!("`{key}`: expected names and texts, found {}", node.value.kind()),
            );
            return texts;
        };
        for (name, value) in entries {
            let place = format!("{key}.{}", name.name);
            if let Some(text) = self.text(value, &place) {
                texts.insert(name.name.clone(), (value.line, text.to_owned()));
            }
        }
        texts
    }

    fn receivers(&mut self, node: &Node) -> Vec<String> {
        let mut receivers: Vec<String> = Vec::new();
        for entry in self.list(node, "`receivers`") {
            let Some(name) = self.name(entry, "receivers") else { continue };
            if receivers.iter().any(|other| other == name) {
                self.problem(entry.line, format!("`receivers`: expected `{name}` once"));
            }
            receivers.push(name.to_owned());
        }
        receivers
    }

    fn retrain(&mut self, node: &Node) -> Option<RetrainPolicy> {
        let fields = self.fields(node, "`retrain`", &RETRAIN_KEYS)?;
        let mut policy = RetrainPolicy::default();
        if let Some(node) = fields.required(self, "mode") {
            let text = self.text(node, "retrain.mode")?;
            policy.mode = match text {
                "suggest" => RetrainMode::Suggest,
                "approve" => RetrainMode::Approve,
                "auto" => RetrainMode::Auto,
                other => {
                    let near = hint(other, ["suggest", "approve", "auto"]);
                    let message = format!(
                        "`retrain.mode`: expected `suggest`, `approve` or `auto`, found `{other}`{near}"
                    );
                    self.problem(node.line, message);
                    return None;
                }
            };
        }
        if let Some(node) = fields.get("cooldown") {
            let text = self.text(node, "retrain.cooldown")?;
            policy.cooldown = self.keep(node.line, "retrain.cooldown", parse_duration(text))?;
        }
        if let Some(node) = fields.get("budget") {
            let text = self.text(node, "retrain.budget")?;
            policy.budget = self.keep(node.line, "retrain.budget", parse_budget(text))?;
        }
        if let Some(node) = fields.get("min_labels") {
            let text = self.text(node, "retrain.min_labels")?;
            let number = text.parse().map_err(|_| format!("expected a whole number, found `{text}`"));
            policy.min_labels = self.keep(node.line, "retrain.min_labels", number)?;
        }
        Some(policy)
    }
}
