//! Small charts as SVG: shapes only, with what they say in their labels; every number stands beside them as text too.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::words::{times_floor, verdict_word};
use crate::drawing::{Curve, Shape, coordinate, outline, pair, percent, tick};
use crate::drift::Verdict;
use crate::store::drift_series::Point;

/// Effects over this many floors fill their bar.
const TOP_EFFECT: f64 = 100.0;

/// Values so many times over the floor get a logarithmic scale, so that the floor is still to be seen.
const WIDE: f64 = 10.0;

/// Cells of a strip; more windows share one, the strongest of them shown.
pub(super) const STRIP: usize = 90;

/// A height for an effect that shows both what is near the floor and what is far over it.
fn effect_height(effect: f64, height: f64, top: f64) -> f64 {
    let share = (effect.max(0.0).ln_1p() / top.ln_1p()).min(1.0);
    height - 2.0 - share * (height - 4.0)
}

/// The largest effect of each window, with the floor as a dashed line.
pub(super) fn sparkline(points: &[Point], model: &str) -> Markup {
    let (width, height) = (240.0, 44.0);
    let highest = points.iter().filter_map(|point| point.effect).fold(1.0, f64::max);
    let top = highest.max(3.0);
    let step = width / points.len().max(1) as f64;
    let (mut line, mut drifted, mut unsure) = (String::new(), String::new(), String::new());
    let mut is_down = false;
    for (index, point) in points.iter().enumerate() {
        let x = coordinate((index as f64 + 0.5) * step);
        // Writing into a `String` cannot fail.
        let _always_ok = match (point.verdict, point.effect) {
            (Verdict::InsufficientData | Verdict::Untrusted, _) | (_, None) => {
                is_down = false;
                write!(unsure, "M{x} {}h0", coordinate(height - 3.0))
            }
            (verdict, Some(effect)) => {
                let y = coordinate(effect_height(effect, height, top));
                if verdict == Verdict::Drift {
                    let _always_ok = write!(drifted, "M{x} {y}h0");
                }
                let command = if is_down { "L" } else { "M" };
                is_down = true;
                write!(line, "{command}{x} {y}")
            }
        };
    }
    let count = points.iter().filter(|point| point.verdict == Verdict::Drift).count();
    let label = format!(
        "Largest effect in each of the last {} windows of {model}: at most {} the floor; {count} drifted",
        points.len(),
        times_floor(highest)
    );
    let floor = coordinate(effect_height(1.0, height, top));
    html! {
        svg.spark viewBox="0 0 240 44" preserveAspectRatio="none" role="img" aria-label=(label) {
            path.floor d={ "M0 " (floor) "H240" } {}
            path.line d=(line) {}
            @if !unsure.is_empty() { path.unsure d=(unsure) {} }
            @if !drifted.is_empty() { path.drift d=(drifted) {} }
        }
    }
}

/// One cell of a strip.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cell {
    pub(super) effect: Option<f32>,
    pub(super) verdict: Option<Verdict>,
}

impl Cell {
    /// The stronger of two windows that share a cell.
    pub(super) fn or(self, other: Self) -> Self {
        let rank = |cell: Self| (cell.verdict == Some(Verdict::Drift), cell.effect.unwrap_or(-1.0));
        if rank(other) > rank(self) || self.verdict.is_none() { other } else { self }
    }

    /// How tall it is drawn, 1 to 4, and 0 for one without a mark; the height says what the colour does.
    fn level(self) -> usize {
        match (self.verdict, self.effect) {
            (Some(Verdict::Drift), _) => 4,
            (Some(Verdict::InsufficientData | Verdict::Untrusted), _) => 1,
            (Some(Verdict::Ok), Some(effect)) if effect >= 1.0 => 3,
            (Some(Verdict::Ok), Some(effect)) if effect >= 0.5 => 2,
            (None | Some(Verdict::Ok), _) => 0,
        }
    }
}

/// Tops of the levels in a strip of height 12.
const TOPS: [u8; 5] = [12, 10, 7, 4, 0];

/// Windows side by side: a mark per window that is not calm, the taller the worse.
pub(super) fn strip(cells: &[Cell]) -> Markup {
    let mut paths: [String; 5] = Default::default();
    let mut at = 0;
    for run in cells.chunk_by(|a, b| a.level() == b.level()) {
        let level = run.first().map_or(0, |cell| cell.level());
        if level > 0 {
            let (top, length) = (TOPS[level], run.len());
            let _always_ok = write!(paths[level], "M{at} {top}h{length}V12h-{length}z");
        }
        at += run.len();
    }
    let drifted = cells.iter().filter(|cell| cell.verdict == Some(Verdict::Drift)).count();
    let label = format!("{drifted} of {} drifted", cells.len());
    html! {
        svg.strip viewBox={ "0 0 " (cells.len().max(1)) " 12" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
                path class={ "l" (level) } d=(path) {}
            }
        }
    }
}

/// How many floors an effect is, as a bar with the floor marked.
///
/// `drifted` says that it is also more than chance explains.
pub(super) fn effect_bar(effect: f64, drifted: bool) -> Markup {
    let place = |value: f64| coordinate((value.max(0.0).ln_1p() / TOP_EFFECT.ln_1p()).min(1.0) * 100.0);
    let class = if drifted { "over" } else { "under" };
    html! {
        svg.bar-chart viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="6" {}
            rect.(class) width=(place(effect)) height="6" {}
            path.floor-mark d={ "M" (place(1.0)) " 0V6" } {}
        }
    }
}

/// A share of 1 as a bar.
pub(super) fn share_bar(share: f64) -> Markup {
    html! {
        svg.bar-chart viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="6" {}
            rect.share width=(coordinate(share.clamp(0.0, 1.0) * 100.0)) height="6" {}
        }
    }
}

/// One instant of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dot {
    pub(super) at: DateTime<Utc>,
    pub(super) value: Option<f64>,
    pub(super) verdict: Verdict,
    /// Whether it is the one that is looked at.
    pub(super) here: bool,
}

/// A statistic over time against the floor that it has to reach.
pub(super) fn history(dots: &[Dot], floor: f64, name: &str) -> Markup {
    let (width, height) = (720.0, 180.0);
    let highest = dots.iter().filter_map(|dot| dot.value).fold(floor, f64::max);
    let top = if highest > 0.0 { highest * 1.08 } else { 1.0 };
    let is_wide = floor > 0.0 && highest > WIDE * floor;
    let y = |value: f64| {
        let value = value.max(0.0);
        let share = if is_wide { (value / floor).ln_1p() / (top / floor).ln_1p() } else { value / top };
        coordinate(height - share * height)
    };
    let step = width / dots.len().max(1) as f64;
    let (mut line, mut calm, mut drifted, mut unsure) =
        (String::new(), String::new(), String::new(), String::new());
    let mut here = None;
    let mut is_down = false;
    for (index, dot) in dots.iter().enumerate() {
        let x = coordinate((index as f64 + 0.5) * step);
        if dot.here {
            here = Some(x.clone());
        }
        let Some(value) = dot.value else {
            is_down = false;
            let _always_ok = write!(unsure, "M{x} {}h0", coordinate(height - 3.0));
            continue;
        };
        let _always_ok = write!(line, "{}{x} {}", if is_down { "L" } else { "M" }, y(value));
        is_down = true;
        let marks = match dot.verdict {
            Verdict::Drift => &mut drifted,
            Verdict::Ok => &mut calm,
            Verdict::InsufficientData | Verdict::Untrusted => &mut unsure,
        };
        let _always_ok = write!(marks, "M{x} {}h0", y(value));
    }
    let count = dots.iter().filter(|dot| dot.verdict == Verdict::Drift).count();
    let label = format!(
        "{name} in the last {} windows: at most {}, the floor is {}; {count} drifted",
        dots.len(),
        crate::drift::short(highest),
        crate::drift::short(floor)
    );
    let ticks: Vec<&Dot> = match dots.len() {
        0 => Vec::new(),
        1..5 => dots.iter().collect(),
        many => (0..5).filter_map(|tick| dots.get(tick * (many - 1) / 4)).collect(),
    };
    html! {
        figure.history {
            div.plot {
                div.scale aria-hidden="true" { span { (crate::drift::short(rounded_up(top))) } span { "0" } }
                svg.chart viewBox="0 0 720 180" preserveAspectRatio="none" role="img" aria-label=(label) {
                    @if let Some(x) = here { path.here d={ "M" (x) " 0V180" } {} }
                    path.floor d={ "M0 " (y(floor)) "H720" } {}
                    path.line d=(line) {}
                    @if !calm.is_empty() { path.calm d=(calm) {} }
                    @if !unsure.is_empty() { path.unsure d=(unsure) {} }
                    @if !drifted.is_empty() { path.drift d=(drifted) {} }
                }
            }
            div.axis aria-hidden="true" { @for dot in ticks { span { (dot.at.format("%F")) } } }
            figcaption {
                span.key-floor { "floor " (crate::drift::short(floor)) }
                span.key-drift { "drifted" }
                span.key-calm { "ok" }
                @if is_wide { span { "logarithmic scale" } }
                span.key-unsure { (verdict_word(Verdict::InsufficientData)) " or " (verdict_word(Verdict::Untrusted)) }
            }
        }
    }
}

fn rounded_up(value: f64) -> f64 {
    crate::drawing::rounded((value * 100.0).round() / 100.0)
}

/// Two distributions over one another.
pub(super) fn distribution(shape: &Shape, name: &str, current: &str) -> Markup {
    match shape {
        Shape::Curve(curve) => self::curve(curve, name, current),
        Shape::Bars(bars) => {
            let most = bars.iter().map(|bar| bar.reference.max(bar.current)).fold(0.0, f64::max);
            html! {
                div.scroll role="region" aria-label={ "Distribution of " (name) } tabindex="0" {
                    table.bars {
                        thead { tr {
                            th scope="col" { "value" } th.pair scope="col" { "baseline over " (current) }
                            th.n scope="col" { "baseline" } th.n scope="col" { (current) }
                        } }
                        tbody {
                            @for bar in bars {
                                tr {
                                    th scope="row" { (bar.label) }
                                    td.pair { (maud::PreEscaped(pair(bar.reference, bar.current, most))) }
                                    td.n { (percent(bar.reference)) }
                                    td.n { (percent(bar.current)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn curve(curve: &Curve, name: &str, current: &str) -> Markup {
    let most = curve.reference.iter().chain(&curve.current).copied().fold(0.0, f64::max);
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| tick(curve, share));
    let (outside_reference, outside_current) = curve.outside;
    html! {
        figure {
            svg.chart.dist viewBox="0 0 640 160" preserveAspectRatio="none" role="img"
                aria-label={ "Distribution of " (name) ": baseline as a filled area, " (current) " as a dashed line, from "
                             (ticks[0]) " to " (ticks[4]) } {
                path.r d=(outline(&curve.reference, most, 640.0, 160.0)) {}
                path.c d=(outline(&curve.current, most, 640.0, 160.0)) {}
            }
            div.axis aria-hidden="true" { @for tick in &ticks { span { (tick) } } }
            figcaption {
                span.key-reference { "baseline" }
                span.key-current { (current) }
                @if outside_reference > 5e-4 || outside_current > 5e-4 {
                    span {
                        "Far out and not drawn: " (percent(outside_reference)) " of the baseline, "
                        (percent(outside_current)) " of the window."
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(effect: f32, verdict: Verdict) -> Cell {
        Cell { effect: Some(effect), verdict: Some(verdict) }
    }

    #[test]
    fn windows_alike_are_one_path() {
        let cells = [
            cell(0.1, Verdict::Ok),
            cell(3.0, Verdict::Drift),
            cell(2.0, Verdict::Drift),
            cell(0.7, Verdict::Ok),
            Cell::default(),
        ];
        let drawn = strip(&cells).into_string();
        assert!(drawn.contains(r#"<path class="l4" d="M1 0h2V12h-2z">"#), "{drawn}");
        assert!(drawn.contains(r#"<path class="l2" d="M3 7h1V12h-1z">"#), "{drawn}");
        assert!(drawn.contains("2 of 5 drifted"), "{drawn}");
    }

    #[test]
    fn drift_outweighs_what_shares_its_cell() {
        let (drift, calm) = (cell(1.5, Verdict::Drift), cell(9.0, Verdict::Ok));
        assert_eq!(calm.or(drift), drift);
        assert_eq!(drift.or(calm), drift);
        assert_eq!(Cell::default().or(calm), calm);
    }

    #[test]
    fn a_chart_of_nothing_is_drawn() {
        assert!(sparkline(&[], "m").into_string().contains("svg"));
        assert!(history(&[], 0.1, "psi").into_string().contains("svg"));
    }
}
