//! A message as plain text.

use std::fmt::Write;

use super::outline::{Outline, Section};
use crate::alert::evidence::percent;

/// The text of `outline`, lines ended by `\n`.
pub(super) fn text(outline: &Outline) -> String {
    let mut out = format!("{}: {}\n", outline.word.to_uppercase(), outline.headline);
    if let Some(note) = &outline.note {
        line(&mut out, format_args!("{note}"));
    }
    out.push('\n');
    for (name, value) in &outline.facts {
        line(&mut out, format_args!("{name:<16}{value}"));
    }
    for section in &outline.sections {
        alert(&mut out, section);
    }
    if !outline.over.is_empty() {
        out.push('\n');
    }
    for over in &outline.over {
        line(&mut out, format_args!("{over}"));
    }
    if outline.more > 0 {
        line(&mut out, format_args!("\nand {} more", outline.more));
    }
    if !outline.next.is_empty() {
        line(&mut out, format_args!("\nWhat to do next"));
    }
    for step in &outline.next {
        line(&mut out, format_args!("  {}:\n    {}", step.purpose, step.command));
    }
    out
}

fn alert(out: &mut String, section: &Section) {
    line(out, format_args!("\n{}", section.title));
    for (name, value) in &section.facts {
        line(out, format_args!("  {name:<16}{value}"));
    }
    for clause in &section.moved {
        line(out, format_args!("  - {clause}"));
    }
    if !section.bins.is_empty() {
        line(out, format_args!("  the bins that moved most (baseline -> window):"));
    }
    for bin in &section.bins {
        let (from, to) = (percent(bin.reference), percent(bin.current));
        line(out, format_args!("    {:<24}{from:>8} -> {to:>8}", bin.label));
    }
    for (name, value) in &section.texts {
        line(out, format_args!("  {name}: {value}"));
    }
}

/// Adds a line; writing to a `String` does not fail.
pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(out, "{text}");
}
