//! The comparison as a table for a terminal.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table as TextTable, presets};

use super::report::{Comparison, Feature};
use crate::drawing::{Change, grouped, largest_change, short, short_p};
use crate::drift::{BinEvidence, Verdict};

/// Width from which there is room to say which bin moved most.
const WIDE: u16 = 116;

/// Bars of a small drawing.
const SPARKS: usize = 10;

/// Prints the columns, what matters most first, and the verdict in a line.
pub(super) fn print(comparison: &Comparison, colour: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = TextTable::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let wide = table.width().is_none_or(|width| width >= WIDE);
    let mut header = vec!["column", "verdict", "PSI", "KS", "p adjusted", "reference", "current"];
    if wide {
        header.push("moved most");
    }
    table.set_header(header);
    for feature in comparison.by_effect() {
        table.add_row(row(feature, colour, wide));
    }
    for index in [2, 3, 4] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    for (side, names) in
        [("reference", &comparison.only_in_reference), ("current data", &comparison.only_in_current)]
    {
        if !names.is_empty() {
            writeln!(out, "\nonly in the {side}, not compared: {}", names.join(", "))?;
        }
    }
    writeln!(out, "\n{}", summary(comparison))?;
    Ok(())
}

fn row(feature: &Feature, colour: bool, wide: bool) -> Vec<Cell> {
    let report = &feature.report;
    let number = |name: &str| report.statistics.get(name).copied().map(short).unwrap_or_default();
    let mut verdict = Cell::new(verdict_text(report.verdict));
    if colour {
        verdict = match report.verdict {
            Verdict::Drift => verdict.fg(Color::Red),
            Verdict::InsufficientData | Verdict::Untrusted => verdict.fg(Color::Yellow),
            Verdict::Ok => verdict,
        };
    }
    let (reference, current) = sparks(&report.bins);
    let mut cells = vec![
        Cell::new(&report.name),
        verdict,
        Cell::new(number("psi")),
        Cell::new(number("ks")),
        Cell::new(report.p_adjusted.map(short_p).unwrap_or_default()),
        Cell::new(reference),
        Cell::new(current),
    ];
    if wide {
        cells.push(Cell::new(largest_change(report).map(|change| moved(&change)).unwrap_or_default()));
    }
    cells
}

fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drift => "drift!",
        Verdict::Ok => "ok",
        Verdict::InsufficientData => "too few rows",
        Verdict::Untrusted => "untrusted",
    }
}

fn moved(change: &Change) -> String {
    let label: String = change.label.chars().take(28).collect();
    let label = if label.len() < change.label.len() { label + "…" } else { label };
    format!("{label}: {:.1} → {:.1} %", change.reference * 100.0, change.current * 100.0)
}

/// The verdict, with what it was judged by.
fn summary(comparison: &Comparison) -> String {
    let of = comparison.features.len();
    let columns = if of == 1 { "column" } else { "columns" };
    let verdict = match comparison.verdict {
        Verdict::Drift => format!("drift: {} of {of} {columns} drifted", comparison.count(Verdict::Drift)),
        Verdict::Ok => format!("ok: none of {of} {columns} drifted"),
        Verdict::InsufficientData | Verdict::Untrusted => format!("insufficient data: {}", comparison.reason),
    };
    format!(
        "{verdict} ({} rows against {}, alpha {}, {}, PSI floor {})",
        grouped(comparison.current.rows),
        grouped(comparison.reference.rows),
        short(comparison.criteria.alpha),
        comparison.criteria.correction.as_str(),
        short(comparison.criteria.psi_floor),
    )
}

/// Both sides as small bars on one scale; of many bins, those that hold most.
fn sparks(bins: &[BinEvidence]) -> (String, String) {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let total = |of: fn(&BinEvidence) -> u64| bins.iter().map(of).sum::<u64>().max(1) as f64;
    let (all_reference, all_current) = (total(|bin| bin.reference), total(|bin| bin.current));
    let shares: Vec<(f64, f64)> = bins
        .iter()
        .filter(|bin| bin.reference + bin.current > 0)
        .map(|bin| (bin.reference as f64 / all_reference, bin.current as f64 / all_current))
        .collect();
    let mut heaviest: Vec<usize> = (0..shares.len()).collect();
    heaviest.sort_by(|&a, &b| shares[b].0.max(shares[b].1).total_cmp(&shares[a].0.max(shares[a].1)));
    heaviest.truncate(SPARKS);
    heaviest.sort_unstable();
    let most = heaviest.iter().map(|&bin| shares[bin].0.max(shares[bin].1)).fold(0.0, f64::max);
    let bar = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
        let height = if most > 0.0 { (share / most * 8.0).ceil() as usize } else { 0 };
        BARS[height.min(8)]
    };
    (
        heaviest.iter().map(|&bin| bar(shares[bin].0)).collect(),
        heaviest.iter().map(|&bin| bar(shares[bin].1)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_share_a_scale_and_leave_out_empty_bins() {
        let bin = |label: &str, reference, current| BinEvidence { label: label.into(), reference, current };
        let (reference, current) = sparks(&[bin("a", 50, 0), bin("b", 50, 100), bin("none", 0, 0)]);
        assert_eq!((reference.as_str(), current.as_str()), ("▄▄", " █"));
        assert_eq!(sparks(&[]), (String::new(), String::new()));
    }
}
