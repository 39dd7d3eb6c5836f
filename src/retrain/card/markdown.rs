//! A card as Markdown, and its pictures.

use std::fmt::Write as _;

use super::chart::{self, Line};
use super::{Card, Evidence};
use crate::retrain::evaluation::Estimate;

/// Features that a picture shows.
const MOST_BARS: usize = 20;

/// The pictures of `card`, by file name.
pub fn pictures(card: &Card) -> Vec<(String, String)> {
    let mut made = Vec::new();
    if !card.curves.is_empty() {
        let lines: Vec<Line<'_>> = card
            .curves
            .iter()
            .map(|curve| Line {
                name: &curve.split,
                points: curve.points.iter().map(|&(epoch, loss)| (f64::from(epoch), loss)).collect(),
                dots: false,
            })
            .collect();
        made.push(("learning.svg".to_owned(), chart::lines("Learning curve", "epoch", "loss", &lines)));
    }
    if let Some(calibration) = &card.evidence.calibration {
        let points = calibration.bins.iter().map(|bin| (bin.predicted, bin.observed)).collect();
        let lines = [
            Line { name: "model", points, dots: true },
            Line { name: "as it should be", points: vec![(0.0, 0.0), (1.0, 1.0)], dots: false },
        ];
        let picture = chart::lines("Calibration", "predicted probability", "share that came true", &lines);
        made.push(("calibration.svg".to_owned(), picture));
    }
    if let Some(residuals) = &card.evidence.residuals {
        let bins: Vec<_> = residuals.bins.iter().map(|bin| (bin.from, bin.until, bin.rows as f64)).collect();
        let picture = chart::columns("Residuals", "target less prediction", "rows", &bins);
        made.push(("residuals.svg".to_owned(), picture));
    }
    if !card.importance.is_empty() {
        let shown: Vec<_> = card.importance.iter().take(MOST_BARS).cloned().collect();
        made.push(("importance.svg".to_owned(), chart::bars("Importance by shuffling", &shown)));
    }
    made
}

/// `card` as Markdown; `with_pictures` refers to those of [`pictures`] beside it.
pub fn markdown(card: &Card, with_pictures: bool) -> String {
    let mut text = String::new();
    write(card, with_pictures, &mut text).unwrap_or_default();
    text
}

fn write(card: &Card, with_pictures: bool, out: &mut String) -> std::fmt::Result {
    let picture = |out: &mut String, name: &str, said: &str| {
        if with_pictures { writeln!(out, "![{said}]({name}.svg)\n") } else { Ok(()) }
    };
    writeln!(out, "# {} version {}\n", cell(&card.model), card.version)?;
    writeln!(
        out,
        "A {} model for {} of `{}`, {} since {}.\n",
        card.kind,
        card.task,
        card.target,
        card.state,
        card.registered_at.format("%F %T UTC")
    )?;
    writeln!(out, "**Why it exists.** {}\n\n**What the gate said.** {}\n", card.reason, card.decision)?;

    writeln!(out, "## Data\n\n| | |\n|---|---|")?;
    for (name, value) in &card.data {
        writeln!(out, "| {} | {} |", cell(name), cell(value))?;
    }
    metrics(card, out)?;
    evidence(&card.evidence, out, &picture)?;
    if !card.importance.is_empty() {
        writeln!(
            out,
            "\n## What it rests on\n\nThe share of each feature in what it knows, by shuffling it.\n"
        )?;
        picture(out, "importance", "importance of the features")?;
        writeln!(out, "| feature | share |\n|---|--:|")?;
        for (name, share) in &card.importance {
            writeln!(out, "| {} | {:.1} % |", cell(name), 100.0 * share)?;
        }
    }
    if !card.curves.is_empty() {
        writeln!(out, "\n## Learning\n")?;
        picture(out, "learning", "learning curve")?;
        for curve in &card.curves {
            let lowest = curve.points.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            if let (Some((epoch, loss)), Some((last, _))) = (lowest, curve.points.last()) {
                writeln!(out, "- {}: lowest loss {loss:.4} in epoch {epoch} of {last}", curve.split)?;
            }
        }
    }
    writeln!(out, "\n## To make it again\n\n| | |\n|---|---|")?;
    for (name, value) in &card.reproducibility {
        writeln!(out, "| {} | `{}` |", cell(name), cell(value))?;
    }
    Ok(())
}

fn metrics(card: &Card, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n## On held-out rows\n\nValues with their 95 % intervals (blocks of rows resampled).\n")?;
    let order = ["linear", "tree", "deep", "production"];
    let mut candidates: Vec<&String> = card.metrics.keys().collect();
    candidates.sort_by_key(|name| order.iter().position(|known| known == name).unwrap_or(order.len()));
    let names: std::collections::BTreeSet<&String> =
        card.metrics.values().flatten().map(|(name, _)| name).collect();
    write!(out, "| metric |")?;
    for candidate in &candidates {
        write!(out, " {} |", cell(candidate))?;
    }
    writeln!(out, "\n|---|{}", "--:|".repeat(candidates.len()))?;
    for name in names {
        write!(out, "| {} |", cell(name))?;
        for candidate in &candidates {
            match card.metrics.get(*candidate).and_then(|metrics| metrics.get(name)) {
                Some(Estimate { value, lower, upper }) => {
                    write!(out, " {value:.4} ({lower:.4} to {upper:.4}) |")?;
                }
                None => write!(out, " |")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn evidence(
    evidence: &Evidence,
    out: &mut String,
    picture: &impl Fn(&mut String, &str, &str) -> std::fmt::Result,
) -> std::fmt::Result {
    if let Some(calibration) = &evidence.calibration {
        writeln!(
            out,
            "\n## Calibration\n\nTemperature {:.3}, fitted on rows that were not trained on. Expected calibration error on \
             held-out rows {:.4} before, {:.4} after.\n",
            calibration.temperature, calibration.error_before, calibration.error_after
        )?;
        picture(out, "calibration", "calibration")?;
    }
    if let Some(residuals) = &evidence.residuals {
        writeln!(
            out,
            "\n## Residuals\n\nTarget less prediction: mean {:.4}, standard deviation {:.4}.\n",
            residuals.mean, residuals.deviation
        )?;
        picture(out, "residuals", "residuals")?;
    }
    for column in &evidence.segments {
        writeln!(
            out,
            "\n## By {}\n\n| value | rows | loss | predicted | observed | accuracy |",
            cell(&column.column)
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|")?;
        let number = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.4}"));
        for segment in &column.segments {
            writeln!(
                out,
                "| {} | {} | {:.4} | {} | {} | {} |",
                cell(&segment.value),
                segment.rows,
                segment.loss,
                number(segment.predicted),
                number(segment.observed),
                number(segment.accuracy)
            )?;
        }
        if let Some(gaps) = &column.fairness {
            write!(
                out,
                "\nGaps between values of at least 30 rows: demographic parity difference {:.4}, ratio {:.4}",
                gaps.demographic_parity_difference, gaps.demographic_parity_ratio
            )?;
            if let Some(gap) = gaps.equal_opportunity_difference {
                write!(out, ", equal opportunity difference {gap:.4}")?;
            }
            writeln!(out, ".")?;
        }
    }
    if let Some(cost) = &evidence.cost {
        writeln!(
            out,
            "\n## What it takes\n\n{} bytes; a single row takes {:.3} ms (median), {:.3} ms (99th percentile) in driftline.",
            cost.bytes, cost.row_ms_median, cost.row_ms_p99
        )?;
    }
    if let Some(drift) = &evidence.drift {
        writeln!(
            out,
            "\n## The drift before it\n\nThe window from {} to {} ({} rows) drifted from baseline `{}`:\n",
            drift.window_start.format("%F %T"),
            drift.window_end.format("%F %T"),
            drift.rows,
            drift.baseline
        )?;
        for (name, reason) in &drift.columns {
            writeln!(out, "- **{}**: {reason}", cell(name))?;
        }
    }
    Ok(())
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}
