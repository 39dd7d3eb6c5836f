//! The page of a replay.

use super::super::table::tests::example;
use super::*;

#[test]
fn the_page_stands_alone_and_escapes_names() {
    let page = render(&[example()], 30);
    assert!(page.starts_with("<!doctype html>"));
    assert!(page.contains("New&lt;b&gt;") && !page.contains("New<b>"), "{page}");
    for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page, render(&[example()], 30));
}

#[test]
fn spells_are_drawn_where_they_were() {
    let page = render(&[example()], 30);
    // `Both` in force: hours 0 to 21 and 84 to 105 of 168.
    for rect in [
        "<rect class=\"before\" x=\"0.0\" y=\"0\" width=\"125.0\" height=\"9\"><title>2025-01-01 00:00 to 2025-01-01 21:00</title>",
        "<rect class=\"before\" x=\"500.0\" y=\"0\" width=\"125.0\" height=\"9\">",
        "<rect class=\"after\" x=\"500.0\" y=\"11\" width=\"250.0\" height=\"9\">",
    ] {
        assert!(page.contains(rect), "{rect}\n{page}");
    }
    assert_eq!(page.matches("class=\"before\" x=").count(), 3);
    assert_eq!(page.matches("class=\"after\" x=").count(), 2);
    assert!(page.contains("aria-label=\"Both: in force 2 alerts, replayed 1 alert\""), "{page}");
}

#[test]
fn without_changed_rules_there_is_one_column() {
    let mut model = example();
    model.total.replayed = None;
    for rule in &mut model.rules {
        rule.figures.replayed = None;
    }
    let page = render(&[model], 7);
    assert!(!page.contains("difference") && !page.contains("class=\"after\" x="));
    assert!(page.contains("lane single"));
}
