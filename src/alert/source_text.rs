//! The lines that a rule stands in, as its author wrote them: what a transition is judged by years later.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest text of a rule that is kept, in characters; a longer one is cut, and still told by its hash.
const MAX_TEXT: usize = 4_000;

/// The lines from `first` (from 1) up to the next entry of the list or the end of the group.
pub(super) fn of_rule(text: &str, first: u64) -> String {
    let skip = usize::try_from(first.saturating_sub(1)).unwrap_or(usize::MAX);
    let mut lines = text.lines().skip(skip);
    let Some(head) = lines.next() else { return String::new() };
    let indent = indentation(head);
    let own = lines.take_while(|line| line.trim().is_empty() || indentation(line) > indent);
    let kept: Vec<&str> = std::iter::once(head).chain(own).collect();
    let mut kept: Vec<&str> = kept.iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
    // Comments and blank lines at the end belong to what follows.
    while kept.len() > 1
        && kept.last().is_some_and(|line| line.trim().is_empty() || line.trim().starts_with('#'))
    {
        kept.pop();
    }
    kept.join("\n").chars().take(MAX_TEXT).collect()
}

/// Spaces before a line's content.
fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The first 12 hexadecimal digits of the SHA-256 of a rule's text.
pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_its_lines() {
        let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: x > 1\n\n    # why\n    labels: {a: b}\n\n  # next\n  - alert: B\n    expr: |\n      y\n- name: h\n";
        assert_eq!(of_rule(text, 4), "- alert: A\n  expr: x > 1\n\n  # why\n  labels: {a: b}");
        assert_eq!(of_rule(text, 11), "- alert: B\n  expr: |\n    y");
        assert_eq!(
            of_rule("groups: [{name: g, rules: [{alert: A}]}]", 1),
            "groups: [{name: g, rules: [{alert: A}]}]"
        );
        assert_eq!(of_rule(text, 99), "");
        assert_eq!(hash("a"), "ca978112ca1b");
        assert_ne!(hash(&of_rule(text, 4)), hash(&of_rule(text, 11)));
    }
}
