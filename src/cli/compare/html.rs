//! The comparison as one HTML file that needs nothing else: no script, no font, no request.

use std::fmt::Write;

use super::chart::{Bar, Change, Curve, Shape, changes, largest_change, rounded, shape, tick};
use super::report::{Comparison, Feature, grouped, short, short_p};
use crate::drift::Verdict;
use crate::model::{FeatureKind, Role};
use crate::profile::format_number;

const STYLE: &str = include_str!("report.css");

/// Features whose details are open from the start.
const OPEN: usize = 5;

/// Bins that are listed before the rest is folded away.
const BINS_SHOWN: usize = 14;

/// Bins that are folded away one by one; what is beyond them is summed up.
const BINS_FOLDED: usize = 30;

/// PSI at which the small bar of an effect is full.
const FULL_EFFECT: f64 = 1.0;

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
        write_feature(page, comparison, feature, index, is_open)?;
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
        "<div><dt>Drift is</dt><dd>PSI {} or more, and p ≤ {}<small>adjusted over all columns ({})</small></dd></div>",
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

fn write_feature(
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
    let shape = shape(feature);
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

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p == 0.0 => "0 %".to_owned(),
        p if p < 0.01 => "under 0.01 %".to_owned(),
        p if p < 1.0 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}

/// A step curve as the outline of an area, in a box of `width` by `height`.
fn outline(shares: &[f64], most: f64, width: f64, height: f64) -> String {
    let step = width / shares.len().max(1) as f64;
    let mut path = format!("M0 {height}");
    for (index, share) in shares.iter().enumerate() {
        let top = if most > 0.0 { height - share / most * (height - 2.0) } else { height };
        // Steps of the same height are one line.
        let _always_ok = write!(path, "V{}H{}", coordinate(top), coordinate((index + 1) as f64 * step));
    }
    path + &format!("V{height}Z")
}

/// One digit behind the point, and none where it is 0.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn heights(shape: &Shape) -> f64 {
    let of = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
    match shape {
        Shape::Curve(curve) => of(&curve.reference).max(of(&curve.current)),
        Shape::Bars(bars) => bars.iter().map(|bar| bar.reference.max(bar.current)).fold(0.0, f64::max),
    }
}

/// The drawing in the closed row: shapes only, no words.
fn write_small(page: &mut String, shape: &Shape) -> std::fmt::Result {
    let most = heights(shape);
    page.push_str("<svg class=\"small-chart\" viewBox=\"0 0 100 30\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    match shape {
        Shape::Curve(curve) => {
            let halved = |shares: &[f64]| -> Vec<f64> {
                shares.chunks(2).map(|pair| pair.iter().sum::<f64>() / 2.0).collect()
            };
            let (reference, current) = (halved(&curve.reference), halved(&curve.current));
            let most = reference.iter().chain(&current).copied().fold(0.0, f64::max);
            write!(
                page,
                "<path class=\"r\" d=\"{}\"/><path class=\"c\" d=\"{}\"/>",
                outline(&reference, most, 100.0, 30.0),
                outline(&current, most, 100.0, 30.0)
            )?;
        }
        Shape::Bars(bars) => {
            let slot = 100.0 / bars.len().max(1) as f64;
            for (index, bar) in bars.iter().enumerate() {
                let x = index as f64 * slot;
                for (class, share, at) in [("rb", bar.reference, 0.12), ("cb", bar.current, 0.5)] {
                    if share > 0.0 {
                        let height = (share / most * 29.0).max(0.5);
                        write!(
                            page,
                            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                            coordinate(x + at * slot),
                            coordinate(30.0 - height),
                            coordinate((0.36 * slot).max(0.4)),
                            coordinate(height)
                        )?;
                    }
                }
            }
        }
    }
    page.push_str("</svg>");
    Ok(())
}

fn write_chart(page: &mut String, feature: &Feature, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Curve(curve) => write_curve(page, feature, curve),
        // The bins of categories are drawn with their table.
        Shape::Bars(bars) if bars.is_empty() || feature.report.kind != FeatureKind::Numeric => Ok(()),
        Shape::Bars(bars) => write_bars(page, feature, bars),
    }
}

fn write_curve(page: &mut String, feature: &Feature, curve: &Curve) -> std::fmt::Result {
    let most = curve.reference.iter().chain(&curve.current).copied().fold(0.0, f64::max);
    let ticks: Vec<String> = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| tick(curve, share)).into();
    write!(
        page,
        "<figure><svg class=\"chart\" viewBox=\"0 0 640 160\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Distribution of {}: reference as a filled area, current as a dashed line, from {} to {}\">\
         <path class=\"r\" d=\"{}\"/><path class=\"c\" d=\"{}\"/></svg>\n<div class=\"axis\">",
        escape(&feature.report.name),
        ticks[0],
        ticks[4],
        outline(&curve.reference, most, 640.0, 160.0),
        outline(&curve.current, most, 640.0, 160.0)
    )?;
    for tick in &ticks {
        write!(page, "<span>{tick}</span>")?;
    }
    page.push_str("</div>");
    let (reference, current) = curve.outside;
    if reference > 5e-4 || current > 5e-4 {
        write!(
            page,
            "<figcaption>Not drawn, because they lie far out: {} of the reference, {} of the current rows.</figcaption>",
            percent(reference),
            percent(current)
        )?;
    }
    page.push_str("</figure>\n");
    Ok(())
}

fn write_bars(page: &mut String, feature: &Feature, bars: &[Bar]) -> std::fmt::Result {
    let most = bars.iter().map(|bar| bar.reference.max(bar.current)).fold(0.0, f64::max);
    write!(
        page,
        "<figure><div class=\"scroll\"><table aria-label=\"Distribution of {}\"><thead><tr><th scope=\"col\">value</th>\
         <th scope=\"col\" class=\"pair\">reference over current</th><th scope=\"col\" class=\"n\">reference</th>\
         <th scope=\"col\" class=\"n\">current</th></tr></thead><tbody>",
        escape(&feature.report.name)
    )?;
    for bar in bars {
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"pair\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&bar.label),
            pair(bar.reference, bar.current, most),
            percent(bar.reference),
            percent(bar.current)
        )?;
    }
    page.push_str("</tbody></table></div></figure>\n");
    Ok(())
}

/// Two bars, the reference above.
fn pair(reference: f64, current: f64, most: f64) -> String {
    let width = |share: f64| if most > 0.0 { share / most * 100.0 } else { 0.0 };
    format!(
        "<svg viewBox=\"0 0 100 18\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"rb\" y=\"1\" width=\"{}\" height=\"7\"/>\
         <rect class=\"cb\" y=\"10\" width=\"{}\" height=\"7\"/></svg>",
        coordinate(width(reference)),
        coordinate(width(current))
    )
}

fn row(page: &mut String, name: &str, cells: &[String]) -> std::fmt::Result {
    write!(page, "<tr><th scope=\"row\">{name}</th>")?;
    for cell in cells {
        write!(page, "<td class=\"n\">{cell}</td>")?;
    }
    page.push_str("</tr>");
    Ok(())
}

/// Rows and moments of both sides.
fn write_sides(page: &mut String, feature: &Feature) -> std::fmt::Result {
    let report = &feature.report;
    page.push_str(
        "<div class=\"scroll\"><h3>Both sides</h3><table><thead><tr><th></th><th scope=\"col\" class=\"n\">reference</th>\
         <th scope=\"col\" class=\"n\">current</th></tr></thead><tbody>",
    );
    row(page, "rows with a value", &[grouped(report.n_reference), grouped(report.n_current)])?;
    row(page, "missing", &[grouped(report.missing_reference), grouped(report.missing_current)])?;
    if report.kind == FeatureKind::Numeric {
        let (a, b) = (&feature.column.profile.moments, &feature.current.moments);
        let both = |of: &dyn Fn(&crate::stats::Moments) -> Option<f64>| {
            [a, b].map(|side| {
                let value = of(side).filter(|_| side.count() > 0);
                value.map_or_else(|| "–".to_owned(), |value| format_number(rounded(value)))
            })
        };
        row(page, "mean", &both(&|side| Some(side.mean())))?;
        row(page, "standard deviation", &both(&|side| side.deviation()))?;
        row(page, "least", &both(&|side| Some(side.min())))?;
        row(page, "greatest", &both(&|side| Some(side.max())))?;
    }
    page.push_str("</tbody></table></div>\n");
    Ok(())
}

/// The statistics that people look for, in the order in which they do.
const STATISTICS: [(&str, &str); 14] = [
    ("psi", "PSI"),
    ("ks", "Kolmogorov–Smirnov"),
    ("chi2", "χ²"),
    ("js", "Jensen–Shannon distance"),
    ("hellinger", "Hellinger distance"),
    ("kl", "Kullback–Leibler"),
    ("tvd", "total variation"),
    ("linf", "largest difference of a bin"),
    ("wasserstein", "Wasserstein"),
    ("wasserstein_norm", "Wasserstein / standard deviation"),
    ("missing_delta", "more missing, share"),
    ("out_of_range_share", "out of range, share"),
    ("unseen_share", "unseen, share"),
    ("wrong_type_share", "of another kind, share"),
];

fn write_statistics(page: &mut String, feature: &Feature) -> std::fmt::Result {
    let report = &feature.report;
    page.push_str(
        "<div class=\"scroll\"><h3>Statistics</h3><table><thead><tr><th></th><th scope=\"col\" class=\"n\">value</th>\
         <th scope=\"col\" class=\"n\">p</th></tr></thead><tbody>",
    );
    for (key, label) in STATISTICS {
        let Some(&value) = report.statistics.get(key) else { continue };
        // That nothing is missing, unseen or of another kind goes without saying.
        if value == 0.0 && (key.ends_with("_share") || key.ends_with("_delta")) {
            continue;
        }
        let mut text = short(value);
        if let Some(&bound) =
            report.statistics.get("ks_error_bound").filter(|bound| key == "ks" && **bound > 0.0)
        {
            let _always_ok = write!(text, " ± {}", short(bound));
        }
        let p = report.p_values.get(key).map(|p| short_p(*p)).unwrap_or_default();
        row(page, label, &[text, p])?;
    }
    if let Some(p) = report.p_adjusted {
        row(page, "p that decides, adjusted", &[String::new(), short_p(p)])?;
    }
    if let Some(variation) = &report.natural_variation {
        row(page, "natural variation of PSI", &[short(variation.between), String::new()])?;
        row(page, "blocks it rests on", &[short(variation.effective_blocks), String::new()])?;
    }
    page.push_str("</tbody></table></div>\n");
    Ok(())
}

/// The bins that PSI was computed on.
fn write_bins(page: &mut String, bins: &[Change]) -> std::fmt::Result {
    let total: f64 = bins.iter().map(|bin| bin.psi).sum();
    let filled: Vec<&Change> = bins.iter().filter(|bin| bin.reference + bin.current > 0.0).collect();
    let most = filled.iter().map(|bin| bin.reference.max(bin.current)).fold(0.0, f64::max);
    page.push_str("<h3>Bins, and what each adds to PSI</h3>\n");
    if filled.len() <= BINS_SHOWN {
        return write_bin_rows(page, &filled, most, total);
    }
    // Of many bins, first those that moved most.
    let mut by_effect = filled;
    by_effect.sort_by(|a, b| b.psi.total_cmp(&a.psi));
    let (shown, rest) = by_effect.split_at(BINS_SHOWN);
    write_bin_rows(page, shown, most, total)?;
    let (folded, summed) = rest.split_at(rest.len().min(BINS_FOLDED));
    writeln!(page, "<details class=\"rest\"><summary>{} more bins</summary>", rest.len())?;
    let sum = |of: fn(&Change) -> f64| summed.iter().map(|bin| of(bin)).sum::<f64>();
    let last = Change {
        label: format!("{} more, taken together", summed.len()),
        reference: sum(|bin| bin.reference),
        current: sum(|bin| bin.current),
        psi: sum(|bin| bin.psi),
    };
    let mut folded = folded.to_vec();
    if !summed.is_empty() {
        folded.push(&last);
    }
    write_bin_rows(page, &folded, most, total)?;
    page.push_str("</details>\n");
    Ok(())
}

fn write_bin_rows(page: &mut String, bins: &[&Change], most: f64, total: f64) -> std::fmt::Result {
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">bin</th><th class=\"pair\"></th>\
         <th scope=\"col\" class=\"n\">reference</th><th scope=\"col\" class=\"n\">current</th>\
         <th scope=\"col\" class=\"n\">adds to PSI</th></tr></thead><tbody>",
    );
    for bin in bins {
        let part = if total > 0.0 { bin.psi / total } else { 0.0 };
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"pair\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}{}{}</td></tr>",
            escape(&bin.label),
            pair(bin.reference, bin.current, most),
            percent(bin.reference),
            percent(bin.current),
            if part > 0.25 { "<b>" } else { "" },
            short(bin.psi),
            if part > 0.25 { "</b>" } else { "" },
        )?;
    }
    page.push_str("</tbody></table></div>\n");
    Ok(())
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

/// Text that is safe between tags and in attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters could hide or reorder what is shown.
            letter
                if letter.is_control()
                    || ('\u{202a}'..='\u{202e}').contains(&letter)
                    || ('\u{2066}'..='\u{2069}').contains(&letter) =>
            {
                safe.push('\u{fffd}');
            }
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<script>alert('x')&\"\u{202e}</script>"),
            "&lt;script&gt;alert(&#39;x&#39;)&amp;&quot;\u{fffd}&lt;/script&gt;"
        );
    }

    #[test]
    fn an_outline_starts_and_ends_on_the_ground() {
        assert_eq!(outline(&[0.5, 1.0], 1.0, 100.0, 30.0), "M0 30V16H50V2H100V30Z");
        assert_eq!(outline(&[0.0], 0.0, 100.0, 30.0), "M0 30V30H100V30Z");
    }

    #[test]
    fn shares_read_well() {
        for (share, text) in [(0.0, "0 %"), (1e-6, "under 0.01 %"), (0.0012, "0.12 %"), (0.5, "50.0 %")] {
            assert_eq!(percent(share), text);
        }
    }
}
