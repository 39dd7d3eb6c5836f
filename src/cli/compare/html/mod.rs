//! The comparison as one HTML file that needs nothing else: no script, no font, no request.

use std::fmt::Write;

use super::report::Comparison;
use crate::drawing::{escape, grouped, short};
use crate::drift::Verdict;

mod drawing;
mod feature;
mod tables;

/// The look of every page that driftline writes: light and dark.
pub(in crate::cli) const STYLE: &str = include_str!("report.css");

/// Features whose details are open from the start.
const OPEN: usize = 5;

/// The report of a comparison. The same comparison gives the same bytes.
pub(super) fn render(comparison: &Comparison) -> String {
    let mut page = String::with_capacity(64 << 10);
    // Writing into a `String` cannot fail, and so neither can this.
    let _always_ok = write_page(&mut page, comparison);
    page
}

fn write_page(page: &mut String, comparison: &Comparison) -> std::fmt::Result {
    let title = headline(comparison);
    let (reference, current) = (escape(&comparison.reference.path), escape(&comparison.current.path));
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}: {reference} → {current}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )?;
    write_head(page, comparison, &title)?;
    write!(
        page,
        "<h2>Columns, the largest effect first</h2>\n<ul class=\"legend\">\
         <li><span class=\"key reference\"></span>reference, filled</li>\
         <li><span class=\"key current\"></span>current, dashed</li>\
         <li>| is the effect that matters, PSI {}</li></ul>\n",
        short(comparison.criteria.psi_floor)
    )?;
    let mut open = OPEN;
    for (index, feature) in comparison.by_effect().into_iter().enumerate() {
        let is_open =
            open > 0 && (feature.report.verdict == Verdict::Drift || comparison.features.len() == 1);
        open -= usize::from(is_open);
        feature::write_feature(page, comparison, feature, index, is_open)?;
    }
    write_how_to_read(page, comparison)?;
    write!(
        page,
        "<footer>Made by driftline {} <code>compare</code>. This file holds counts and no rows of the data.</footer>\n\
         </main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The verdict in a few words.
fn headline(comparison: &Comparison) -> String {
    let of = comparison.features.len();
    let columns = if of == 1 { "column" } else { "columns" };
    match comparison.verdict {
        Verdict::Drift => format!("Drift in {} of {of} {columns}", comparison.count(Verdict::Drift)),
        Verdict::Ok => format!("No drift in {of} {columns}"),
        Verdict::InsufficientData | Verdict::Untrusted => "Too few rows to say".to_owned(),
    }
}

fn write_head(page: &mut String, comparison: &Comparison, title: &str) -> std::fmt::Result {
    let class = verdict_class(comparison.verdict);
    write!(
        page,
        "<header>\n<p class=\"brand\">driftline compare</p>\n<h1 class=\"{class}-text\">{title}</h1>\n"
    )?;
    writeln!(page, "<p class=\"lead\">{}</p>", lead(comparison))?;
    let side = |page: &mut String, label: &str, path: &str, rows: u64| {
        writeln!(
            page,
            "<div><dt>{label}</dt><dd><span class=\"path\">{}</span><small>{} rows</small></dd></div>",
            escape(path),
            grouped(rows)
        )
    };
    page.push_str("<dl class=\"facts\">\n");
    side(page, "Reference", &comparison.reference.path, comparison.reference.rows)?;
    side(page, "Current", &comparison.current.path, comparison.current.rows)?;
    let criteria = &comparison.criteria;
    writeln!(
        page,
        "<div><dt>Drift is</dt><dd>PSI\u{a0}{} or more, and p\u{a0}≤\u{a0}{}<small>adjusted over all columns ({})</small></dd></div>",
        short(criteria.psi_floor),
        short(criteria.alpha),
        criteria.correction.as_str().replace('_', "–")
    )?;
    let known = comparison.features.iter().any(|feature| feature.column.psi_variation.is_some());
    let (variation, detail) = match (known, comparison.blocks) {
        (true, Some(blocks)) => {
            ("taken into account", format!("learned from {} blocks of time", grouped(blocks as u64)))
        }
        (false, Some(blocks)) => ("unknown", format!("{blocks} blocks of time are too few")),
        (_, None) => ("unknown", "no event times were given, so rows count as independent".to_owned()),
    };
    writeln!(
        page,
        "<div><dt>Natural variation</dt><dd>{variation}<small>{detail}</small></dd></div>\n</dl>"
    )?;
    let mut notes: Vec<String> = comparison.notes.iter().map(|note| escape(note)).collect();
    for (side, names) in
        [("reference", &comparison.only_in_reference), ("current data", &comparison.only_in_current)]
    {
        if !names.is_empty() {
            notes.push(format!("only in the {side}, and so not compared: {}", escape(&names.join(", "))));
        }
    }
    if !notes.is_empty() {
        writeln!(page, "<div class=\"notes\"><ul><li>{}</li></ul></div>", notes.join("</li><li>"))?;
    }
    page.push_str("</header>\n");
    Ok(())
}

/// The verdict in a sentence or two.
fn lead(comparison: &Comparison) -> String {
    let names = |verdict: Verdict| -> Vec<&str> {
        let found = comparison.by_effect().into_iter().filter(|feature| feature.report.verdict == verdict);
        found.map(|feature| feature.report.name.as_str()).collect()
    };
    match comparison.verdict {
        Verdict::Drift => {
            let drifted = names(Verdict::Drift);
            let shown: Vec<String> =
                drifted.iter().take(6).map(|name| format!("<b>{}</b>", escape(name))).collect();
            let more = drifted.len().saturating_sub(shown.len());
            let listed = match (shown.split_last(), more) {
                (Some((last, [])), 0) => last.clone(),
                (Some((last, rest)), 0) => format!("{} and {last}", rest.join(", ")),
                _ => format!("{} and {more} more", shown.join(", ")),
            };
            format!("{listed} changed by more than chance explains, and by enough to matter.")
        }
        Verdict::Ok => {
            "No column changed both by more than chance explains and by enough to matter.".to_owned()
        }
        Verdict::InsufficientData | Verdict::Untrusted => {
            format!(
                "{}. The numbers below are shown, but nothing follows from them.",
                escape(&sentence(&comparison.reason))
            )
        }
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drift => "drift",
        Verdict::Ok => "ok",
        Verdict::InsufficientData | Verdict::Untrusted => "unsure",
    }
}

fn write_how_to_read(page: &mut String, comparison: &Comparison) -> std::fmt::Result {
    let source = if comparison.exact {
        "from the raw values of both sides"
    } else {
        "from a grid of up to a thousand cells; the ± beside it bounds how far it can be from that of the raw values"
    };
    write!(
        page,
        "<section class=\"how\"><h2>How to read this</h2>\n<dl>\
         <dt>Verdict</dt><dd>A column drifted when its change is both larger than chance explains (p) and large enough to \
         matter (PSI). One of the two alone is not drift: with many rows everything differs a little, with few rows anything \
         may look different.</dd>\
         <dt>PSI, population stability index</dt><dd>How much the shares of the bins moved: 0 when they are the same, 0.1 a \
         small change, 0.25 a large one. The bins are cut from the reference; missing values are a bin too.</dd>\
         <dt>Kolmogorov–Smirnov</dt><dd>The largest gap between the two cumulative distributions, between 0 and 1, {source}.</dd>\
         <dt>p</dt><dd>How often a change at least this large would be seen if both sides came from one source.</dd>\
         <dt>Natural variation</dt><dd>Rows of one hour are alike, and hours differ without any drift. Where the reference has \
         event times, that is learned from it, and p takes it into account. Where it has none, p takes rows for independent, \
         and small changes may look more certain than they are.</dd>\
         </dl></section>\n"
    )
}
