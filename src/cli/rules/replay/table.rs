//! A replay as people read it: a table of figures, then a line of time per rule.

use std::io::Write;

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table as TextTable, presets};

use super::figures::{Compared, Figures, ModelReplay};
use crate::alert::replay::Spell;

/// Characters of a line of time.
const WIDTH: i64 = 64;

/// One row of the table: its name, and how it is written. The number tells whether there is a difference.
type Row = (&'static str, fn(&Figures) -> Option<f64>, fn(f64) -> String);

/// The figures of a rule, in the order of the table.
pub(super) const ROWS: [Row; 9] = [
    ("alerts", |figures| Some(figures.alerts as f64), whole),
    ("subjects", |figures| Some(figures.subjects as f64), whole),
    ("mean duration", |figures| figures.mean_seconds, duration),
    ("total duration", |figures| Some(figures.total_seconds), duration),
    ("time firing", |figures| Some(figures.firing_share), percent),
    ("pages per week", |figures| Some(figures.messages_per_week), decimal),
    ("runs suggested", |figures| Some(figures.runs_suggested as f64), whole),
    ("runs started", |figures| Some(figures.runs_started as f64), whole),
    ("GPU minutes", |figures| figures.gpu_minutes, decimal),
];

/// Prints the replay of one model.
pub(super) fn print(model: &ModelReplay, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{}", headline(model))?;
    writeln!(out)?;
    let mut table = TextTable::new();
    let mut header = vec!["", "", "in force"];
    if model.is_compared() {
        header.extend(["replayed", "difference"]);
    }
    table.load_style(presets::NOTHING).set_header(header);
    let (loud, silent): (Vec<_>, Vec<_>) = model.rules.iter().partition(|rule| fired(&rule.figures));
    if loud.len() != 1 {
        add(&mut table, "all rules", &model.total, model.is_compared());
    }
    for rule in &loud {
        add(&mut table, &rule.rule, &rule.figures, model.is_compared());
    }
    for index in 2..=4 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    if !silent.is_empty() {
        let names: Vec<&str> = silent.iter().map(|rule| rule.rule.as_str()).collect();
        writeln!(out, "\nwithout an alert: {}", names.join(", "))?;
    }
    if let Some((from, until)) = model.from.zip(model.until).filter(|_| !loud.is_empty()) {
        writeln!(out, "\n{}", dates(from, until))?;
        for rule in &loud {
            let sides = [("in force", &rule.figures.in_force), ("replayed", &rule.figures.replayed)];
            for (side, figures) in sides {
                let Some(figures) = figures else { continue };
                writeln!(out, "{}  {} {side}", line(&figures.spells, from, until), rule.rule)?;
            }
        }
    }
    for note in notes(model) {
        writeln!(out, "\n{note}")?;
    }
    writeln!(out)?;
    Ok(())
}

/// `bike-demand: 720 windows, 2025-01-01 00:00 to 2025-01-31 00:00`.
pub(super) fn headline(model: &ModelReplay) -> String {
    let span = model
        .from
        .zip(model.until)
        .map(|(from, until)| format!(", {} to {} UTC", from.format("%F %H:%M"), until.format("%F %H:%M")));
    let plural = if model.windows == 1 { "window" } else { "windows" };
    format!("{}: {} {plural}{}", model.model, model.windows, span.unwrap_or_default())
}

/// What has to be known to read the figures.
pub(super) fn notes(model: &ModelReplay) -> Vec<String> {
    let mut notes = model.notes.clone();
    let runs = |figures: &Option<Figures>| {
        figures.as_ref().is_some_and(|figures| figures.runs_started + figures.runs_suggested > 0)
    };
    if runs(&model.total.in_force) || runs(&model.total.replayed) {
        if let Some(minutes) = model.run_minutes {
            let (minutes, runs) = (decimal(minutes), model.finished_runs);
            let plural = if runs == 1 { "run" } else { "runs" };
            notes.push(format!(
                "a run is taken to last {minutes} minutes, the mean of {runs} finished {plural}"
            ));
        }
        notes.push(
            "runs are taken to begin at once and to end well; the windows after them are as they were judged then"
                .to_owned(),
        );
    }
    notes
}

/// Whether an alert of the rule fired on either side.
pub(super) fn fired(figures: &Compared) -> bool {
    [&figures.in_force, &figures.replayed].into_iter().flatten().any(|figures| figures.alerts > 0)
}

fn add(table: &mut TextTable, name: &str, figures: &Compared, compared: bool) {
    for (index, (label, _, _)) in ROWS.iter().enumerate() {
        let mut cells = vec![if index == 0 { name.to_owned() } else { String::new() }, (*label).to_owned()];
        let [in_force, replayed, difference] = cells_of(figures, index);
        cells.push(in_force);
        if compared {
            cells.extend([replayed, difference]);
        }
        table.add_row(cells);
    }
}

/// One row: in force, replayed, and what changed.
pub(super) fn cells_of(figures: &Compared, row: usize) -> [String; 3] {
    let Some((_, number, text)) = ROWS.get(row) else { return Default::default() };
    // A rule that one side does not have is no rule with unknown figures.
    let cell = |figures: &Option<Figures>| match figures {
        None => "-".to_owned(),
        Some(figures) => match number(figures) {
            Some(value) => text(value),
            None if figures.alerts == 0 => "-".to_owned(),
            None => "unknown".to_owned(),
        },
    };
    let value = |figures: &Option<Figures>| match figures {
        None => Some(0.0),
        Some(figures) => number(figures),
    };
    let difference =
        value(&figures.in_force).zip(value(&figures.replayed)).map(|(before, after)| after - before);
    let difference = match difference {
        None => String::new(),
        Some(change) if text(change.abs()) == text(0.0) => "=".to_owned(),
        Some(change) => format!("{}{}", if change < 0.0 { '-' } else { '+' }, text(change.abs())),
    };
    [cell(&figures.in_force), cell(&figures.replayed), difference]
}

/// The dates at both ends of a line of time.
fn dates(from: DateTime<Utc>, until: DateTime<Utc>) -> String {
    let (from, until) = (from.format("%F").to_string(), until.format("%F").to_string());
    let width = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(from.len());
    format!("{from}{until:>width$}")
}

/// `#` where at least one alert fired, `.` elsewhere.
fn line(spells: &[Spell], from: DateTime<Utc>, until: DateTime<Utc>) -> String {
    let span = (until - from).num_seconds().max(1);
    let place = |time: DateTime<Utc>| (time - from).num_seconds() * WIDTH / span;
    (0..WIDTH)
        .map(|mark| {
            // A spell that began with the last window has no length yet, and is shown all the same.
            let fires = spells.iter().any(|spell| {
                let first = place(spell.from).min(WIDTH - 1);
                (first..place(spell.until).max(first + 1)).contains(&mark)
            });
            if fires { '#' } else { '.' }
        })
        .collect()
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn decimal(value: f64) -> String {
    format!("{value:.1}")
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

/// `3d 4h`, `5h`, `12m`, `0`: the two largest units.
fn duration(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of seconds from 0 on; one that does not fit saturates"
    )]
    let mut left = seconds.max(0.0).round() as u64;
    let mut parts = Vec::new();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let many = left / length;
        left %= length;
        if many > 0 {
            parts.push(format!("{many}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(super) mod tests;
