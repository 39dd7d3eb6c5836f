//! The reference of all metrics, as `docs/metrics.md` has it.

use std::fmt::Write as _;

use super::{Declared, Metrics};

/// What each label means, and why its values are bounded.
const LABELS: [(&str, &str); 26] = [
    ("baseline", "version of a baseline: 12 hexadecimal digits"),
    ("candidate", "`linear`, `tree`, `deep`"),
    (
        "change",
        "kind of difference between columns that came and those expected: `new`, `gone`, `renamed`, `kind`, `width`",
    ),
    ("check", "kind of expectation: `min`, `max`, `allowed`, …"),
    ("code", "HTTP status; `other` outside 100 to 599"),
    ("fault", "what driftline finds wrong with itself; the list is in rules/README.md"),
    (
        "feature",
        "a column of the baseline; an output is `output:NAME`, and `(other)` the worst of all columns past \
         `metrics.features`",
    ),
    (
        "figure",
        "a figure of traffic: `upstream_p50`, `upstream_p99`, `error_share`, …, as in rules without `traffic.`",
    ),
    ("grpc_status", "status of gRPC, 0 to 16; `other` for anything else"),
    ("kind", "kind of a registered version: `linear`, `tree`, `deep`"),
    (
        "metric",
        "a figure of performance: `accuracy`, `roc_auc`, `rmse`, …, as in rules without `performance.`; a fixed list",
    ),
    (
        "model",
        "a model of the settings, or `driftline` for alerts about itself; never a name that a client sent",
    ),
    ("note", "an oddity that decoding noted; a fixed list"),
    ("outcome", "what became of it; listed with the metric"),
    ("reason", "why it was not taken; a fixed list"),
    ("receiver", "a receiver of the settings"),
    ("result", "how it ended; listed with the metric"),
    ("rule", "a rule in force, or one with alerts that have not ended"),
    (
        "segment",
        "`COLUMN=VALUE`: at most `segment_values` of each column in `segments`, `(other)` and `(missing)`",
    ),
    ("share", "`0.5` the median, `0.95`"),
    ("source", "a source of the settings, or an entrance for messages: `events`, `predictions`, `azure`"),
    ("split", "part of the training data: `train`, `validation`"),
    ("state", "listed with the metric; of alerts `inactive`, `pending`, `firing`, `resolved`"),
    (
        "statistic",
        "`psi`, `ks`, `js`, `kl`, `hellinger`, `tvd`, `linf`, `chi2`, `wasserstein`, `wasserstein_norm`, `mean_shift`, …",
    ),
    ("verdict", "`ok`, `drift`, `insufficient_data`, `untrusted`"),
    ("version", "version of the program"),
];

/// What stands before the tables.
const HEAD: &str = "# Metrics

`/metrics` on the admin port (`127.0.0.1:9464`), in the text format of Prometheus. This page is printed by
`driftline docs metrics` from the declarations in `src/metrics`, and a test compares it.

- Times are seconds, sizes bytes, shares between 0 and 1.
- Counters are of this process and start at 0 with it; what comes from the database (drift, alerts, training, versions,
  labels, outbox) is the same in every replica: take `max by (model)` of it, not `sum`.
- A column of a baseline has about 15 series. At most `metrics.features` (100 unless set) columns of a model have series of
  their own, those with the largest effect; the others are one, `feature=\"(other)\"`, and
  `driftline_drift_hidden_columns` says how many they are.
- What is gone (a column, a segment, an alert) has no series any more; a value that does not apply is absent, never 0.
";

/// The reference as Markdown.
///
/// # Errors
///
/// When the metrics cannot be declared, which is not expected.
pub fn reference() -> prometheus::Result<String> {
    let metrics = Metrics::new()?;
    let mut text = HEAD.to_owned();
    let mut section = "";
    for metric in metrics.declared() {
        if metric.section != section {
            section = metric.section;
            line(
                &mut text,
                &format!("\n## {section}\n\n| metric | type | labels | what it says |\n|---|---|---|---|"),
            );
        }
        line(&mut text, &row(metric));
    }
    line(&mut text, "\n## What labels mean\n\n| label | values |\n|---|---|");
    for (label, meaning) in LABELS {
        line(&mut text, &format!("| `{label}` | {meaning} |"));
    }
    Ok(text)
}

fn row(metric: &Declared) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let help = metric.help.trim_end_matches('.').replace('|', "\\|");
    format!("| `{}` | {} | {} | {help} |", metric.name, metric.kind.as_str(), labels.join(", "))
}

fn line(text: &mut String, line: &str) {
    // Writing to a text cannot fail.
    writeln!(text, "{line}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_label_is_explained_once() {
        let metrics = Metrics::new().unwrap();
        let used: BTreeSet<&str> =
            metrics.declared().iter().flat_map(|metric| &metric.labels).map(String::as_str).collect();
        let explained: Vec<&str> = LABELS.iter().map(|(label, _)| *label).collect();
        assert!(explained.is_sorted(), "{explained:?}");
        assert_eq!(used.into_iter().collect::<Vec<_>>(), explained);
    }

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == reference().unwrap(),
            "docs/metrics.md is not what `driftline docs metrics` prints; hint: driftline docs metrics > docs/metrics.md"
        );
    }
}
