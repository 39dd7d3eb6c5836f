//! How long labels take, learned from those that have come.

/// Predictions old enough for a delay, under which their labels say nothing of how rare it is.
const FEWEST_AT_RISK: usize = 10;

/// The distribution of the time from a prediction to its label, among predictions that get one.
///
/// Of a prediction of yesterday only a label that took less than a day can have come, so that labels at hand are too quick
/// by themselves. Each counts beside those that could have been as late as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct DelayCurve {
    /// Delays in ascending order, each with the share of labels that have come by then.
    steps: Vec<(f64, f64)>,
}

impl DelayCurve {
    /// Learns from labels.
    ///
    /// # Arguments
    ///
    /// * `labels`: seconds from the prediction to the label, and seconds from the prediction to now. A delay below 0 counts
    ///   as none, one beyond the age as the age; what is not finite is left out.
    ///
    /// # Returns
    ///
    /// None without a label.
    ///
    /// # Source
    ///
    /// The product-limit estimator for right-truncated data: Lynden-Bell (1971), doi:10.1093/mnras/155.1.95; for delays of
    /// reports Lagakos, Barraj and De Gruttola (1988), doi:10.1093/biomet/75.3.515. Delays beyond the largest age that was
    /// seen are unknown to it.
    pub fn learn(labels: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let mut pairs: Vec<(f64, f64)> = labels
            .into_iter()
            .filter(|(delay, age)| delay.is_finite() && age.is_finite())
            .map(|(delay, age)| (delay.max(0.0), age.max(delay).max(0.0)))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ages: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
        ages.sort_by(f64::total_cmp);
        let mut steps = Vec::new();
        // From the longest delay down: the share of those no later than it that were earlier.
        let mut earlier = 1.0;
        let mut end = pairs.len();
        while let Some(&(delay, _)) = pairs[..end].last() {
            let start = pairs[..end].partition_point(|pair| pair.0 < delay);
            steps.push((delay, earlier));
            // Whose delay is at most this one, less those too young to have shown it; their delay is smaller too.
            let young = ages.partition_point(|age| *age < delay);
            let at_risk = end - young;
            // Of the longest delays only a few predictions are old enough to tell; one of them must not decide for all.
            if young == 0 || at_risk >= FEWEST_AT_RISK {
                earlier *= 1.0 - (end - start) as f64 / at_risk as f64;
            }
            end = start;
        }
        steps.reverse();
        Some(Self { steps })
    }

    /// Share of labels that have come when a prediction is `age` seconds old.
    pub fn share_by(&self, age: f64) -> f64 {
        let after = self.steps.partition_point(|(delay, _)| *delay <= age);
        after.checked_sub(1).and_then(|last| self.steps.get(last)).map_or(0.0, |(_, share)| *share)
    }

    /// Seconds after which at least `share` of the labels have come.
    pub fn quantile(&self, share: f64) -> f64 {
        let found = self.steps.iter().find(|(_, reached)| *reached >= share);
        found.or(self.steps.last()).map_or(0.0, |(delay, _)| *delay)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::random::SplitMix64;

    #[test]
    fn with_old_predictions_it_is_the_plain_distribution() {
        let curve = DelayCurve::learn([3.0, 1.0, 2.0, 2.0].map(|delay| (delay, 1e9))).unwrap();
        for (age, share) in [(0.5, 0.0), (1.0, 0.25), (1.9, 0.25), (2.0, 0.75), (3.0, 1.0), (99.0, 1.0)] {
            assert!((curve.share_by(age) - share).abs() < 1e-12, "{age}");
        }
        for (share, delay) in [(0.0, 1.0), (0.25, 1.0), (0.5, 2.0), (0.9, 3.0), (1.0, 3.0)] {
            assert!((curve.quantile(share) - delay).abs() < 1e-12, "{share}");
        }
        assert_eq!(DelayCurve::learn([]), None);
        assert_eq!(DelayCurve::learn([(f64::NAN, 1.0)]), None);
        // A label from before its prediction, as clocks differ, is one without delay.
        assert_eq!(DelayCurve::learn([(-5.0, 10.0)]), DelayCurve::learn([(0.0, 10.0)]));
    }

    #[test]
    fn one_odd_label_does_not_decide_for_all() {
        let usual = (0..500).map(|label| (7200.0, 10_000.0 + f64::from(label)));
        let curve = DelayCurve::learn(usual.chain([(32_000.0, 16_000.0)])).unwrap();
        assert!((curve.quantile(0.9) - 7200.0).abs() < 1e-9, "{}", curve.quantile(0.9));
    }

    #[test]
    fn young_predictions_do_not_make_labels_seem_quick() {
        // Delays are exponential with mean 10; predictions are 0 to 60 old, and more of them are young.
        let mut random = SplitMix64::new(5);
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut labels = Vec::new();
        for _ in 0..60_000 {
            let (age, delay) = (60.0 * uniform().powi(2), -10.0 * (1.0 - uniform()).ln());
            if delay <= age {
                labels.push((delay, age));
            }
        }
        let curve = DelayCurve::learn(labels.iter().copied()).unwrap();
        let plain = DelayCurve::learn(labels.iter().map(|(delay, _)| (*delay, 1e9))).unwrap();
        let (truth, learned, naive) = (10.0 * 10.0_f64.ln(), curve.quantile(0.9), plain.quantile(0.9));
        assert!((learned / truth - 1.0).abs() < 0.06, "{learned}, truth {truth}");
        assert!(naive < 0.85 * truth, "{naive}, truth {truth}");
    }

    proptest! {
        #[test]
        fn shares_rise_to_one(labels in prop::collection::vec((0.0..100.0_f64, 0.0..200.0_f64), 1..60)) {
            let curve = DelayCurve::learn(labels.iter().copied()).unwrap();
            let mut before = 0.0;
            for age in 0..=200 {
                let share = curve.share_by(f64::from(age));
                prop_assert!((0.0..=1.0).contains(&share) && before <= share);
                before = share;
            }
            prop_assert!((before - 1.0).abs() < 1e-12);
        }
    }
}
