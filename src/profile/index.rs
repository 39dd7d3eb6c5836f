//! Finds the cell of a value without a binary search: a table over the grid, on the scale that spreads its edges best.

/// How values are spread over the buckets of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    /// In proportion to their distance from the first edge: for most data.
    Linear { low: f64, per_unit: f64 },
    /// `x / (1 + |x|)` around a middle, in units of the usual distance from it: for heavy tails.
    Squeezed { middle: f64, per_unit: f64, half: f64 },
    /// By the bits of the number, which is linear within a power of two: for many orders of magnitude.
    Bits { low: i64, shift: u32 },
}

impl Scale {
    /// The bucket of `value`. Neighbours may swap by rounding; who reads the table looks to both sides.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating, and bounded below"
    )]
    fn bucket(self, value: f64, last: u32) -> u32 {
        match self {
            Self::Linear { low, per_unit } => (((value - low) * per_unit) as u32).min(last),
            Self::Squeezed { middle, per_unit, half } => {
                let distance = ((value - middle) * per_unit).clamp(-1e300, 1e300);
                ((distance / (1.0 + distance.abs()) * half + half) as u32).min(last)
            }
            Self::Bits { low, shift } => {
                ((ordered_bits(value).saturating_sub(low).max(0) >> shift) as u64).min(u64::from(last)) as u32
            }
        }
    }

    /// What finding the bucket costs, in edges passed.
    fn cost(self) -> f64 {
        match self {
            Self::Linear { .. } => 0.0,
            Self::Bits { .. } => 1.0,
            Self::Squeezed { .. } => 3.0,
        }
    }
}

/// An integer in the order of the numbers.
#[inline]
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "the order is that of the bits")]
fn ordered_bits(value: f64) -> i64 {
    // Adding 0 turns −0 into 0: the two are equal and must share a bucket.
    let bits = (value + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Edges in one bucket beyond which they are searched and not walked over.
const WALK: usize = 12;

/// What searching a bucket costs, in edges passed.
const SEARCHED: u32 = 24;

/// Buckets per edge.
const DENSITY: usize = 4;

/// A table from buckets to the number of edges under them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Index {
    scale: Scale,
    /// Edges in buckets before this one; one entry more than buckets.
    before: Vec<u32>,
    last: u32,
    /// The edges, then infinities, so that a walk needs no other end.
    edges: Vec<f64>,
}

impl Index {
    /// A table for finite, ascending edges.
    pub(super) fn over(edges: &[f64]) -> Self {
        let buckets = (edges.len() * DENSITY).next_power_of_two().clamp(64, 32_768);
        // The outermost edges are left to the end buckets: one outlier must not stretch the scale.
        let skip = edges.len() / 200;
        let (Some(&low), Some(&high)) = (edges.get(skip), edges.iter().rev().nth(skip)) else {
            let scale = Scale::Linear { low: 0.0, per_unit: 0.0 };
            return Self { scale, before: vec![0, 0], last: 0, edges: vec![f64::INFINITY; 2] };
        };
        let per = |buckets: f64, width: f64| {
            let per_unit = buckets / width;
            if width > 0.0 && width.is_finite() && per_unit.is_finite() { per_unit } else { 0.0 }
        };
        let quarter = |n: usize| edges[(edges.len() - 1) * n / 4];
        let (first, last) = (ordered_bits(low), ordered_bits(high));
        let span = last.abs_diff(first) / buckets as u64;
        // The middle nineteen twentieths: a tail as heavy as Cauchy's is left to the end buckets.
        let inner = edges.len() / 40;
        let (low_inner, high_inner) = (edges[inner], edges[edges.len() - 1 - inner]);
        let scales = [
            Scale::Linear { low, per_unit: per(buckets as f64, high - low) },
            Scale::Linear { low: low_inner, per_unit: per(buckets as f64, high_inner - low_inner) },
            Scale::Bits { low: first, shift: u64::BITS - span.leading_zeros() },
            Scale::Squeezed {
                middle: quarter(2),
                per_unit: per(2.0, quarter(3) - quarter(1)),
                half: buckets as f64 / 2.0,
            },
        ];
        let mut best: Option<(f64, Self)> = None;
        for scale in scales {
            let (cost, index) = Self::on(scale, edges, buckets);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, index));
            }
        }
        best.map_or_else(|| Self::on(scales[0], edges, buckets).1, |(_, index)| index)
    }

    /// A table on `scale`, and what finding the cell of an average edge costs.
    fn on(scale: Scale, edges: &[f64], buckets: usize) -> (f64, Self) {
        let last = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
        let mut before = vec![0_u32; buckets + 1];
        for &edge in edges {
            before[scale.bucket(edge, last) as usize + 1] += 1;
        }
        let passed: u64 = before.iter().map(|&held| u64::from(held) * u64::from(held.min(SEARCHED))).sum();
        for at in 1..before.len() {
            before[at] += before[at - 1];
        }
        let cost = passed as f64 / edges.len() as f64 + scale.cost();
        let edges = edges.iter().copied().chain([f64::INFINITY; 2]).collect();
        (cost, Self { scale, before, last, edges })
    }

    /// Number of edges under `value`, which is not NaN.
    #[inline]
    pub(super) fn cell(&self, value: f64) -> usize {
        self.walk(self.scale.bucket(value, self.last), value)
    }

    /// Number of edges under each of `values`, none of them NaN.
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer cells than 2^32")]
    pub(super) fn cells(&self, values: &[f64], cells: &mut [u32]) {
        // The scale is told apart once, and not for every value.
        macro_rules! each {
            ($scale:pat => $again:expr) => {{
                let $scale = self.scale else { return };
                for (cell, &value) in cells.iter_mut().zip(values) {
                    *cell = self.walk($again.bucket(value, self.last), value) as u32;
                }
            }};
        }
        match self.scale {
            Scale::Linear { .. } => {
                each!(Scale::Linear { low, per_unit } => Scale::Linear { low, per_unit });
            }
            Scale::Squeezed { .. } => {
                each!(Scale::Squeezed { middle, per_unit, half } => Scale::Squeezed { middle, per_unit, half });
            }
            Scale::Bits { .. } => each!(Scale::Bits { low, shift } => Scale::Bits { low, shift }),
        }
    }

    #[inline]
    fn walk(&self, bucket: u32, value: f64) -> usize {
        let from = self.before[bucket as usize] as usize;
        let edges = &self.edges[from..];
        // Two steps without a branch reach nearly every cell.
        let mut passed = usize::from(edges[0] < value);
        passed += usize::from(edges[passed] < value);
        if edges[passed] < value {
            passed += 1;
            let to = self.before[bucket as usize + 1] as usize;
            if to > from + WALK {
                passed = passed.max(self.edges[from..to].partition_point(|&edge| edge < value));
            }
            while edges[passed] < value {
                passed += 1;
            }
        }
        let mut cell = from + passed;
        // Only where neighbours were swapped by rounding.
        while cell > 0 && self.edges[cell - 1] >= value {
            cell -= 1;
        }
        cell
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(mut edges: Vec<f64>, probes: &[f64]) {
        for edge in &mut edges {
            *edge += 0.0;
        }
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        let index = Index::over(&edges);
        let neighbours = edges.iter().flat_map(|edge| [edge.next_down(), *edge, edge.next_up()]);
        let far = [f64::NEG_INFINITY, f64::MIN, -0.0, 0.0, 5e-324, f64::MAX, f64::INFINITY];
        for value in neighbours.chain(far).chain(probes.iter().copied()) {
            let expected = edges.partition_point(|&edge| edge < value);
            assert_eq!(index.cell(value), expected, "{value:e} in {} edges", edges.len());
        }
        let mut cells = vec![0; probes.len()];
        index.cells(probes, &mut cells);
        for (&cell, &value) in cells.iter().zip(probes) {
            assert_eq!(cell as usize, index.cell(value), "{value:e}");
        }
    }

    #[test]
    fn agrees_with_a_binary_search_whatever_the_shape() {
        let even = |n: u32| (0..n).map(f64::from);
        check(vec![], &[1.0]);
        check(vec![0.5], &[]);
        check(vec![f64::MIN, 0.0, f64::MAX], &[]);
        check(vec![-0.0, 1.0], &[]);
        check(even(1000).collect(), &[]);
        // Cauchy, Pareto, one outlier, values closer than the table can tell, denormals.
        check(even(999).map(|i| (std::f64::consts::PI * ((i + 1.0) / 1000.0 - 0.5)).tan()).collect(), &[]);
        check(even(999).map(|i| (1.0 - (i + 0.5) / 1000.0).powf(-1.25)).collect(), &[]);
        check(even(500).map(|i| i / 500.0).chain([1e9]).collect(), &[]);
        check(even(500).map(|i| 1.0 + i * f64::EPSILON).collect(), &[]);
        check(even(500).map(|i| i * 5e-324).collect(), &[]);
        check(even(300).flat_map(|i| [1e300 * i, 1e-300 * i]).collect(), &[]);
    }

    #[test]
    fn a_heavy_tail_does_not_defeat_the_table() {
        let even = |n: u32| (0..n).map(|i| (f64::from(i) + 0.5) / 1000.0);
        for edges in [
            even(1000).map(|p| (std::f64::consts::PI * (p - 0.5)).tan()).collect::<Vec<_>>(),
            even(1000).map(|p| (1.0 - p).powf(-1.25)).collect(),
            even(1000).chain([1e9]).collect(),
        ] {
            let index = Index::over(&edges);
            let cost: f64 = index.before.windows(2).map(|pair| f64::from(pair[1] - pair[0]).powi(2)).sum();
            assert!(cost / 1000.0 < 3.0, "{} edges passed on average", cost / 1000.0);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_binary_search(
            edges in prop::collection::vec(any::<f64>().prop_filter("finite", |edge| edge.is_finite()), 0..400),
            probes in prop::collection::vec(any::<f64>().prop_filter("a number", |probe| !probe.is_nan()), 0..100)
        ) {
            check(edges, &probes);
        }
    }
}
