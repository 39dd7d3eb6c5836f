//! The tables of the report: both sides, the statistics, the bins.

use std::fmt::Write;

use super::super::report::Feature;

use crate::drawing::{Change, escape, grouped, pair, percent, rounded, short, short_p};
use crate::model::FeatureKind;
use crate::profile::format_number;

/// Bins that are listed before the rest is folded away.
const BINS_SHOWN: usize = 14;

/// Bins that are folded away one by one; what is beyond them is summed up.
const BINS_FOLDED: usize = 30;

pub(super) fn row(page: &mut String, name: &str, cells: &[String]) -> std::fmt::Result {
    write!(page, "<tr><th scope=\"row\">{name}</th>")?;
    for cell in cells {
        write!(page, "<td class=\"n\">{cell}</td>")?;
    }
    page.push_str("</tr>");
    Ok(())
}

/// Rows and moments of both sides.
pub(super) fn write_sides(page: &mut String, feature: &Feature) -> std::fmt::Result {
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

pub(super) fn write_statistics(page: &mut String, feature: &Feature) -> std::fmt::Result {
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
        // χ² grows with the rows: past a few digits only its size says anything.
        let mut text = if value >= 1000.0 { format_number(rounded(value)) } else { short(value) };
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
pub(super) fn write_bins(page: &mut String, bins: &[Change]) -> std::fmt::Result {
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

pub(super) fn write_bin_rows(page: &mut String, bins: &[&Change], most: f64, total: f64) -> std::fmt::Result {
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">bin</th><th class=\"pair\"></th>\
         <th scope=\"col\" class=\"n\">reference</th><th scope=\"col\" class=\"n\">current</th>\
         <th scope=\"col\" class=\"n\">PSI</th></tr></thead><tbody>",
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
