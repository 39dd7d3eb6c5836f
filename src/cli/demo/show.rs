//! How the demo prints what happens.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use sqlx::PgPool;

use super::mailbox::Arrival;
use crate::cli::models::importance;
use crate::drift::{DriftReport, Verdict};
use crate::model::ModelName;
use crate::store;

pub(super) fn heading(out: &mut impl Write, text: &str) -> anyhow::Result<()> {
    writeln!(out, "\n== {text}")?;
    out.flush()?;
    Ok(())
}

pub(super) fn table_head(out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "  {:12} {:>5}  {:18} columns by PSI, largest first (! = drift)",
        "window", "rows", "verdict"
    )?;
    Ok(())
}

/// One line per window.
pub(super) fn report(report: &DriftReport, out: &mut impl Write) -> anyhow::Result<()> {
    let mut columns: Vec<(&str, f64, bool)> = report
        .features
        .iter()
        .filter_map(|f| Some((f.name.as_str(), *f.statistics.get("psi")?, f.verdict == Verdict::Drift)))
        .collect();
    columns.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown: Vec<String> = columns
        .iter()
        .take(4)
        .map(|(name, psi, drifted)| format!("{name} {psi:.2}{}", if *drifted { "!" } else { "" }))
        .collect();
    writeln!(
        out,
        "  {:12} {:>5}  {:18} {}",
        report.window_start.format("%F").to_string(),
        report.rows,
        report.verdict.as_str(),
        shown.join("  ")
    )?;
    out.flush()?;
    Ok(())
}

/// What arrived, as its reader would see it.
pub(super) fn arrival(arrival: &Arrival, out: &mut impl Write) -> anyhow::Result<()> {
    match arrival {
        Arrival::Mail { to, content } => {
            writeln!(out, "\n  --- e-mail to {} ---", to.join(", "))?;
            for line in readable(content).lines() {
                writeln!(out, "  | {line}")?;
            }
        }
        Arrival::Webhook { id, signed, body } => {
            let body: Json = serde_json::from_str(body).unwrap_or(Json::Null);
            let text = |key: &str| body.pointer(key).and_then(Json::as_str).unwrap_or_default().to_owned();
            let signature = if *signed { "signed" } else { "not signed" };
            writeln!(out, "\n  --- webhook {id} ({signature}) ---")?;
            let alerts = body.pointer("/data/alerts").and_then(Json::as_array).map_or(0, Vec::len);
            let more = body.pointer("/data/more").and_then(Json::as_u64).unwrap_or_default();
            let group = text("/data/group/key");
            writeln!(
                out,
                "  | {} ({}), {} alerts of group {}: {}",
                text("/type"),
                text("/data/occasion"),
                u64::try_from(alerts).unwrap_or_default().saturating_add(more),
                group.get(..12).unwrap_or(&group),
                text("/data/summary")
            )?;
        }
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// The subject and the plain text part of a message.
fn readable(message: &str) -> String {
    let unfolded = message.replace("\r\n", "\n");
    let unfolded = match unfolded.split_once("\n\n") {
        Some((head, body)) => format!("{}\n\n{body}", head.replace("\n ", " ").replace("\n\t", " ")),
        None => unfolded,
    };
    let subject = unfolded
        .lines()
        .find_map(|line| line.strip_prefix("Subject: "))
        .map(|subject| format!("Subject: {subject}\n\n"))
        .unwrap_or_default();
    let Some(start) = unfolded.find("Content-Type: text/plain") else { return subject };
    let part = &unfolded[start..];
    let (head, rest) = part.split_once("\n\n").unwrap_or((part, ""));
    let body = rest.split("\n--").next().unwrap_or_default();
    let text = if head.contains("base64") {
        let packed: String = body.split_whitespace().collect();
        STANDARD.decode(packed).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    } else if head.contains("quoted-printable") {
        unquote(body)
    } else {
        body.to_owned()
    };
    format!("{subject}{}", text.trim_end())
}

/// Decodes quoted-printable text (RFC 2045, section 6.7).
fn unquote(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'=', [b'\n', tail @ ..]) => tail,
            (b'=', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let code = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(code.unwrap_or(b'?'));
                tail
            }
            (byte, tail) => {
                bytes.push(byte);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Moves the bar to where the run is.
pub(super) fn progress(bar: &indicatif::ProgressBar, progress: &Json) {
    let number = |key: &str| progress.get(key).and_then(Json::as_u64);
    if let (Some(epoch), Some(max)) = (number("epoch"), number("max_epochs")) {
        bar.set_length(max.max(1));
        bar.set_position(epoch);
        let loss = |key: &str| progress.get(key).and_then(Json::as_f64).unwrap_or(f64::NAN);
        let candidate = progress.get("candidate").and_then(Json::as_str).unwrap_or_default().to_owned();
        bar.set_message(format!(
            "{candidate}, epoch {epoch}: training loss {:.4}, validation loss {:.4}",
            loss("train_loss"),
            loss("validation_loss")
        ));
    }
}

/// The production version as the registry has it.
pub(super) async fn version(pool: &PgPool, model: &ModelName, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(row) = store::model_version::production(pool, model).await? else { return Ok(()) };
    writeln!(out, "  registered  {} version {}, {} ({})", row.model, row.version, row.kind, row.state)?;
    writeln!(
        out,
        "    artifact  {} sha256 {}",
        row.artifact_uri,
        &row.artifact_sha256[..16.min(row.artifact_sha256.len())]
    )?;
    writeln!(
        out,
        "    snapshot  {} ({} rows), seed {}, baseline {}",
        &row.snapshot[..16.min(row.snapshot.len())],
        row.snapshot_rows,
        row.seed,
        row.baseline
    )?;
    let shares: Vec<String> = importance(&row.metrics)
        .into_iter()
        .take(5)
        .map(|(name, share)| format!("{name} {:.0} %", 100.0 * share))
        .collect();
    if !shares.is_empty() {
        writeln!(out, "    rests on  {}", shares.join(", "))?;
    }
    Ok(())
}

/// What the windows said, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    windows: [(&'static str, usize); 4],
    pub(super) arrivals: usize,
}

impl Tally {
    pub(super) fn count(&mut self, report: &DriftReport) {
        let word = report.verdict.as_str();
        for slot in &mut self.windows {
            if slot.0.is_empty() || slot.0 == word {
                *slot = (word, slot.1 + 1);
                return;
            }
        }
    }

    pub(super) fn show(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let windows: Vec<String> = self
            .windows
            .iter()
            .filter(|(word, _)| !word.is_empty())
            .map(|(word, n)| format!("{n} {word}"))
            .collect();
        writeln!(out, "  windows     {}", windows.join(", "))?;
        writeln!(out, "  messages    {} delivered", self.arrivals)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_part_is_found_and_decoded() {
        let quoted = "Subject: hello\nContent-Type: multipart/alternative\n\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\na=20b=\nc\n--b--\n";
        assert_eq!(readable(quoted), "Subject: hello\n\na bc");
        let packed = "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n";
        assert_eq!(readable(packed), "hello");
    }
}
