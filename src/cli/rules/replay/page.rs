//! A replay as one HTML file that needs nothing else: no script, no font, no request.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::figures::{Compared, ModelReplay, RuleCompared};
use super::table::{ROWS, cells_of, fired, headline, notes};
use crate::alert::replay::Spell;
use crate::cli::compare::STYLE;
use crate::drawing::escape;

const OWN_STYLE: &str = include_str!("page.css");

/// Width of a line of time, in its own units.
const WIDTH: f64 = 1000.0;

/// Dates under a line of time.
const TICKS: u32 = 4;

/// The page on the replays of some models. The same replays give the same bytes.
pub(super) fn render(models: &[ModelReplay], days: u32) -> String {
    let mut page = String::with_capacity(64 << 10);
    // Writing into a `String` cannot fail, and so neither can this.
    let _always_ok = write_page(&mut page, models, days);
    page
}

fn write_page(page: &mut String, models: &[ModelReplay], days: u32) -> std::fmt::Result {
    let compared = models.iter().any(ModelReplay::is_compared);
    let title =
        if compared { "What the changed rules would have done" } else { "What the rules would have done" };
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"brand\">driftline rules replay</p>\n<h1>{title}</h1>\n\
         <p class=\"lead\">Over the windows of the last {days} days that are stored, from a state without any alert{}.</p>\n</header>\n",
        if compared { ", beside the rules in force" } else { "" }
    )?;
    for model in models {
        write_model(page, model)?;
    }
    write!(
        page,
        "<footer>Made by driftline {} <code>rules replay</code>. This file holds counts and no rows of the data.</footer>\n\
         </main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn write_model(page: &mut String, model: &ModelReplay) -> std::fmt::Result {
    writeln!(page, "<section>\n<h2>{}</h2>", escape(&headline(model)))?;
    let (loud, silent): (Vec<_>, Vec<_>) = model.rules.iter().partition(|rule| fired(&rule.figures));
    if let Some((from, until)) = model.from.zip(model.until).filter(|_| !loud.is_empty()) {
        write_lanes(page, &loud, from, until, model.is_compared())?;
    }
    write_figures(page, model, &loud)?;
    if !silent.is_empty() {
        let names: Vec<String> = silent.iter().map(|rule| escape(&rule.rule)).collect();
        writeln!(page, "<p>Without an alert: {}.</p>", names.join(", "))?;
    }
    let notes: Vec<String> = notes(model).iter().map(|note| escape(note)).collect();
    if !notes.is_empty() {
        writeln!(page, "<div class=\"notes\"><ul><li>{}</li></ul></div>", notes.join("</li><li>"))?;
    }
    page.push_str("</section>\n");
    Ok(())
}

/// When each rule was firing: a line a rule, in force above and replayed below.
fn write_lanes(
    page: &mut String,
    rules: &[&RuleCompared],
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    compared: bool,
) -> std::fmt::Result {
    page.push_str("<h3>When at least one alert was firing</h3>\n");
    if compared {
        page.push_str(
            "<ul class=\"legend\"><li><span class=\"key before\"></span>in force, above</li>\
             <li><span class=\"key after\"></span>replayed, below</li></ul>\n",
        );
    }
    page.push_str("<div class=\"lanes\">\n");
    for rule in rules {
        let (height, class) = if compared { (20, "lane") } else { (9, "lane single") };
        let name = escape(&rule.rule);
        write!(
            page,
            "<span class=\"name\">{name}</span><svg class=\"{class}\" viewBox=\"0 0 1000 {height}\" \
             preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{name}: {}\">",
            escape(&spoken(&rule.figures))
        )?;
        let sides = [("before", 0, &rule.figures.in_force), ("after", 11, &rule.figures.replayed)];
        for (side, top, figures) in sides.into_iter().take(if compared { 2 } else { 1 }) {
            write!(page, "<rect class=\"ground\" y=\"{top}\" width=\"1000\" height=\"9\"/>")?;
            for spell in figures.iter().flat_map(|figures| &figures.spells) {
                write_spell(page, side, top, spell, (from, until))?;
            }
        }
        page.push_str("</svg>\n");
    }
    page.push_str("<div class=\"axis\">");
    for tick in 0..=TICKS {
        let at = from + (until - from) * i32::try_from(tick).unwrap_or(0) / i32::try_from(TICKS).unwrap_or(1);
        write!(page, "<span>{}</span>", at.format("%F"))?;
    }
    page.push_str("</div>\n</div>\n");
    Ok(())
}

fn write_spell(
    page: &mut String,
    side: &str,
    top: u32,
    spell: &Spell,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> std::fmt::Result {
    let span = ((until - from).num_seconds() as f64).max(1.0);
    let place = |time: DateTime<Utc>| (time - from).num_seconds() as f64 / span * WIDTH;
    // One of a single window among thousands is still to be seen.
    let width = (place(spell.until) - place(spell.from)).max(2.0);
    let left = place(spell.from).min(WIDTH - width);
    write!(
        page,
        "<rect class=\"{side}\" x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"9\"><title>{} to {}</title></rect>",
        spell.from.format("%F %H:%M"),
        spell.until.format("%F %H:%M")
    )
}

/// The picture in words.
fn spoken(figures: &Compared) -> String {
    let sides = [("in force", &figures.in_force), ("replayed", &figures.replayed)];
    let said: Vec<String> = sides
        .into_iter()
        .filter_map(|(side, figures)| {
            let figures = figures.as_ref()?;
            let plural = if figures.alerts == 1 { "alert" } else { "alerts" };
            Some(format!("{side} {} {plural}", figures.alerts))
        })
        .collect();
    said.join(", ")
}

fn write_figures(page: &mut String, model: &ModelReplay, loud: &[&RuleCompared]) -> std::fmt::Result {
    page.push_str(
        "<div class=\"scroll\"><table class=\"figures\"><thead><tr><th></th><th scope=\"col\" class=\"n\">in force</th>",
    );
    if model.is_compared() {
        page.push_str(
            "<th scope=\"col\" class=\"n\">replayed</th><th scope=\"col\" class=\"n\">difference</th>",
        );
    }
    page.push_str("</tr></thead>\n");
    let all = (loud.len() != 1).then_some(("All rules", &model.total));
    let rules = loud.iter().map(|rule| (rule.rule.as_str(), &rule.figures));
    for (name, figures) in all.into_iter().chain(rules) {
        let columns = if model.is_compared() { 4 } else { 2 };
        writeln!(page, "<tbody><tr><th scope=\"rowgroup\" colspan=\"{columns}\">{}</th></tr>", escape(name))?;
        for (row, (label, _, _)) in ROWS.iter().enumerate() {
            let cells = cells_of(figures, row);
            let differs = model.is_compared() && !matches!(cells[2].as_str(), "=" | "");
            let class = if differs { " class=\"differs\"" } else { "" };
            write!(page, "<tr{class}><th scope=\"row\">{label}</th>")?;
            for cell in cells.iter().take(columns - 1) {
                write!(page, "<td class=\"n\">{}</td>", escape(cell))?;
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table></div>\n");
    Ok(())
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
