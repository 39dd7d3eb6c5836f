//! What differs between two sets of rules.

use std::collections::BTreeMap;
use std::fmt;

use super::rule::{Rule, RuleSet};

/// Most names that are told of each kind of change.
const MAX_NAMED: usize = 20;

/// Rules by name, with the model where they are for one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleChanges {
    /// Rules that are new.
    pub added: Vec<String>,
    /// Rules that say something else.
    pub changed: Vec<String>,
    /// Rules that are gone.
    pub removed: Vec<String>,
}

impl RuleChanges {
    /// Compares the rules in force with those that follow; a rule that only moved, within its file or to another one, is
    /// the same.
    pub fn between(before: &RuleSet, after: &RuleSet) -> Self {
        let (before, after) = (by_name(before), by_name(after));
        let mut changes = Self::default();
        for (name, rule) in &after {
            match before.get(name) {
                None => changes.added.push(name.clone()),
                Some(earlier) if !says_the_same(earlier, rule) => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        changes.removed = before.into_keys().filter(|name| !after.contains_key(name)).collect();
        changes
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for RuleChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (word, names) in [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)]
        {
            if names.is_empty() {
                continue;
            }
            let shown = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{word} {shown}{more}"));
        }
        if parts.is_empty() { f.write_str("nothing changed") } else { f.write_str(&parts.join("; ")) }
    }
}

fn by_name(rules: &RuleSet) -> BTreeMap<String, &Rule> {
    let name = |rule: &Rule| match &rule.model {
        Some(model) => format!("{} of {model}", rule.name),
        None => rule.name.clone(),
    };
    rules.rules.iter().map(|rule| (name(rule), rule)).collect()
}

fn says_the_same(before: &Rule, after: &Rule) -> bool {
    let moved = Rule {
        path: before.path.clone(),
        line: before.line,
        receivers_line: before.receivers_line,
        ..after.clone()
    };
    moved == *before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, rules: &[(&str, &str)]) -> RuleSet {
        let line = |(name, expression): &(&str, &str)| {
            format!("  - {{alert: {name}, for_each: model, expr: '{expression}'}}\n")
        };
        let text = format!("groups:\n- name: g\n  rules:\n{}", rules.iter().map(line).collect::<String>());
        RuleSet::parse(&[(path.to_owned(), text)]).unwrap()
    }

    #[test]
    fn what_was_added_changed_and_removed_is_named() {
        let before = rules("a.yaml", &[("Kept", "rows > 1"), ("Changed", "rows > 1"), ("Gone", "rows > 1")]);
        let after = rules("b.yaml", &[("New", "rows > 1"), ("Changed", "rows > 2"), ("Kept", "rows > 1")]);
        let changes = RuleChanges::between(&before, &after);
        assert_eq!(changes.to_string(), "added New; changed Changed; removed Gone");
        assert!(RuleChanges::between(&before, &rules("c.yaml", &[("Gone", "rows > 1")])).added.is_empty());
    }

    #[test]
    fn a_rule_that_only_moved_is_the_same() {
        let before = rules("a.yaml", &[("A", "rows > 1"), ("B", "rows > 1")]);
        let after = rules("b.yaml", &[("B", "rows > 1"), ("A", "rows > 1")]);
        let changes = RuleChanges::between(&before, &after);
        assert!(changes.is_empty());
        assert_eq!(changes.to_string(), "nothing changed");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..MAX_NAMED + 3).map(|index| format!("R{index:02}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "rows > 1")).collect();
        let text = RuleChanges::between(&RuleSet::default(), &rules("a.yaml", &many)).to_string();
        assert!(text.ends_with("R19 and 3 more"), "{text}");
    }
}
