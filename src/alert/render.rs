//! A message as a subject line, plain text and HTML. Everything that comes from data is escaped.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::evidence::percent;
use super::message::{Item, Message, Notice, Status};
use super::template::number_text;

/// Longest subject line, in characters.
const MAX_SUBJECT: usize = 150;

/// A message, ready for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line without control characters.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// A complete HTML document; needs nothing from elsewhere.
    pub html: String,
}

impl Message {
    /// Renders the message.
    pub fn render(&self) -> Rendered {
        Rendered { subject: self.subject(), text: self.text(), html: self.html() }
    }

    fn subject(&self) -> String {
        let status = self.status.as_str().to_uppercase();
        let rules: BTreeSet<&str> = self.alerts.iter().map(|notice| notice.rule.as_str()).collect();
        let rules = rules.into_iter().collect::<Vec<_>>().join(", ");
        let models: BTreeSet<&str> = self.alerts.iter().map(|notice| notice.model.as_str()).collect();
        let models = models.into_iter().collect::<Vec<_>>().join(", ");
        let line = format!("[{status}] {rules} on {models}: {}", self.summary);
        let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if clean.chars().count() <= MAX_SUBJECT {
            return clean;
        }
        clean.chars().take(MAX_SUBJECT - 1).chain(['…']).collect()
    }

    /// What the window was, as name and value; of the first alert, which the message is about.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(first) = self.alerts.first() else { return Vec::new() };
        let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
        let mut facts = vec![
            ("Model", first.model.to_string()),
            (
                "Rule",
                if first.expression.is_empty() {
                    first.rule.clone()
                } else {
                    format!("{} ({})", first.rule, first.expression)
                },
            ),
        ];
        facts.extend(self.severity().map(|severity| ("Severity", severity.to_owned())));
        facts.extend([
            ("Window", format!("{} to {}", time(first.window_start), time(first.window_end))),
            ("Firing since", time(self.group.since)),
        ]);
        if let Some(baseline) = &first.baseline {
            let rows = format!("{} against {} of the baseline {baseline}", first.rows, first.rows_reference);
            facts.push(("Rows", rows));
        }
        facts.push(("Lost on the way", percent(first.loss_share)));
        facts
    }

    fn text(&self) -> String {
        let mut out = format!("{}: {}\n\n", self.status.as_str().to_uppercase(), self.summary);
        for (name, value) in self.facts() {
            line(&mut out, format_args!("{name:<16}{value}"));
        }
        for Notice { item, status, .. } in &self.alerts {
            if *status == Status::Resolved {
                line(&mut out, format_args!("\n{}", after(item)));
                continue;
            }
            line(&mut out, format_args!("\n{}", item.summary));
            for clause in &item.moved {
                line(&mut out, format_args!("  - {clause}"));
            }
            if !item.bins.is_empty() {
                line(&mut out, format_args!("  the bins that moved most (baseline -> window):"));
                for bin in &item.bins {
                    let (from, to) = (percent(bin.reference), percent(bin.current));
                    line(&mut out, format_args!("    {:<24}{from:>8} -> {to:>8}", bin.label));
                }
            }
        }
        if self.more > 0 {
            line(&mut out, format_args!("\nand {} more", self.more));
        }
        line(&mut out, format_args!("\nWhat to do next"));
        for step in &self.next {
            line(&mut out, format_args!("  {}:\n    {}", step.purpose, step.command));
        }
        out
    }

    fn html(&self) -> String {
        let (colour, word) = match self.status {
            Status::Firing => ("#c2410c", "Firing"),
            Status::Resolved => ("#15803d", "Resolved"),
        };
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta name=\"supported-color-schemes\" content=\"light dark\">\
             <title>{}</title><style>{STYLE}</style></head>\n<body><div class=\"page\">\n\
             <p class=\"status\" style=\"background:{colour}\">{word}</p>\n<h1>{}</h1>\n",
            escape(&self.subject()),
            escape(&self.summary),
        );
        out.push_str("<table class=\"facts\" role=\"presentation\">\n");
        for (name, value) in self.facts() {
            line(&mut out, format_args!("<tr><th>{name}</th><td>{}</td></tr>", escape(&value)));
        }
        out.push_str("</table>\n");
        for Notice { item, status, .. } in &self.alerts {
            item_html(&mut out, item, *status);
        }
        if self.more > 0 {
            line(&mut out, format_args!("<p>and {} more</p>", self.more));
        }
        out.push_str("<h2>What to do next</h2>\n");
        for step in &self.next {
            let (purpose, command) = (escape(&step.purpose), escape(&step.command));
            line(&mut out, format_args!("<p class=\"step\">{purpose}<br><code>{command}</code></p>"));
        }
        out.push_str("</div></body></html>\n");
        out
    }
}

/// Colours that hold on white and on black; the dark scheme only lightens what is grey.
const STYLE: &str = "body{margin:0;padding:0;font:15px/1.45 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
.page{max-width:640px;margin:0 auto;padding:16px}\
h1{font-size:19px;line-height:1.3;margin:10px 0 14px}h2{font-size:16px;margin:22px 0 6px}\
.status{display:inline-block;margin:0;padding:2px 10px;border-radius:4px;color:#fff;font-weight:600}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:3px 8px 3px 0}\
.facts th{font-weight:400;color:#6b7280;white-space:nowrap;width:1%;padding-right:14px}\
.bins{font-size:13px;margin-top:6px}.bins th{font-weight:400;color:#6b7280}\
.bins .bar{width:45%}.label{word-break:break-word}.share{white-space:nowrap;text-align:right}\
.track{height:7px;border-radius:2px;margin:2px 0}.was{background:#94a3b8}.is{background:#ea580c}\
ul{margin:4px 0;padding-left:20px}code{font:13px/1.5 ui-monospace,Consolas,monospace;word-break:break-all}\
.step{margin:6px 0}@media (prefers-color-scheme:dark){body{background:#111418;color:#e5e7eb}\
.facts th,.bins th{color:#9ca3af}}";

/// What is said of a subject whose alert is over.
fn after(item: &Item) -> String {
    match item.verdict {
        Some(verdict) => format!("{}: {} in this window", item.subject, verdict.as_str()),
        None => item.summary.clone(),
    }
}

fn item_html(out: &mut String, item: &Item, status: Status) {
    if status == Status::Resolved {
        line(out, format_args!("<p>{}</p>", escape(&after(item))));
        return;
    }
    line(out, format_args!("<h2>{}</h2>", escape(&item.summary)));
    if !item.moved.is_empty() {
        out.push_str("<ul>");
        for clause in &item.moved {
            line(out, format_args!("<li>{}</li>", escape(clause)));
        }
        out.push_str("</ul>\n");
    }
    if item.bins.is_empty() {
        return;
    }
    let widest = item.bins.iter().map(|bin| bin.reference.max(bin.current)).fold(f64::MIN_POSITIVE, f64::max);
    out.push_str(
        "<table class=\"bins\"><tr><th>Bins that moved most</th><th class=\"share\">baseline</th>\
         <th class=\"share\">window</th><th></th></tr>\n",
    );
    for bin in &item.bins {
        let width = |share: f64| (100.0 * share / widest).clamp(0.0, 100.0).max(1.0);
        line(
            out,
            format_args!(
                "<tr><td class=\"label\">{}</td><td class=\"share\">{}</td><td class=\"share\">{}</td>\
                 <td class=\"bar\"><div class=\"track was\" style=\"width:{:.0}%\"></div>\
                 <div class=\"track is\" style=\"width:{:.0}%\"></div></td></tr>",
                escape(&bin.label),
                percent(bin.reference),
                percent(bin.current),
                width(bin.reference),
                width(bin.current),
            ),
        );
    }
    line(
        out,
        format_args!("</table><p class=\"label\">effect {} times its floor</p>", number_text(item.effect)),
    );
}

/// Adds a line; writing to a `String` does not fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(out, "{text}");
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::example;
    use crate::alert::{RuleSet, evaluate};

    fn message(feature: &str) -> Message {
        let rules = "groups:\n- name: g\n  rules:\n  - alert: FeatureDrift\n    for_each: feature\n    \
                     expr: verdict == \"drift\"\n    labels: {severity: warning}\n    receivers: [oncall]\n    \
                     annotations: {summary: \"{{feature}} drifted: PSI {{psi}} (p {{p}})\"}\n    retrain: {mode: auto}";
        let rules = RuleSet::parse(&[("r.yaml".to_owned(), rules.to_owned())]).unwrap();
        let report = example::report(&[(feature, 0.31), ("hum", 0.2)]);
        let id = uuid::Uuid::from_u128(7);
        let alerts = evaluate(&rules, &report, id, &[], report.window_end).alerts;
        example::told(&alerts, &["oncall"]).remove(0)
    }

    #[test]
    fn a_message_reads_well() {
        let rendered = message("temp").render();
        assert_eq!(
            rendered.subject,
            "[FIRING] FeatureDrift on bike-demand: temp drifted: PSI 0.31 (p 1.0e-30); also hum"
        );
        for part in [
            "FIRING: temp drifted: PSI 0.31",
            "Rows            1000 against 10000 of the baseline b3a1",
            "Lost on the way 1.0 %",
            "  - its mean moved up by 0.62 standard deviations",
            "    (-inf, 3.5]               50.0 % ->   20.0 %",
            "driftline drift explain 00000000-0000-0000-0000-000000000007",
            "retrain list -m bike-demand",
        ] {
            assert!(rendered.text.contains(part), "{part}\n{}", rendered.text);
        }
        for part in ["<h1>temp drifted", "(-inf, 3.5]", "width:100%", "color-scheme", "severity"] {
            assert!(rendered.html.to_lowercase().contains(part), "{part}\n{}", rendered.html);
        }
    }

    #[test]
    fn names_from_data_cannot_break_out() {
        let rendered = message("<img src=x onerror=alert(1)>\r\nBcc: all@example.com").render();
        assert!(!rendered.html.contains("<img"), "{}", rendered.html);
        assert!(!rendered.subject.chars().any(char::is_control), "{}", rendered.subject);
        let long = message(&"x".repeat(5000)).render();
        assert!(long.subject.chars().count() <= MAX_SUBJECT);
    }

    proptest! {
        #[test]
        fn html_has_only_our_own_tags(name in ".{0,60}") {
            let tags = |html: &str| html.chars().filter(|c| "<>\"".contains(*c)).count();
            let plain = message("temp").render();
            let odd = message(&name).render();
            prop_assert_eq!(tags(&odd.html), tags(&plain.html));
            prop_assert!(!odd.subject.chars().any(char::is_control));
        }
    }
}
