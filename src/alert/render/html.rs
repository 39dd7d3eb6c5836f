//! A message as HTML that mail programs show: tables, inline styles where they matter, no script, nothing loaded.

use super::Picture;
use super::outline::{Outline, Section};
use super::text::line;
use crate::alert::evidence::percent;
use crate::alert::message::BinMove;
use crate::alert::template::number_text;

/// Colour of the baseline, on white and on black.
const WAS: &str = "#94a3b8";

/// Colour of the window, on white and on black.
const IS: &str = "#ea580c";

/// The document of `outline`; a section with a picture shows it, the others draw bars.
pub(super) fn html(outline: &Outline, pictures: &[Picture]) -> String {
    let colour = match (outline.word, outline.firing) {
        ("Test", _) => "#1d4ed8",
        (_, true) => "#c2410c",
        (_, false) => "#15803d",
    };
    let headline = escape(&outline.headline);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\
         <title>{word}: {headline}</title><style>{STYLE}</style></head>\n<body>\
         <div style=\"display:none;max-height:0;overflow:hidden\">{word}: {headline}</div><div class=\"page\">\n\
         <p class=\"status\" style=\"background:{colour};color:#fff\">{word}</p>\n<h1>{headline}</h1>\n",
        word = outline.word,
    );
    if let Some(note) = &outline.note {
        line(&mut out, format_args!("<p>{}</p>", escape(note)));
    }
    facts(&mut out, &outline.facts);
    for (index, section) in outline.sections.iter().enumerate() {
        alert(&mut out, section, pictures.iter().find(|picture| picture.section == index));
    }
    if !outline.over.is_empty() {
        out.push_str("<ul>");
        for over in &outline.over {
            line(&mut out, format_args!("<li>{}</li>", escape(over)));
        }
        out.push_str("</ul>\n");
    }
    if outline.more > 0 {
        line(&mut out, format_args!("<p>and {} more</p>", outline.more));
    }
    if !outline.next.is_empty() {
        out.push_str("<h2>What to do next</h2>\n");
    }
    for step in &outline.next {
        let (purpose, command) = (escape(&step.purpose), escape(&step.command));
        line(&mut out, format_args!("<p class=\"step\">{purpose}<br><code>{command}</code></p>"));
    }
    out.push_str("</div></body></html>\n");
    out
}

/// Colours that hold on white and on black; the dark scheme only lightens what is grey.
const STYLE: &str = "body{margin:0;padding:0;font:15px/1.45 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
.page{max-width:640px;margin:0 auto;padding:16px}\
h1{font-size:19px;line-height:1.3;margin:10px 0 14px;overflow-wrap:anywhere}\
h2{font-size:16px;margin:22px 0 6px;overflow-wrap:anywhere}\
.status{display:inline-block;margin:0;padding:2px 10px;border-radius:4px;font-weight:600}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:3px 8px 3px 0}\
.facts td{overflow-wrap:anywhere}\
.facts th{font-weight:400;color:#6b7280;white-space:nowrap;width:1%;padding-right:14px}\
.bins{font-size:13px;margin-top:6px;max-width:560px}.bins th{font-weight:400;color:#6b7280}\
.bins .bar{width:45%}.label{overflow-wrap:anywhere}.share{white-space:nowrap;text-align:right}\
.track{height:7px;border-radius:2px;margin:2px 0}.picture{display:block;max-width:100%;height:auto;margin-top:8px}\
ul{margin:4px 0;padding-left:20px}li{overflow-wrap:anywhere}\
code{font:13px/1.5 ui-monospace,Consolas,monospace;overflow-wrap:anywhere}\
.step{margin:6px 0}@media (prefers-color-scheme:dark){body{background:#111418;color:#e5e7eb}\
.facts th,.bins th{color:#9ca3af}}";

fn facts(out: &mut String, facts: &[(&'static str, String)]) {
    if facts.is_empty() {
        return;
    }
    out.push_str("<table class=\"facts\" role=\"presentation\">\n");
    for (name, value) in facts {
        line(out, format_args!("<tr><th>{name}</th><td>{}</td></tr>", escape(value)));
    }
    out.push_str("</table>\n");
}

fn alert(out: &mut String, section: &Section, picture: Option<&Picture>) {
    line(out, format_args!("<h2>{}</h2>", escape(&section.title)));
    facts(out, &section.facts);
    if !section.moved.is_empty() {
        out.push_str("<ul>");
        for clause in &section.moved {
            line(out, format_args!("<li>{}</li>", escape(clause)));
        }
        out.push_str("</ul>\n");
    }
    if let Some(picture) = picture {
        let alt = "The bins that moved most, each with the baseline's share at the left and the window's at the right; \
                   the numbers are below.";
        line(
            out,
            format_args!(
                "<img class=\"picture\" src=\"{}\" width=\"{}\" alt=\"{alt}\">",
                escape(&picture.source),
                picture.width
            ),
        );
    }
    if !section.bins.is_empty() {
        bins(out, &section.bins, picture.is_none());
    }
    if let Some(effect) = section.effect {
        line(out, format_args!("<p class=\"label\">effect {} times its floor</p>", number_text(effect)));
    }
    for (name, value) in &section.texts {
        line(out, format_args!("<p class=\"label\">{}: {}</p>", escape(name), linked(value)));
    }
}

fn bins(out: &mut String, bins: &[BinMove], bars: bool) {
    let widest = bins.iter().map(|bin| bin.reference.max(bin.current)).fold(f64::MIN_POSITIVE, f64::max);
    let bar = if bars { "<th></th>" } else { "" };
    line(
        out,
        format_args!(
            "<table class=\"bins\"><tr><th>Bins that moved most</th>\
             <th class=\"share\"><span style=\"color:{WAS}\">&#9632;</span> baseline</th>\
             <th class=\"share\"><span style=\"color:{IS}\">&#9632;</span> window</th>{bar}</tr>"
        ),
    );
    for bin in bins {
        line(
            out,
            format_args!(
                "<tr><td class=\"label\">{}</td><td class=\"share\">{}</td><td class=\"share\">{}</td>",
                escape(&bin.label),
                percent(bin.reference),
                percent(bin.current),
            ),
        );
        if bars {
            let width = |share: f64| (100.0 * share / widest).clamp(0.0, 100.0).max(1.0);
            line(
                out,
                format_args!(
                    "<td class=\"bar\"><div class=\"track\" style=\"background:{WAS};width:{:.0}%\"></div>\
                     <div class=\"track\" style=\"background:{IS};width:{:.0}%\"></div></td>",
                    width(bin.reference),
                    width(bin.current),
                ),
            );
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// Escaped text; one that is a web address and nothing else becomes a link, as runbooks are.
fn linked(text: &str) -> String {
    let escaped = escape(text);
    let address = text.starts_with("https://") && !text.contains(char::is_whitespace);
    if address { format!("<a href=\"{escaped}\">{escaped}</a>") } else { escaped }
}

/// Text as it may stand in HTML, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
