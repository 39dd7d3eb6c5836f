//! Rhythm: a window of nine in the morning is compared with the baseline's nine in the morning.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::profile::{ColumnLayout, ColumnProfile};
use crate::window::{Window, window_index};

/// Rows of the whole that stand beside a slot's own, as a multiple of the rows of a usual block.
///
/// A slot of many blocks hardly notices; one of a single block is two thirds the whole.
const PRIOR_BLOCKS: f64 = 2.0;

/// The rhythm that traffic follows. Hours are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    /// None: every window is compared with the whole baseline.
    #[default]
    None,
    /// Days are alike: a window is compared with those of the same hour.
    HourOfDay,
    /// Weeks are alike: a window is compared with those of the same hour of the same weekday.
    HourOfWeek,
}

impl Season {
    /// The word used in settings and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::HourOfDay => "hour_of_day",
            Self::HourOfWeek => "hour_of_week",
        }
    }

    fn period(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::HourOfDay => Some(Duration::from_hours(24)),
            Self::HourOfWeek => Some(Duration::from_hours(7 * 24)),
        }
    }
}

/// A season cut into blocks of one length: slot `i` holds every block that is the `i`-th of its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// The rhythm.
    pub season: Season,
    /// Length of a block, in seconds; divides the period.
    pub block_seconds: u64,
}

impl Cycle {
    /// The cycle of `season` in blocks of `length`; `None` without a season, and where a block is no part of its period.
    pub fn new(season: Season, length: Duration) -> Option<Self> {
        let period = season.period()?.as_secs();
        let block_seconds = length.as_secs();
        let divides = block_seconds > 0 && block_seconds < period && period.is_multiple_of(block_seconds);
        divides.then_some(Self { season, block_seconds })
    }

    /// Slots of a period.
    pub fn slots(self) -> usize {
        let period = self.season.period().map_or(1, |period| period.as_secs());
        usize::try_from(period / self.block_seconds.max(1)).unwrap_or(1).max(1)
    }

    /// The slot of block `number`, as [`window_index`] numbers them.
    pub fn slot(self, number: i64) -> usize {
        let slots = i64::try_from(self.slots()).unwrap_or(1);
        usize::try_from(number.rem_euclid(slots)).unwrap_or(0)
    }

    /// The slots that `window` covers, at most each once.
    fn slots_of(self, window: Window) -> Vec<usize> {
        let length = Duration::from_secs(self.block_seconds);
        let last = window.end - chrono::TimeDelta::milliseconds(1);
        let (first, last) =
            (window_index(window.start, length), window_index(last.max(window.start), length));
        let most = i64::try_from(self.slots()).unwrap_or(1) - 1;
        let mut slots: Vec<usize> =
            (first..=last.min(first.saturating_add(most))).map(|number| self.slot(number)).collect();
        slots.sort_unstable();
        slots
    }

    /// What slot `slot` is, for people: `09:00`, `Tue 09:00`.
    fn label(self, slot: usize) -> String {
        let seconds = slot as u64 * self.block_seconds;
        // The epoch was a Thursday.
        let day = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(seconds / 86_400 % 7) as usize];
        let clock = format!("{:02}:{:02}", seconds % 86_400 / 3600, seconds % 3600 / 60);
        if self.season == Season::HourOfWeek { format!("{day} {clock}") } else { clock }
    }
}

/// A column's counts by slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Slots {
    pub(super) cycle: Cycle,
    /// One entry per slot.
    pub(super) counts: Vec<ColumnProfile>,
    /// Rows of the whole that are added to every slot.
    pub(super) prior_rows: u64,
}

impl Slots {
    /// Sums the blocks of each slot.
    pub(super) fn of_blocks<'a>(
        cycle: Cycle,
        layout: &ColumnLayout,
        blocks: impl Iterator<Item = (i64, &'a ColumnProfile)>,
    ) -> Self {
        let mut counts = vec![ColumnProfile::empty(layout); cycle.slots()];
        let (mut rows, mut n_blocks) = (0_u64, 0_u64);
        for (number, block) in blocks {
            counts[cycle.slot(number)].merge(block);
            rows += block.usable() + block.unusable();
            n_blocks += 1;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of rows")]
        let prior_rows = (rows as f64 / n_blocks.max(1) as f64 * PRIOR_BLOCKS).ceil() as u64;
        Self { cycle, counts, prior_rows }
    }

    /// The cycle.
    pub fn cycle(&self) -> Cycle {
        self.cycle
    }

    /// What `window` is compared with: its slots, shrunk towards `whole`, and what they are called.
    pub(super) fn reference(&self, whole: &ColumnProfile, window: Window) -> (ColumnProfile, String) {
        let slots = self.cycle.slots_of(window);
        let mut reference: Option<ColumnProfile> = None;
        for &slot in &slots {
            match &mut reference {
                None => reference = Some(self.counts[slot].clone()),
                Some(reference) => reference.merge(&self.counts[slot]),
            }
        }
        let label = match slots.as_slice() {
            [] => String::new(),
            [slot] => self.cycle.label(*slot),
            [first, .., last] => {
                format!(
                    "{} slots from {} to {}",
                    slots.len(),
                    self.cycle.label(*first),
                    self.cycle.label(*last)
                )
            }
        };
        (shrunk(reference.unwrap_or_else(|| whole.clone()), whole, self.prior_rows), label)
    }

    /// What block `number` is compared with when the baseline learns: the rest of its slot, shrunk towards the rest of
    /// the whole.
    pub(super) fn rest(&self, whole: &ColumnProfile, number: i64, block: &ColumnProfile) -> ColumnProfile {
        let slot = &self.counts[self.cycle.slot(number)];
        shrunk(without(slot, block), &without(whole, block), self.prior_rows)
    }
}

/// The counts of `all` that are not those of `part`; what cannot be taken away exactly is left out.
fn without(all: &ColumnProfile, part: &ColumnProfile) -> ColumnProfile {
    ColumnProfile {
        cells: all.cells_without(part),
        missing: all.missing.saturating_sub(part.missing),
        nan: all.nan.saturating_sub(part.nan),
        wrong_type: all.wrong_type.saturating_sub(part.wrong_type),
        ..ColumnProfile::default()
    }
}

/// `slot` and, beside it, `rows` rows that fall as those of `whole` do.
///
/// Moments stay those of the slot, or those of the whole where the slot has none: they describe, and are not tested.
fn shrunk(mut slot: ColumnProfile, whole: &ColumnProfile, rows: u64) -> ColumnProfile {
    let total = whole.usable() + whole.unusable();
    if total == 0 {
        return slot;
    }
    let share = |count: u64| {
        let rounded = (u128::from(count) * u128::from(rows) + u128::from(total / 2)) / u128::from(total);
        u64::try_from(rounded).unwrap_or(u64::MAX)
    };
    // The open cells keep the mean of what is in them.
    let open = whole.open_cells();
    if let (Some(mean), Some(&count)) = (open.low, whole.cells.first()) {
        slot.low_tail.update_many(mean, share(count));
    }
    if let (Some(mean), Some(&count)) = (open.high, whole.cells.last()) {
        slot.high_tail.update_many(mean, share(count));
    }
    for (own, &count) in slot.cells.iter_mut().zip(&whole.cells) {
        *own += share(count);
    }
    if slot.moments.count() == 0 {
        slot.moments = whole.moments.clone();
    }
    slot.missing += share(whole.missing);
    slot.nan += share(whole.nan);
    slot.wrong_type += share(whole.wrong_type);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(season: Season, hours: u64) -> Cycle {
        Cycle::new(season, Duration::from_hours(hours)).unwrap()
    }

    #[test]
    fn slots_follow_the_clock() {
        let window = |start: &str, hours: i64| {
            let start: chrono::DateTime<chrono::Utc> = start.parse().unwrap();
            Window { start, end: start + chrono::TimeDelta::hours(hours) }
        };
        let (day, week) = (cycle(Season::HourOfDay, 1), cycle(Season::HourOfWeek, 1));
        assert_eq!((day.slots(), week.slots(), cycle(Season::HourOfDay, 6).slots()), (24, 168, 4));
        assert_eq!(day.slots_of(window("2026-03-03T09:00:00Z", 1)), [9]);
        assert_eq!(day.slots_of(window("2026-03-03T23:00:00Z", 2)), [0, 23]);
        assert_eq!(day.slots_of(window("1969-12-31T22:00:00Z", 1)), [22]);
        assert_eq!(day.slots_of(window("2026-03-03T00:00:00Z", 72)).len(), 24);
        let tuesday = week.slots_of(window("2026-03-03T09:00:00Z", 1));
        assert_eq!(week.label(tuesday[0]), "Tue 09:00");
        assert_eq!(day.label(9), "09:00");
    }

    #[test]
    fn a_block_that_is_no_part_of_the_period_has_no_season() {
        assert_eq!(Cycle::new(Season::None, Duration::from_hours(1)), None);
        assert_eq!(Cycle::new(Season::HourOfDay, Duration::from_hours(24)), None);
        assert_eq!(Cycle::new(Season::HourOfDay, Duration::from_hours(5)), None);
        assert_eq!(Cycle::new(Season::HourOfDay, Duration::ZERO), None);
        assert!(Cycle::new(Season::HourOfWeek, Duration::from_hours(24)).is_some());
    }

    #[test]
    fn a_thin_slot_leans_on_the_whole() {
        let of = |cells: &[u64]| ColumnProfile { cells: cells.to_vec(), ..ColumnProfile::default() };
        let whole = of(&[500, 500]);
        assert_eq!(shrunk(of(&[0, 0]), &whole, 100).cells, [50, 50]);
        assert_eq!(shrunk(of(&[3000, 0]), &whole, 100).cells, [3050, 50]);
        assert_eq!(shrunk(of(&[1, 0]), &of(&[0, 0]), 100).cells, [1, 0]);
    }
}
