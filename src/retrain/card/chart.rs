//! Pictures of a card as SVG: lines, columns and bars in a frame.

use std::fmt::Write as _;

/// Width of a picture.
const WIDTH: f64 = 640.0;

/// Height of a picture.
const HEIGHT: f64 = 260.0;

/// Room for the numbers beside and below.
const MARGIN: f64 = 56.0;

/// Colours of lines, told apart by those who see few colours too.
const COLOURS: [&str; 3] = ["#2a6fb0", "#c8611a", "#5b5b5b"];

/// A line of a picture.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether its points are marked.
    pub(super) dots: bool,
}

/// Lines over a common scale.
pub(super) fn lines(title: &str, across: &str, up: &str, lines: &[Line<'_>]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let span = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high > low { (low, high) } else { (low - 0.5, low + 0.5) }
    };
    let (left, right) = span(all().map(|point| point.0).collect());
    let (bottom, top) = span(all().map(|point| point.1).collect());
    let place = |(x, y): (f64, f64)| {
        let x = MARGIN + (x - left) / (right - left) * (WIDTH - 2.0 * MARGIN);
        let y = HEIGHT - MARGIN - (y - bottom) / (top - bottom) * (HEIGHT - 2.0 * MARGIN);
        (x, y)
    };
    let mut picture = frame(title, across, up);
    scale(&mut picture, (left, right), (bottom, top));
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> =
            line.points.iter().map(|&point| place(point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        add(
            &mut picture,
            format_args!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                path.join(" ")
            ),
        );
        if line.dots {
            for (x, y) in line.points.iter().map(|&point| place(point)) {
                add(
                    &mut picture,
                    format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"),
                );
            }
        }
    }
    let mut at = MARGIN;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        add(
            &mut picture,
            format_args!(
                "<rect x=\"{at:.0}\" y=\"32\" width=\"12\" height=\"4\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"38\">{}</text>",
                at + 16.0,
                escape(line.name)
            ),
        );
        at += 40.0 + 7.0 * line.name.chars().count() as f64;
    }
    picture + "</svg>\n"
}

/// Columns of counts over intervals.
pub(super) fn columns(title: &str, across: &str, up: &str, bins: &[(f64, f64, f64)]) -> String {
    let left = bins.first().map_or(0.0, |bin| bin.0);
    let right = bins.last().map_or(1.0, |bin| bin.1);
    let most = bins.iter().map(|bin| bin.2).fold(0.0, f64::max).max(1.0);
    let width = if right > left { right - left } else { 1.0 };
    let mut picture = frame(title, across, up);
    scale(&mut picture, (left, right), (0.0, most));
    for (from, until, count) in bins {
        let x = MARGIN + (from - left) / width * (WIDTH - 2.0 * MARGIN);
        let wide = ((until - from) / width * (WIDTH - 2.0 * MARGIN) - 1.0).max(1.0);
        let high = count / most * (HEIGHT - 2.0 * MARGIN);
        add(
            &mut picture,
            format_args!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" fill=\"{}\"/>",
                HEIGHT - MARGIN - high,
                COLOURS[0]
            ),
        );
    }
    picture + "</svg>\n"
}

/// Named bars from the left, with their numbers in per cent.
pub(super) fn bars(title: &str, bars: &[(String, f64)]) -> String {
    let height = 48.0 + 24.0 * bars.len() as f64;
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let mut picture = open(title, height);
    for (row, (name, share)) in bars.iter().enumerate() {
        let y = 36.0 + 24.0 * row as f64;
        let wide = if most > 0.0 { share / most * 330.0 } else { 0.0 };
        let short: String = if name.chars().count() > 28 {
            name.chars().take(27).chain(['…']).collect()
        } else {
            name.clone()
        };
        add(
            &mut picture,
            format_args!(
                "<text x=\"214\" y=\"{:.0}\" text-anchor=\"end\">{}</text><rect x=\"222\" y=\"{y:.0}\" width=\"{wide:.1}\" \
             height=\"16\" fill=\"{}\"/><text x=\"{:.0}\" y=\"{:.0}\">{:.1} %</text>",
                y + 13.0,
                escape(&short),
                COLOURS[0],
                228.0 + wide,
                y + 13.0,
                100.0 * share
            ),
        );
    }
    picture + "</svg>\n"
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"{title}\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\
         <text x=\"{}\" y=\"20\" text-anchor=\"middle\" font-size=\"14\">{title}</text>",
        WIDTH / 2.0
    )
}

fn frame(title: &str, across: &str, up: &str) -> String {
    let mut picture = open(title, HEIGHT);
    let (right, bottom) = (WIDTH - MARGIN, HEIGHT - MARGIN);
    add(
        &mut picture,
        format_args!(
            "<path d=\"M{MARGIN} {MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"#888888\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text x=\"14\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {})\">{}</text>",
            WIDTH / 2.0,
            HEIGHT - 14.0,
            escape(across),
            HEIGHT / 2.0,
            HEIGHT / 2.0,
            escape(up)
        ),
    );
    picture
}

/// The ends of both scales.
fn scale(picture: &mut String, (left, right): (f64, f64), (bottom, top): (f64, f64)) {
    let base = HEIGHT - MARGIN;
    let end = WIDTH - MARGIN;
    add(
        picture,
        format_args!(
            "<text x=\"{MARGIN}\" y=\"{}\">{}</text><text x=\"{end}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            base + 16.0,
            number(left),
            base + 16.0,
            number(right),
            MARGIN - 4.0,
            number(bottom),
            MARGIN - 4.0,
            MARGIN + 6.0,
            number(top)
        ),
    );
}

/// Three digits that matter.
fn number(value: f64) -> String {
    let size = value.abs();
    if !(1e-12..100.0).contains(&size) {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else if size >= 0.001 {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}

fn add(picture: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    picture.write_fmt(part).unwrap_or_default();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
