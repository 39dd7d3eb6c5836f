//! A window's traffic against earlier windows of the same model.
//!
//! # Method
//!
//! A share is compared as it is. A quantile is compared as a share, too: that of the exchanges which took longer than the
//! same quantile of all earlier windows. So every figure comes down to two counts a window, and to the same question as
//! for a column of a baseline: does PSI on two bins exceed what independent exchanges *and* the natural variation between
//! windows explain? [`natural_variation`] learns the latter from the earlier windows, each against the rest of them. Only
//! a rise counts, and only one over its floor; p-values are adjusted by Holm for all figures.
//!
//! # Limits
//!
//! `cargo bench --no-default-features --bench traffic` simulates windows with nothing wrong. The promise is that of one
//! evaluation: at most `alpha` of such windows are found worse. It is the budget `false_alarms` of the model, once more
//! beside that of drift.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    Compared, Figure, ReferenceWindows, TrafficCounts, TrafficCriteria, TrafficReport, TrafficVerdict, Unit,
};
use crate::baseline::{Cycle, Season};
use crate::stats::natural_variation::{self, Block, MIN_BLOCKS, VariationKind};
use crate::stats::{self, Variation, holm};
use crate::window::{Window, window_index};

/// Earlier windows under which a window is not judged.
pub const MIN_WINDOWS: usize = MIN_BLOCKS;

/// Earlier windows past which no older ones are looked at: a week of five minutes.
pub const MAX_WINDOWS: u32 = 2016;

/// Earlier windows that are looked at, however long they are.
const USUAL_WINDOWS: u64 = 168;

/// Windows of one slot that are looked at where there is a season.
const SEASON_WINDOWS: u32 = 28;

/// The span that earlier windows are to cover.
const SPAN: Duration = Duration::from_hours(7 * 24);

const KIND: VariationKind = VariationKind::Psi { bins: 2 };

/// One earlier window.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// First instant.
    pub start: DateTime<Utc>,
    /// Its traffic.
    pub counts: TrafficCounts,
}

/// How far back earlier windows are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// At most so many, the newest.
    pub windows: u32,
    /// The season; `none` where windows are no part of its period.
    pub season: Season,
    /// Only windows whose number (from the epoch, by their length) leaves this remainder when divided by that: remainder
    /// and divisor.
    pub slot: Option<(i64, i64)>,
}

impl Reach {
    /// What `window` is compared with: the windows of a week, or 168 where that is more, up to [`MAX_WINDOWS`]; with a
    /// season, 28 of the same hour.
    pub fn of(window: Window, season: Season) -> Self {
        let length = (window.end - window.start).to_std().unwrap_or_default();
        if let Some(cycle) = Cycle::new(season, length) {
            let slots = i64::try_from(cycle.slots()).unwrap_or(1);
            let slot = window_index(window.start, length).rem_euclid(slots);
            return Self { windows: SEASON_WINDOWS, season, slot: Some((slot, slots)) };
        }
        let of_span = SPAN.as_secs().div_ceil(length.as_secs().max(1));
        let windows = u32::try_from(of_span.max(USUAL_WINDOWS)).unwrap_or(MAX_WINDOWS).min(MAX_WINDOWS);
        Self { windows, season: Season::None, slot: None }
    }
}

/// Earlier windows, merged, with what they tell about natural variation; learned when it is first asked for.
#[derive(Debug)]
pub struct Reference<'e> {
    earlier: &'e [Earlier],
    whole: TrafficCounts,
    /// In the order of [`Figure::TESTED`].
    learned: [OnceCell<Option<Learned>>; Figure::TESTED.len()],
}

/// One figure of the earlier windows: where its exchanges are split, and how the shares vary.
#[derive(Debug)]
struct Learned {
    split: Split,
    reference: [u64; 2],
    variation: Variation,
}

/// Judges the traffic of one window.
///
/// # Arguments
///
/// * `counts`: the window's.
/// * `earlier`: earlier windows within [`Reach`] that were not worse than those before them, oldest first.
/// * `left_out`: how many within reach were.
pub fn judge(
    counts: &TrafficCounts,
    earlier: &[Earlier],
    left_out: usize,
    season: Season,
    criteria: &TrafficCriteria,
) -> TrafficReport {
    let mut report = Reference::of(earlier).judge(counts, criteria);
    report.reference.season = season;
    report.reference.left_out = left_out;
    (report.verdict, report.reason) = decide(&report, counts.requests());
    report
}

impl<'e> Reference<'e> {
    /// The reference of these windows, oldest first.
    pub fn of(earlier: &'e [Earlier]) -> Self {
        let mut whole = TrafficCounts::default();
        for window in earlier {
            whole.merge(&window.counts);
        }
        Self { earlier, whole, learned: std::array::from_fn(|_| OnceCell::new()) }
    }

    /// Judges one window, as [`judge`] does without a season and with nothing left out.
    pub fn judge(&self, counts: &TrafficCounts, criteria: &TrafficCriteria) -> TrafficReport {
        let earlier = self.earlier;
        let known = earlier.len() >= MIN_WINDOWS;
        let mut figures = compare(counts, criteria.min_requests, |figure| {
            if known { baseline_of(figure, &self.whole, earlier) } else { None }
        });
        if known && counts.requests() >= criteria.min_requests {
            self.test(&mut figures, counts, criteria);
        }
        let mut report = TrafficReport {
            verdict: TrafficVerdict::Ok,
            reason: String::new(),
            criteria: criteria.clone(),
            reference: ReferenceWindows {
                season: Season::None,
                windows: earlier.len(),
                requests: self.whole.requests(),
                left_out: 0,
                first: earlier.first().map(|window| window.start),
                last: earlier.last().map(|window| window.start),
            },
            figures,
            statuses: counts.statuses().clone(),
            grpc_statuses: counts.grpc_statuses().clone(),
        };
        (report.verdict, report.reason) = decide(&report, counts.requests());
        report
    }

    /// Fills in the p-values of all tested figures.
    fn test(
        &self,
        figures: &mut BTreeMap<Figure, Compared>,
        counts: &TrafficCounts,
        criteria: &TrafficCriteria,
    ) {
        let p_values: [f64; Figure::TESTED.len()] = std::array::from_fn(|at| {
            let figure = Figure::TESTED[at];
            let rises = figures.get(&figure).is_some_and(|compared| rises(figure, compared, criteria));
            // Without variation there would be no honest p-value; `MIN_WINDOWS` sees to it that there is.
            let learned = if rises { self.learned(at, figure) } else { None };
            learned.map_or(1.0, |learned| learned.p_value(counts))
        });
        for (figure, p) in Figure::TESTED.into_iter().zip(holm(&p_values)) {
            if let Some(compared) = figures.get_mut(&figure) {
                compared.p = Some(p);
            }
        }
    }

    fn learned(&self, at: usize, figure: Figure) -> Option<&Learned> {
        self.learned[at].get_or_init(|| Learned::of(figure, &self.whole, self.earlier)).as_ref()
    }
}

impl Learned {
    fn of(figure: Figure, whole: &TrafficCounts, earlier: &[Earlier]) -> Option<Self> {
        let split = Split::of(figure, whole)?;
        let reference = split.counts(whole);
        let blocks: Vec<Block> = earlier
            .iter()
            .filter_map(|window| {
                let own = split.counts(&window.counts);
                let rest = [0, 1].map(|side| reference[side].saturating_sub(own[side]));
                Some(Block { value: stats::psi(&rest, &own).ok()?, rows: own.iter().sum() })
            })
            .collect();
        let variation = natural_variation::estimate(KIND, &blocks, reference.iter().sum())?;
        Some(Self { split, reference, variation })
    }

    /// Probability of a difference as large as the window's between windows that differ as the earlier ones do.
    fn p_value(&self, counts: &TrafficCounts) -> f64 {
        let (current, reference) = (self.split.counts(counts), self.reference);
        let Ok(psi) = stats::psi(&reference, &current) else { return 1.0 };
        let (n_current, n_reference) = (current.iter().sum(), reference.iter().sum());
        let bins = reference.iter().zip(&current).filter(|(a, b)| **a + **b > 0).count();
        let independent = stats::psi_p_value(psi, n_current, n_reference, bins);
        natural_variation::p_value(KIND, psi, n_current, n_reference, independent, &self.variation)
    }
}

fn decide(report: &TrafficReport, requests: u64) -> (TrafficVerdict, String) {
    let least = report.criteria.min_requests;
    if requests < least {
        return (
            TrafficVerdict::InsufficientData,
            format!("{requests} exchanges are under the minimum of {least}"),
        );
    }
    let windows = report.reference.windows;
    if windows < MIN_WINDOWS {
        let left_out = match report.reference.left_out {
            0 => String::new(),
            n => format!(" ({n} were left out, being worse themselves)"),
        };
        return (
            TrafficVerdict::Unknown,
            format!("{windows} earlier windows are under the minimum of {MIN_WINDOWS}{left_out}"),
        );
    }
    let worse: Vec<String> = report.sentences().collect();
    if worse.is_empty() {
        return (TrafficVerdict::Ok, format!("no figure is worse than in {windows} earlier windows"));
    }
    (TrafficVerdict::Worse, worse.join("; "))
}

/// Every figure of `counts` beside its `baseline`.
fn compare(
    counts: &TrafficCounts,
    min_requests: u64,
    baseline: impl Fn(Figure) -> Option<f64>,
) -> BTreeMap<Figure, Compared> {
    let enough = counts.requests() >= min_requests;
    let figures = Figure::ALL.into_iter().filter_map(|figure| {
        let value = figure.of(counts)?;
        let baseline = baseline(figure);
        let ratio = baseline.filter(|baseline| enough && *baseline > 0.0).map(|baseline| value / baseline);
        Some((figure, Compared { value, baseline, ratio, p: None }))
    });
    figures.collect()
}

/// What traffic usually is: the figures of earlier windows, for spans that are no windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Usual {
    /// Absent where there are too few windows.
    figures: BTreeMap<Figure, f64>,
    length: Duration,
}

impl Usual {
    /// The usual of these windows of one `length`; nothing when they are fewer than [`MIN_WINDOWS`].
    pub fn of(earlier: &[Earlier], length: Duration) -> Self {
        if earlier.len() < MIN_WINDOWS {
            return Self { figures: BTreeMap::new(), length };
        }
        let whole = Reference::of(earlier).whole;
        let figure = |figure| Some((figure, baseline_of(figure, &whole, earlier)?));
        Self { figures: Figure::ALL.into_iter().filter_map(figure).collect(), length }
    }

    /// Every figure of the traffic of a span beside what is usual; the number of requests for a span of that length.
    pub fn beside(&self, counts: &TrafficCounts, span: Duration) -> BTreeMap<Figure, Compared> {
        let part = span.as_secs_f64() / self.length.as_secs_f64().max(f64::MIN_POSITIVE);
        compare(counts, TrafficCriteria::default().min_requests, |figure| {
            let scale = if figure == Figure::Requests { part } else { 1.0 };
            self.figures.get(&figure).map(|usual| scale * usual)
        })
    }
}

/// The figure of the earlier windows: of all their exchanges together, or of a usual one of them where it depends on how
/// many there are.
fn baseline_of(figure: Figure, whole: &TrafficCounts, earlier: &[Earlier]) -> Option<f64> {
    match figure {
        Figure::Requests => Some(whole.requests() as f64 / earlier.len() as f64),
        Figure::InFlightMax => {
            let mut highest: Vec<u32> = earlier.iter().map(|window| window.counts.in_flight_max()).collect();
            highest.sort_unstable();
            highest.get(highest.len() / 2).map(|&highest| f64::from(highest))
        }
        _ => figure.of(whole),
    }
}

/// Whether the figure has risen by its floor or more.
fn rises(figure: Figure, compared: &Compared, criteria: &TrafficCriteria) -> bool {
    let Some(baseline) = compared.baseline else { return false };
    let rise = compared.value - baseline;
    match figure.unit() {
        Unit::Share => rise > 0.0 && rise >= criteria.share_floor,
        _ => {
            rise > 0.0
                && rise >= criteria.time_floor
                && compared.value >= criteria.time_ratio_floor * baseline
        }
    }
}

/// How exchanges fall into two: as expected, and not.
#[derive(Debug, Clone, Copy)]
struct Split {
    figure: Figure,
    cut: u16,
}

impl Split {
    fn of(figure: Figure, whole: &TrafficCounts) -> Option<Self> {
        let cut = match figure.quantile(whole) {
            Some((histogram, q)) => histogram.cut(q)?,
            None => 0,
        };
        Some(Self { figure, cut })
    }

    fn counts(self, counts: &TrafficCounts) -> [u64; 2] {
        if let Some((histogram, _)) = self.figure.quantile(counts) {
            return histogram.split_at(self.cut);
        }
        let over = self.figure.ending().map_or(0, |ending| counts.ended(ending));
        [counts.requests().saturating_sub(over), over]
    }
}
