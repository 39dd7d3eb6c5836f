//! From a report to what a message says about one subject.

use std::collections::BTreeMap;

use super::message::{BinMove, Item};
use super::performance_names;
use super::rule::Rule;
use super::template::number_text;
use super::traffic_names::{self, figure_of};
use super::view::Look;
use super::vocabulary::{Fact, Scope, Subject};
use crate::drift::{BinEvidence, ComparedWith, FeatureReport, SegmentReport, Verdict};
use crate::expectations::CheckResult;
use crate::performance::Metric;
use crate::traffic::Figure;

/// Most violated checks that an item names.
const MAX_CHECKS: usize = 5;

/// Most bins that an item shows.
const MAX_BINS: usize = 6;

/// Describes one subject of a rule.
pub(super) fn item(rule: &Rule, subject: Subject<'_>) -> Item {
    match subject {
        Subject::Window(scope) => of_window(rule, scope),
        Subject::Look(look) | Subject::LookSegment(look, _) => of_look(rule, subject, look),
    }
}

/// Describes a model as it is between windows.
fn of_look(rule: &Rule, subject: Subject<'_>, look: &Look) -> Item {
    let numbers = rule.expression.names().iter().filter_map(|name| match subject.fact(name) {
        Some(Fact::Number(number)) => Some(((*name).to_owned(), number)),
        _ => None,
    });
    let moved = [performance_words(rule, subject), look_words(rule, look)].concat();
    let summary = rule.annotations.get("summary").map(|template| template.render(subject));
    let ratios = looked_at(rule)
        .filter(|figure| *figure != Figure::Requests)
        .filter_map(|figure| look.figures.get(&figure)?.ratio)
        .chain(worse_by(rule, subject));
    let cohort = subject.cohort().filter(|_| metrics(rule).next().is_some());
    Item {
        subject: subject.name().to_owned(),
        role: None,
        kind: None,
        verdict: None,
        p: None,
        statistics: numbers.collect(),
        n: cohort.map_or_else(|| look.requests(), |cohort| cohort.n),
        n_reference: 0,
        effect: ratios.fold(1.0, f64::max),
        importance: None,
        summary: summary.unwrap_or_else(|| {
            format!("{}: {}", subject.name(), moved.first().map_or(rule.expression.source(), String::as_str))
        }),
        moved,
        bins: Vec::new(),
    }
}

/// The figures of the traffic that a rule names; how much there was comes last, as it is seldom what is wrong.
fn looked_at(rule: &Rule) -> impl Iterator<Item = Figure> {
    let mut figures: Vec<Figure> =
        rule.expression.names().iter().filter_map(|name| figure_of(name)).collect();
    figures.sort_by_key(|figure| (*figure == Figure::Requests, *figure));
    figures.dedup();
    figures.into_iter()
}

/// The figures of performance that a rule names.
fn metrics(rule: &Rule) -> impl Iterator<Item = Metric> {
    let mut metrics: Vec<Metric> =
        rule.expression.names().iter().filter_map(|name| performance_names::metric_of(name)).collect();
    metrics.sort_unstable();
    metrics.dedup();
    metrics.into_iter()
}

/// What is known of the performance that a rule names, a sentence for each figure and one for the window.
fn performance_words(rule: &Rule, subject: Subject<'_>) -> Vec<String> {
    let Some((cohort, report)) =
        subject.cohort().zip(subject.look().and_then(|look| look.performance.as_ref()))
    else {
        return Vec::new();
    };
    let mut words: Vec<String> = metrics(rule).filter_map(|metric| cohort.sentence(metric)).collect();
    if rule.expression.names().iter().any(|name| performance_names::is_one(name)) {
        let window = report.window_start.format("%F %H:%M");
        let share = cohort.labelled_share().map(percent).unwrap_or_default();
        words.push(format!(
            "in the window from {window} UTC, {share} of {} predictions have a label",
            cohort.rows
        ));
    }
    words
}

/// How many times worse than before the figures of performance are that a rule names: errors by how much they grew, what
/// should be high by how much of it is left.
fn worse_by(rule: &Rule, subject: Subject<'_>) -> Vec<f64> {
    let Some(cohort) = subject.cohort() else { return Vec::new() };
    let ratio = |metric: Metric| {
        let (now, before) = (cohort.figures.get(&metric)?.value, cohort.before(metric)?);
        let (more, less) = if metric.more_is_better() { (before, now) } else { (now, before) };
        Some(more / less).filter(|ratio| ratio.is_finite() && *ratio > 0.0)
    };
    metrics(rule).filter_map(ratio).collect()
}

/// What a rule between windows looked at, a sentence each.
fn look_words(rule: &Rule, look: &Look) -> Vec<String> {
    let named = |name: &str| rule.expression.names().contains(&name);
    let span = |at| whole_seconds(look.seconds_since(at));
    let mut words: Vec<String> =
        looked_at(rule).filter_map(|figure| Some(look.figures.get(&figure)?.sentence(figure))).collect();
    if named("no_data") || named("seconds_since_prediction") {
        words.push(match look.last_prediction {
            Some(at) => format!("the last prediction came {} ago", span(at)),
            None => "no prediction has come yet".to_owned(),
        });
    }
    if named("seconds_since_report") || named("seconds_unjudged") {
        words.extend(look.last_report.map(|at| format!("a window was last judged {} ago", span(at))));
        words.extend(
            look.unjudged_since.map(|at| format!("predictions wait for a verdict since {}", span(at))),
        );
    }
    if named("seconds_since_label") {
        words.extend(look.last_label.map(|at| format!("the last label came {} ago", span(at))));
    }
    if named("loss_share") && look.losses.seen > 0 {
        words.push(format!("{} of the predictions was not recorded", percent(look.losses.share())));
    }
    words
}

/// A span of time in whole seconds, minutes from 2 minutes on, hours from 2 hours on.
fn whole_seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3600.0),
    }
}

/// Describes a window, or a column of it.
fn of_window(rule: &Rule, scope: Scope<'_>) -> Item {
    let report = scope.report;
    let summary = rule.annotations.get("summary").map(|template| template.render(scope));
    let checks = [checks(rule, scope), traffic(rule, scope)].concat();
    if let Some(segment) = scope.segment {
        return segment_item(segment, summary, traffic_figures(rule, scope));
    }
    let Some(column) = scope.column else {
        let drifted: Vec<&str> = report.drifted().map(|feature| feature.name.as_str()).collect();
        let fallback = format!("{}: {}", report.model, checks.first().unwrap_or(&report.reason));
        return Item {
            subject: report.model.to_string(),
            role: None,
            kind: None,
            verdict: Some(report.verdict),
            p: None,
            statistics: [("drifted".to_owned(), drifted.len() as f64)]
                .into_iter()
                .chain(traffic_figures(rule, scope))
                .collect(),
            n: report.rows,
            n_reference: report.rows_reference,
            effect: drifted.len() as f64,
            importance: None,
            summary: summary.unwrap_or(fallback),
            moved: [checks, model_words(drifted.len(), &drifted, report.features.len())].concat(),
            bins: Vec::new(),
        };
    };
    Item {
        subject: column.name.clone(),
        role: Some(column.role),
        kind: Some(column.kind),
        verdict: Some(column.verdict),
        p: column.p_adjusted.filter(|p| p.is_finite()),
        statistics: statistics(column).chain(traffic_figures(rule, scope)).collect(),
        n: column.n_current,
        n_reference: column.n_reference,
        effect: effect(column),
        importance: None,
        summary: summary
            .or_else(|| checks.first().cloned())
            .unwrap_or_else(|| format!("{}: {}", column.name, column.reason)),
        moved: [checks, words(column)].concat(),
        bins: moved_bins(&column.bins),
    }
}

/// Describes one segment, and of its columns the one that moved most.
fn segment_item(
    segment: &SegmentReport,
    summary: Option<String>,
    figures: impl Iterator<Item = (String, f64)>,
) -> Item {
    let strongest = segment.strongest();
    let drifted: Vec<&str> = segment
        .features
        .iter()
        .filter(|column| column.verdict == Verdict::Drift)
        .map(|column| column.name.as_str())
        .collect();
    let mut moved = model_words(segment.drifted, &drifted, segment.columns);
    moved.extend(strongest.into_iter().flat_map(|column| {
        let of_column = |words: String| format!("{}: {words}", column.name);
        words(column).into_iter().map(of_column)
    }));
    if segment.compared_with == ComparedWith::AllRows {
        moved.push("compared with all rows of the baseline, which holds no such segments".to_owned());
    }
    Item {
        subject: segment.segment.clone(),
        role: None,
        kind: None,
        verdict: Some(segment.verdict),
        p: strongest.and_then(|column| column.p_adjusted).filter(|p| p.is_finite()),
        statistics: [("drifted".to_owned(), segment.drifted as f64)]
            .into_iter()
            .chain(strongest.into_iter().flat_map(statistics))
            .chain(figures)
            .collect(),
        n: segment.rows,
        n_reference: segment.rows_reference,
        effect: strongest.map(effect).unwrap_or_default(),
        importance: None,
        summary: summary.unwrap_or_else(|| format!("{}: {}", segment.segment, segment.reason)),
        moved,
        bins: strongest.map(|column| moved_bins(&column.bins)).unwrap_or_default(),
    }
}

/// The finite statistics of a column.
fn statistics(column: &FeatureReport) -> impl Iterator<Item = (String, f64)> {
    let finite = column.statistics.iter().filter(|(_, value)| value.is_finite());
    finite.map(|(name, value)| (name.clone(), *value))
}

/// The sentences of violated checks, for a rule that looks at them.
fn checks(rule: &Rule, scope: Scope<'_>) -> Vec<String> {
    if !rule.expression.looks_at_checks() {
        return Vec::new();
    }
    let all = scope.violated().count();
    let mut sentences: Vec<String> = scope.violated().take(MAX_CHECKS).map(CheckResult::sentence).collect();
    if all > MAX_CHECKS {
        sentences.push(format!("{} more checks are violated", all - MAX_CHECKS));
    }
    sentences
}

/// What is worse of the traffic, for a rule that looks at it.
fn traffic(rule: &Rule, scope: Scope<'_>) -> Vec<String> {
    if rule.expression.looks_at_traffic() { traffic_names::sentences(scope.report) } else { Vec::new() }
}

/// The numbers of the traffic that a rule names.
fn traffic_figures(rule: &Rule, scope: Scope<'_>) -> impl Iterator<Item = (String, f64)> {
    rule.expression.traffic_names().filter_map(move |name| match scope.fact(name) {
        Some(Fact::Number(number)) => Some((name.to_owned(), number)),
        _ => None,
    })
}

/// What is left to say about a subject that the report no longer holds.
pub(super) fn absent(rule: &str, subject: &str, verdict: Option<Verdict>, why: &str) -> Item {
    Item {
        subject: subject.to_owned(),
        role: None,
        kind: None,
        verdict,
        p: None,
        statistics: BTreeMap::new(),
        n: 0,
        n_reference: 0,
        effect: 0.0,
        importance: None,
        summary: format!("{rule} of {subject} is over: {why}"),
        moved: Vec::new(),
        bins: Vec::new(),
    }
}

/// The deciding statistic in units of its floor; PSI in units of 0.1 where none decides.
fn effect(column: &FeatureReport) -> f64 {
    let in_floors = column.deciding.as_ref().filter(|deciding| deciding.floor > 0.0);
    let effect = match in_floors {
        Some(deciding) => deciding.value / deciding.floor,
        None => column.statistics.get("psi").copied().unwrap_or_default() / 0.1,
    };
    if effect.is_finite() { effect } else { 0.0 }
}

/// How many columns drifted, and the first of their names.
fn model_words(drifted: usize, names: &[&str], columns: usize) -> Vec<String> {
    if drifted == 0 {
        return vec![format!("none of {columns} columns drifted")];
    }
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let more = if drifted > 5 { format!(" and {} more", drifted - 5) } else { String::new() };
    vec![format!("{drifted} of {columns} columns drifted: {shown}{more}")]
}

/// How far a column moved, one clause each, the plainest first.
fn words(column: &FeatureReport) -> Vec<String> {
    let statistic = |name: &str| column.statistics.get(name).copied().filter(|value| value.is_finite());
    let mut words = Vec::new();
    if let Some(shift) = statistic("mean_shift").filter(|shift| shift.abs() >= 0.005) {
        let way = if shift > 0.0 { "up" } else { "down" };
        words.push(format!("its mean moved {way} by {} standard deviations", number_text(shift.abs())));
    }
    if let Some(deciding) = &column.deciding {
        let (value, floor) = (number_text(deciding.value), number_text(deciding.floor));
        let p = column.p_adjusted.map(|p| format!(", p {}", number_text(p))).unwrap_or_default();
        words.push(format!("{} {value} (floor {floor}{p})", deciding.statistic.to_uppercase()));
    }
    let missing = |missing: u64, usable: u64| share(missing, missing + usable);
    let before = missing(column.missing_reference, column.n_reference);
    let now = missing(column.missing_current, column.n_current);
    if (now - before).abs() >= 0.01 {
        words.push(format!("missing went from {} to {}", percent(before), percent(now)));
    }
    for (name, what) in [
        ("unseen_share", "were never seen in the baseline"),
        ("out_of_range_share", "lie outside the baseline's range"),
        ("wrong_type_share", "have the wrong type"),
    ] {
        if let Some(share) = statistic(name).filter(|share| *share >= 0.001) {
            words.push(format!("{} of the values {what}", percent(share)));
        }
    }
    words
}

/// Moves of a share under this are not worth a line.
const LEAST_MOVE: f64 = 0.005;

/// The bins whose shares moved most, in the report's order.
fn moved_bins(bins: &[BinEvidence]) -> Vec<BinMove> {
    let totals = bins.iter().fold((0, 0), |sum, bin| (sum.0 + bin.reference, sum.1 + bin.current));
    let mut moves: Vec<(usize, BinMove)> = bins
        .iter()
        .map(|bin| BinMove {
            label: bin.label.clone(),
            reference: share(bin.reference, totals.0),
            current: share(bin.current, totals.1),
        })
        .enumerate()
        .collect();
    let distance = |bin: &BinMove| (bin.current - bin.reference).abs();
    moves.retain(|(_, bin)| distance(bin) >= LEAST_MOVE);
    moves.sort_by(|(_, left), (_, right)| distance(right).total_cmp(&distance(left)));
    moves.truncate(MAX_BINS);
    moves.sort_by_key(|(index, _)| *index);
    moves.into_iter().map(|(_, bin)| bin).collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A share as a person reads it.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if !(0.005..99.95).contains(&percent) {
        format!("{percent:.0} %")
    } else if percent < 0.1 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}
