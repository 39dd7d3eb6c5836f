//! A fair sample of a stream in bounded memory, for quantiles; all of it while it is short.

use driftline::stats::random::SplitMix64;

/// Most numbers that are kept. A quantile is then off by half a percent of the rows at most, 19 times in 20.
const MOST: usize = 40_000;

/// A sample without replacement.
///
/// # Source
///
/// Vitter (1985), doi:10.1145/3147.3165, algorithm R.
#[derive(Debug)]
pub(super) struct Sample {
    kept: Vec<f64>,
    seen: usize,
    random: SplitMix64,
}

impl Sample {
    pub(super) fn new(seed: u64) -> Self {
        Self { kept: Vec::new(), seen: 0, random: SplitMix64::new(seed) }
    }

    pub(super) fn update(&mut self, number: f64) {
        self.seen += 1;
        if self.kept.len() < MOST {
            self.kept.push(number);
        } else if let Some(place) = self.kept.get_mut(self.random.below(self.seen)) {
            *place = number;
        }
    }

    /// `count` evenly spaced quantiles, smallest first, linearly interpolated; fewer where there are fewer numbers.
    pub(super) fn quantiles(mut self, count: usize) -> Vec<f64> {
        self.kept.sort_by(f64::total_cmp);
        let count = count.min(self.kept.len());
        let Some(last) = self.kept.len().checked_sub(1) else { return Vec::new() };
        if count < 2 {
            return self.kept[last / 2..=last / 2].to_vec();
        }
        // Between equal numbers rounding can step back.
        let mut before = f64::NEG_INFINITY;
        (0..count)
            .map(|index| {
                let scaled = index * last;
                let (below, rest) = (scaled / (count - 1), scaled % (count - 1));
                let share = rest as f64 / (count - 1) as f64;
                let (low, high) = (self.kept[below], self.kept[(below + 1).min(last)]);
                // Weighted, not added to, so that nothing overflows.
                before = before.max(low * (1.0 - share) + high * share);
                before
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(numbers: impl IntoIterator<Item = f64>) -> Sample {
        let mut sample = Sample::new(1);
        for number in numbers {
            sample.update(number);
        }
        sample
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy 2.3: quantile([4, 1, 3, 2, 10], [0, 0.25, 0.5, 0.75, 1]) and linspace(0, 1, 4).
        let quantiles = |count| sample([4.0, 1.0, 3.0, 2.0, 10.0]).quantiles(count);
        assert_eq!(quantiles(5), [1.0, 2.0, 3.0, 4.0, 10.0]);
        let thirds = quantiles(4);
        for (got, want) in thirds.iter().zip([1.0, 7.0 / 3.0, 11.0 / 3.0, 10.0]) {
            assert!((got - want).abs() < 1e-12, "{thirds:?}");
        }
        assert!(sample([]).quantiles(3).is_empty());
        assert_eq!(sample([7.0]).quantiles(9), [7.0]);
        assert_eq!(sample([1.0, 2.0]).quantiles(9), [1.0, 2.0]);
    }

    #[test]
    fn a_long_stream_stays_in_bounds_and_fair() {
        let long = sample((0..400_000).map(f64::from));
        assert_eq!(long.kept.len(), MOST);
        for (place, quantile) in long.quantiles(11).into_iter().enumerate() {
            let wanted = 40_000.0 * place as f64;
            assert!((quantile - wanted).abs() < 4_000.0, "{place}: {quantile}");
        }
    }
}
