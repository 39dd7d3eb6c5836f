//! One column of the report: a row that says how much it moved, and behind it everything about it.

use std::fmt::Write;

use super::super::report::{Comparison, Feature};
use super::drawing::{write_chart, write_small};
use super::tables::{write_bins, write_sides, write_statistics};
use crate::drawing::{changes, escape, grouped, largest_change, percent, rounded, shape, short};
use crate::drift::Verdict;
use crate::model::{FeatureKind, Role};
use crate::profile::format_number;

/// PSI at which the small bar of an effect is full.
const FULL_EFFECT: f64 = 1.0;

pub(super) fn write_feature(
    page: &mut String,
    comparison: &Comparison,
    feature: &Feature,
    index: usize,
    open: bool,
) -> std::fmt::Result {
    let report = &feature.report;
    let name = escape(&report.name);
    let open = if open { " open" } else { "" };
    let (class, word) = match report.verdict {
        Verdict::Drift => ("drift", "▲ drift"),
        Verdict::Ok => ("ok", "ok"),
        Verdict::InsufficientData => ("unsure", "? too few rows"),
        Verdict::Untrusted => ("unsure", "? untrusted"),
    };
    let output = if report.role == Role::Output { ", output" } else { "" };
    write!(
        page,
        "<details class=\"feature\" id=\"c{index}\"{open}>\n<summary><span class=\"name\">{name} <small>{}{output}</small></span>\
         <span class=\"badge {class}\">{word}</span><span class=\"effect\">{}</span>\
         <span class=\"small-cell\">",
        report.kind.as_str(),
        effect(feature, comparison.criteria.psi_floor)
    )?;
    let shape = shape(&feature.report, &feature.column, &feature.current);
    let bins = changes(report);
    write_small(page, &shape)?;
    write!(
        page,
        "</span></summary>\n<div class=\"body\">\n<p class=\"changed\">{}</p>\n",
        what_changed(feature)
    )?;
    writeln!(page, "<p class=\"reason\">{}: {}.</p>", class_word(report.verdict), escape(&report.reason))?;
    write_chart(page, feature, &shape)?;
    write_bins(page, &bins)?;
    page.push_str("<div class=\"two\">\n");
    write_sides(page, feature)?;
    write_statistics(page, feature)?;
    page.push_str("</div>\n");
    page.push_str("</div>\n</details>\n");
    Ok(())
}

fn class_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drift => "Drift",
        Verdict::Ok => "Ok",
        Verdict::InsufficientData => "Too few rows",
        Verdict::Untrusted => "Untrusted",
    }
}

/// The effect as a number and a bar with the floor marked.
fn effect(feature: &Feature, floor: f64) -> String {
    let Some(&psi) = feature.report.statistics.get("psi") else { return "–".to_owned() };
    // A square root, so that both 0.02 and 0.9 can be told from nothing.
    let place = |value: f64| (value.max(0.0) / FULL_EFFECT).sqrt().min(1.0) * 100.0;
    let class = if psi >= floor { "over" } else { "under" };
    format!(
        "PSI {}<svg viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"100\" height=\"6\" rx=\"2\"/><rect class=\"{class}\" width=\"{:.1}\" height=\"6\"/>\
         <path class=\"floor\" d=\"M{at:.1} 0V6\"/></svg>",
        short(psi),
        place(psi),
        at = place(floor)
    )
}

/// What changed, for somebody who does not know the statistics.
fn what_changed(feature: &Feature) -> String {
    let report = &feature.report;
    let mut said = Vec::new();
    if let (FeatureKind::Numeric, Some(shift)) = (report.kind, report.statistics.get("mean_shift")) {
        let (reference, current) = (feature.column.profile.moments.mean(), feature.current.moments.mean());
        said.push(format!(
            "The mean went from <b>{}</b> to <b>{}</b> ({}{} standard deviations).",
            format_number(rounded(reference)),
            format_number(rounded(current)),
            if *shift < 0.0 { "−" } else { "+" },
            short(shift.abs())
        ));
    }
    if let Some(change) = largest_change(report) {
        said.push(format!(
            "What moved most is <b>{}</b>: {} of the rows before, {} now.",
            escape(&change.label),
            percent(change.reference),
            percent(change.current)
        ));
    }
    for (name, text) in [
        ("out_of_range_share", "lie outside of the range of the reference"),
        ("unseen_share", "have a value that the reference never had"),
        ("wrong_type_share", "have a value of another kind"),
    ] {
        if let Some(&share) = report.statistics.get(name).filter(|share| **share > 0.0) {
            said.push(format!("{} of the current rows {text}.", percent(share)));
        }
    }
    let new = feature.current.unseen.heaviest();
    if !new.is_empty() {
        let shown: Vec<String> = new
            .iter()
            .take(5)
            .map(|(name, rows)| format!("<b>{}</b> ({})", escape(name), grouped(*rows)))
            .collect();
        let most =
            if new.len() > shown.len() || feature.current.unseen.is_sample() { ", mostly" } else { ":" };
        said.push(format!("New{most} {}.", shown.join(", ")));
    }
    if said.is_empty() {
        said.push("Nothing moved.".to_owned());
    }
    said.join(" ")
}
