//! Which share of the predictions is kept while the queue runs full: shed by hash of the id, so that what is kept
//! stays a fair sample of what was asked.

/// Up to this fill of the queue everything is kept.
const CALM: f64 = 0.5;
/// From this fill on the least is kept; above it is the room for bodies that are still being copied.
const FULL: f64 = 0.9;
/// The least share, so that a full queue still shows what passes.
const LEAST: f64 = 0.01;

/// The share of predictions that is kept at this fill of the queue, both in `[0, 1]`.
pub(super) fn keep_share(fill: f64) -> f64 {
    if fill <= CALM { 1.0 } else { ((FULL - fill) / (FULL - CALM)).max(LEAST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_falls_from_all_to_the_least() {
        for (fill, share) in [(0.0, 1.0), (0.5, 1.0), (0.7, 0.5), (0.8, 0.25), (0.9, 0.01), (1.0, 0.01)] {
            assert!((keep_share(fill) - share).abs() < 1e-9, "{fill}: {}", keep_share(fill));
        }
        let shares: Vec<f64> = (0..=100).map(|percent| keep_share(f64::from(percent) / 100.0)).collect();
        assert!(shares.windows(2).all(|pair| pair[0] >= pair[1]), "{shares:?}");
    }
}
