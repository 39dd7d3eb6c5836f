//! Joint drift: reference values of scikit-learn, and what the statistics see and do not see.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, Axis, Slice, concatenate};
use proptest::prelude::*;
use serde::Deserialize;

use super::eigen::eigen;
use super::*;
use crate::stats::golden::{assert_distance, assert_p_value};
use crate::stats::random::SplitMix64;
use crate::stats::{StatError, normal_sf, psi};

/// `tests/golden/stats/joint.json`; the README there says what made it.
#[derive(Deserialize)]
struct Golden {
    samples: BTreeMap<String, Sample>,
    pca: Vec<PcaCase>,
    auc: Vec<AucCase>,
    domain: Vec<DomainCase>,
}

/// Rows in hundredths, missing values as null.
#[derive(Deserialize)]
struct Sample {
    #[serde(rename = "ref")]
    reference: Vec<Vec<Option<i64>>>,
    #[serde(rename = "cur")]
    current: Vec<Vec<Option<i64>>>,
}

#[derive(Deserialize)]
struct PcaCase {
    sample: String,
    share: f64,
    means: Vec<f64>,
    deviations: Vec<f64>,
    components: Vec<Vec<f64>>,
    explained: f64,
    /// Of the first rows of the current side.
    errors: Vec<f64>,
    mean_error: f64,
}

#[derive(Deserialize)]
struct AucCase {
    name: String,
    positives: Vec<f64>,
    negatives: Vec<f64>,
    roc_auc_score: f64,
    delong_se: f64,
    p_greater: f64,
}

#[derive(Deserialize)]
struct DomainCase {
    sample: String,
    parameters: DomainAucParameters,
    auc: f64,
    standard_error: f64,
    hotelling_p: f64,
    weights: Vec<f64>,
}

fn golden() -> Golden {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stats/joint.json"));
    serde_json::from_str(text).unwrap()
}

fn matrix(rows: &[Vec<Option<i64>>]) -> Array2<f64> {
    let values = rows.iter().flatten().map(|value| value.map_or(f64::NAN, |value| value as f64 / 100.0));
    Array2::from_shape_vec((rows.len(), rows[0].len()), values.collect()).unwrap()
}

fn co_moments(rows: &Array2<f64>) -> CoMoments {
    let mut moments = CoMoments::new(rows.ncols());
    for row in rows.rows() {
        moments.add(&row.to_vec()).unwrap();
    }
    moments
}

fn errors(pca: &Pca, rows: &Array2<f64>) -> Vec<f64> {
    let mut scratch = Vec::new();
    rows.rows()
        .into_iter()
        .map(|row| pca.reconstruction_error(&row.to_vec(), &mut scratch).unwrap())
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Independent standard normal values.
fn normal(random: &mut SplitMix64, rows: usize, features: usize) -> Array2<f64> {
    Array2::from_shape_simple_fn((rows, features), || random.normal())
}

/// Pairs with standard normal marginals and this correlation.
fn correlated(random: &mut SplitMix64, rows: usize, correlation: f64) -> Array2<f64> {
    let mut pairs = normal(random, rows, 2);
    for mut pair in pairs.rows_mut() {
        pair[1] = correlation * pair[0] + (1.0 - correlation * correlation).sqrt() * pair[1];
    }
    pairs
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], within: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert!(
            (actual - expected).abs() <= within * expected.abs().max(1.0),
            "{what}: {actual}, not {expected}"
        );
    }
}

#[test]
fn components_and_errors_are_those_of_scikit_learn() {
    let golden = golden();
    assert!(golden.pca.len() >= 8, "{} cases", golden.pca.len());
    for case in &golden.pca {
        let what = format!("{} at {}", case.sample, case.share);
        let sample = &golden.samples[&case.sample];
        let pca = Pca::fit(&co_moments(&matrix(&sample.reference)), case.share).unwrap();
        assert_close(pca.means(), &case.means, 1e-11, &what);
        assert_close(pca.deviations(), &case.deviations, 1e-10, &what);
        assert_eq!(pca.components().len(), case.components.len(), "{what}");
        for (actual, expected) in pca.components().iter().zip(&case.components) {
            assert_close(actual, expected, 1e-9, &what);
        }
        assert_close(&[pca.explained()], &[case.explained], 1e-10, &what);
        let errors = errors(&pca, &matrix(&sample.current));
        assert_close(&errors[..case.errors.len()], &case.errors, 1e-9, &what);
        assert_distance(mean(&errors), case.mean_error, &what);
    }
}

#[test]
fn areas_and_their_errors_are_those_of_the_references() {
    let golden = golden();
    assert!(golden.auc.len() >= 6, "{} cases", golden.auc.len());
    for case in &golden.auc {
        let area = auc(&case.positives, &case.negatives).unwrap();
        assert_distance(area.value, case.roc_auc_score, &case.name);
        assert_distance(area.standard_error, case.delong_se, &case.name);
        assert_p_value(normal_sf((area.value - 0.5) / area.null_deviation), case.p_greater, &case.name);
    }
}

#[test]
fn the_domain_classifier_is_that_of_scikit_learn() {
    let golden = golden();
    assert!(golden.domain.len() >= 8, "{} cases", golden.domain.len());
    for case in &golden.domain {
        let sample = &golden.samples[&case.sample];
        let (reference, current) = (matrix(&sample.reference), matrix(&sample.current));
        let domain = domain_auc(reference.view(), current.view(), case.parameters).unwrap();
        assert_distance(domain.auc, case.auc, &case.sample);
        assert_distance(domain.standard_error, case.standard_error, &case.sample);
        assert_p_value(domain.p_value, case.hotelling_p, &case.sample);
        assert_close(&domain.weights, &case.weights, 1e-6, &case.sample);
    }
}

#[test]
fn a_flipped_correlation_is_seen_by_the_reconstruction_error_only() {
    let mut random = SplitMix64::new(1);
    let reference = correlated(&mut random, 2000, 0.9);
    let same = correlated(&mut random, 1000, 0.9);
    let flipped = correlated(&mut random, 1000, -0.9);
    let pca = Pca::fit(&co_moments(&reference), DEFAULT_EXPLAINED).unwrap();
    let [at_reference, at_same, at_flipped] =
        [&reference, &same, &flipped].map(|rows| mean(&errors(&pca, rows)));
    assert!((at_same / at_reference - 1.0).abs() < 0.1, "{at_same} against {at_reference}");
    assert!(at_flipped > 3.0 * at_reference, "{at_flipped} against {at_reference}");
    // No feature on its own has moved, and no mean has, so that the others are blind here.
    for feature in 0..2 {
        let deciles = [-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816];
        let counts = |rows: &Array2<f64>| {
            let mut counts = [0_u64; 10];
            for value in rows.column(feature) {
                counts[deciles.partition_point(|edge| edge < value)] += 1;
            }
            counts
        };
        let psi = psi(&counts(&reference), &counts(&flipped)).unwrap();
        assert!(psi < 0.05, "{psi}");
    }
    let domain = domain_auc(
        reference.slice_axis(Axis(0), Slice::from(..1000)),
        flipped.view(),
        DomainAucParameters::default(),
    )
    .unwrap();
    assert!((domain.auc - 0.5).abs() < 0.05, "{}", domain.auc);
}

#[test]
fn an_interaction_is_seen_when_its_product_is_a_column() {
    let mut random = SplitMix64::new(2);
    // Signs of the third are the product of the others', then drawn: no mean and no correlation differs.
    let mut rows = |interaction: bool, product: bool| {
        let mut rows = Array2::zeros((600, 4));
        for mut row in rows.rows_mut() {
            let [a, b, c] = [(); 3].map(|()| if random.uniform() < 0.5 { -1.0 } else { 1.0 });
            let third = if interaction { a * b } else { c };
            row.assign(&ndarray::arr1(&[a, b, third, if product { a * b * third } else { 0.0 }]));
        }
        rows
    };
    let mut area = |product| {
        let (reference, current) = (rows(true, product), rows(false, product));
        domain_auc(reference.view(), current.view(), DomainAucParameters::default()).unwrap()
    };
    let without = area(false);
    assert!((without.auc - 0.5).abs() < 0.08 && without.p_value > 0.01, "{without:?}");
    let with = area(true);
    assert!(with.auc > 0.7 && with.p_value < 1e-9, "{with:?}");
    // The window has the product less often.
    assert!(with.weights[3] < 0.0);
}

#[test]
fn a_bad_field_never_gives_nan_and_does_not_drown_the_rest() {
    let mut random = SplitMix64::new(3);
    let pca = Pca::fit(&co_moments(&correlated(&mut random, 500, 0.8)), DEFAULT_EXPLAINED).unwrap();
    let error = |row: &[f64]| pca.reconstruction_error(row, &mut Vec::new()).unwrap();
    for bad in [f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1e300] {
        assert!((10.0..=150.0).contains(&error(&[bad, 0.0])), "{bad}: {}", error(&[bad, 0.0]));
        // Both far off in the same direction are along the component.
        assert!(error(&[bad, bad]) < 1e-9, "{bad}: {}", error(&[bad, bad]));
    }
    let means = pca.means();
    assert!((error(&[f64::NAN, 1.0]) - error(&[means[0], 1.0])).abs() < 1e-12);
    assert!(error(&[f64::NAN, f64::NAN]) < 1e-12);
    assert_eq!(
        pca.reconstruction_error(&[1.0], &mut Vec::new()),
        Err(StatError::FeatureMismatch { expected: 2, got: 1 })
    );
}

#[test]
fn what_cannot_be_fitted_says_why() {
    let fit = |rows: &[[f64; 2]], explained| Pca::fit(&co_moments(&Array2::from(rows.to_vec())), explained);
    let varied = [[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]];
    assert!(fit(&varied, 0.65).is_ok());
    for explained in [0.0, 1.0, f64::NAN] {
        let refused = fit(&varied, explained).unwrap_err();
        assert!(matches!(refused, StatError::InvalidParameter { name: "explained", .. }), "{refused}");
    }
    assert_eq!(fit(&varied[..1], 0.65), Err(StatError::TooFewObservations { needed: 2, got: 1 }));
    for second in [0.1, f64::NAN, f64::INFINITY] {
        let rows = [[1.0, second], [2.0, second], [4.0, second]];
        assert_eq!(fit(&rows, 0.65), Err(StatError::TooFewVarying { varying: 1 }), "{second}");
    }
    let wide = CoMoments::new(MAX_FEATURES + 1);
    assert!(matches!(Pca::fit(&wide, 0.65), Err(StatError::InvalidParameter { name: "features", .. })));
    let mut moments = CoMoments::new(2);
    assert_eq!(moments.add(&[1.0]), Err(StatError::FeatureMismatch { expected: 2, got: 1 }));
    assert_eq!(moments.merge(&CoMoments::new(3)), Err(StatError::FeatureMismatch { expected: 2, got: 3 }));
    assert_eq!(moments.rows(), 0);
}

#[test]
fn what_is_read_back_is_checked() {
    let mut random = SplitMix64::new(4);
    let pca = Pca::fit(&co_moments(&normal(&mut random, 50, 3)), DEFAULT_EXPLAINED).unwrap();
    let text = serde_json::to_string(&pca).unwrap();
    assert_eq!(serde_json::from_str::<Pca>(&text).unwrap(), pca);
    let mut stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    stored["components"][0].as_array_mut().unwrap().pop();
    assert!(serde_json::from_value::<Pca>(stored.clone()).is_err());
    stored["components"] = serde_json::json!([]);
    stored["deviations"] = serde_json::json!([1.0]);
    assert!(serde_json::from_value::<Pca>(stored).is_err());
}

#[test]
fn a_large_offset_takes_no_digits() {
    let mut random = SplitMix64::new(5);
    let rows = correlated(&mut random, 400, 0.7);
    let plain = Pca::fit(&co_moments(&rows), DEFAULT_EXPLAINED).unwrap();
    let moved = &rows * 1e-3 + 1e6;
    let mut merged = CoMoments::new(2);
    for part in [Slice::from(..150), Slice::from(150..)] {
        merged.merge(&co_moments(&moved.slice_axis(Axis(0), part).to_owned())).unwrap();
    }
    let moved = Pca::fit(&merged, DEFAULT_EXPLAINED).unwrap();
    // The values themselves have lost digits: a thousandth at a million has seven left.
    assert_close(&moved.components()[0], &plain.components()[0], 1e-6, "components");
    assert_close(&[moved.explained()], &[plain.explained()], 1e-6, "explained");
}

#[test]
fn the_domain_classifier_refuses_what_it_cannot_judge() {
    let mut random = SplitMix64::new(6);
    let rows = normal(&mut random, 20, 3);
    let run = |reference: &Array2<f64>, current: &Array2<f64>, parameters| {
        domain_auc(reference.view(), current.view(), parameters)
    };
    let usual = DomainAucParameters::default();
    let few = rows.slice_axis(Axis(0), Slice::from(..9)).to_owned();
    assert_eq!(run(&rows, &few, usual), Err(StatError::TooFewObservations { needed: 10, got: 9 }));
    assert!(run(&rows, &few, DomainAucParameters { folds: 4, ..usual }).is_ok());
    let narrow = rows.slice_axis(Axis(1), Slice::from(..2)).to_owned();
    assert_eq!(run(&rows, &narrow, usual), Err(StatError::FeatureMismatch { expected: 3, got: 2 }));
    for bad in [f64::NAN, f64::INFINITY] {
        let mut holed = rows.clone();
        holed[[3, 1]] = bad;
        assert_eq!(run(&holed, &rows, usual), Err(StatError::NotFinite("reference rows")));
        assert_eq!(run(&rows, &holed, usual), Err(StatError::NotFinite("current rows")));
    }
    for parameters in [
        DomainAucParameters { folds: 1, ..usual },
        DomainAucParameters { ridge: 0.0, ..usual },
        DomainAucParameters { ridge: f64::NAN, ..usual },
    ] {
        assert!(matches!(run(&rows, &rows, parameters), Err(StatError::InvalidParameter { .. })));
    }
    assert_eq!(auc(&[1.0], &[0.0, 1.0]), Err(StatError::TooFewObservations { needed: 2, got: 1 }));
    assert_eq!(auc(&[1.0, f64::NAN], &[0.0, 1.0]), Err(StatError::NotFinite("scores")));
}

#[test]
fn separated_and_equal_rows_are_the_two_ends() {
    let mut random = SplitMix64::new(7);
    let usual = DomainAucParameters::default();
    let rows = normal(&mut random, 50, 3);
    let far = domain_auc(rows.view(), (&rows + 50.0).view(), usual).unwrap();
    assert!(far.auc >= 1.0 && far.standard_error <= 0.0 && far.p_value < 1e-15, "{far:?}");
    assert!(far.weights.iter().all(|weight| weight.is_finite() && *weight > 0.0), "{far:?}");
    // Nothing varies: no evidence.
    let constant = Array2::from_elem((50, 3), 0.1);
    let none = domain_auc(constant.view(), constant.view(), usual).unwrap();
    assert!((none.auc - 0.5).abs() < 1e-12 && none.p_value >= 1.0, "{none:?}");
    assert!(none.weights.iter().all(|weight| weight.abs() <= 0.0), "{none:?}");
    let empty = Array2::zeros((50, 0));
    assert!((domain_auc(empty.view(), empty.view(), usual).unwrap().auc - 0.5).abs() < 1e-12);
    // A constant column changes nothing, and huge values are told apart like others.
    let wider = concatenate(Axis(1), &[rows.view(), constant.view()]).unwrap();
    let shifted = &wider + &ndarray::arr1(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let plain = domain_auc(rows.view(), shifted.slice_axis(Axis(1), Slice::from(..3)), usual).unwrap();
    let with = domain_auc(wider.view(), shifted.view(), usual).unwrap();
    assert!((plain.auc - with.auc).abs() < 1e-12, "{plain:?} {with:?}");
    let huge = domain_auc(
        (&rows * 1e300).view(),
        (&shifted.slice_axis(Axis(1), Slice::from(..3)) * 1e300).view(),
        usual,
    )
    .unwrap();
    assert!((plain.auc - huge.auc).abs() < 1e-12, "{plain:?} {huge:?}");
}

#[test]
fn false_alarms_of_the_domain_classifier_keep_to_their_level() {
    let mut random = SplitMix64::new(8);
    let runs = 300;
    let (mut alarms, mut total) = (0, 0.0);
    for _ in 0..runs {
        // Skewed, so that the test is not exact.
        let [reference, current] = [40, 30].map(|rows| normal(&mut random, rows, 3).mapv(f64::exp));
        let parameters = DomainAucParameters { folds: 2, ..DomainAucParameters::default() };
        let domain = domain_auc(reference.view(), current.view(), parameters).unwrap();
        alarms += u32::from(domain.p_value <= 0.1);
        total += domain.auc;
    }
    let share = f64::from(alarms) / f64::from(runs);
    assert!((0.04..0.16).contains(&share), "{share}");
    let mean = total / f64::from(runs);
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
}

#[test]
fn combinations_of_columns_change_no_p_value() {
    let mut random = SplitMix64::new(9);
    let (reference, current) = (normal(&mut random, 40, 2), normal(&mut random, 50, 2) + 0.6);
    let usual = DomainAucParameters::default();
    let plain = domain_auc(reference.view(), current.view(), usual).unwrap().p_value;
    assert!(plain > 1e-6 && plain < 0.2, "{plain}");
    let widened = |rows: &Array2<f64>| {
        let sum = rows.sum_axis(Axis(1)).insert_axis(Axis(1));
        concatenate(Axis(1), &[rows.view(), sum.view(), rows.view()]).unwrap()
    };
    let wide = domain_auc(widened(&reference).view(), widened(&current).view(), usual).unwrap().p_value;
    assert!((plain - wide).abs() < 1e-9 * plain, "{plain} {wide}");
    // With as many columns as rows a line always fits, which is no evidence.
    let wide = normal(&mut random, 20, 40);
    let (a, b) = (wide.slice_axis(Axis(0), Slice::from(..10)), wide.slice_axis(Axis(0), Slice::from(10..)));
    assert!(domain_auc(a, b, usual).unwrap().p_value >= 1.0);
}

/// Rows of three features, some of whose values are missing.
fn rows() -> impl Strategy<Value = Vec<[f64; 3]>> {
    let value = prop_oneof![8 => -100.0..100.0_f64, 1 => Just(f64::NAN), 1 => Just(3.0)];
    prop::collection::vec(prop::array::uniform3(value), 1..30)
}

fn added(parts: &[&[[f64; 3]]]) -> CoMoments {
    let mut all = CoMoments::new(3);
    for part in parts {
        let mut moments = CoMoments::new(3);
        for row in *part {
            moments.add(row).unwrap();
        }
        all.merge(&moments).unwrap();
    }
    all
}

/// `Σ (x_j − m_j)(x_k − m_k)` with missing values replaced by the means, straight from the definition.
fn naive(rows: &[[f64; 3]], first: usize, second: usize) -> f64 {
    let mean = |feature: usize| {
        let present: Vec<f64> = rows.iter().map(|row| row[feature]).filter(|value| !value.is_nan()).collect();
        if present.is_empty() { 0.0 } else { mean(&present) }
    };
    let (a, b) = (mean(first), mean(second));
    let or = |value: f64, mean: f64| if value.is_nan() { mean } else { value };
    rows.iter().map(|row| (or(row[first], a) - a) * (or(row[second], b) - b)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merged_parts_are_the_whole_in_any_order(a in rows(), b in rows(), c in rows()) {
        let all = [a.clone(), b.clone(), c.clone()].concat();
        for moments in [added(&[&all]), added(&[&a, &b, &c]), added(&[&c, &a, &b])] {
            prop_assert_eq!(moments.rows(), all.len() as u64);
            for first in 0..3 {
                for second in 0..3 {
                    let expected = naive(&all, first, second);
                    let actual = moments.co_moment(first, second);
                    prop_assert!((actual - expected).abs() < 1e-6, "{} {}: {}, not {}", first, second, actual, expected);
                }
            }
            let text = serde_json::to_string(&moments).unwrap();
            let read: CoMoments = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn errors_are_finite_whatever_a_row_holds(
        rows in prop::collection::vec(prop::array::uniform3(any::<f64>()), 2..20),
        row in prop::array::uniform3(any::<f64>()),
    ) {
        if let Ok(pca) = Pca::fit(&added(&[&rows]), DEFAULT_EXPLAINED) {
            let error = pca.reconstruction_error(&row, &mut Vec::new()).unwrap();
            prop_assert!(error.is_finite() && error >= 0.0, "{}", error);
            let text = serde_json::to_string(&pca).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pca>(&text).unwrap(), pca);
        }
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_rebuild_the_matrix(seed in any::<u64>(), size in 1..12_usize) {
        let mut random = SplitMix64::new(seed);
        let half = normal(&mut random, size, size);
        let matrix = half.t().dot(&half);
        let pairs = eigen(matrix.iter().copied().collect(), size);
        let vectors = Array2::from_shape_vec((size, size), pairs.iter().flat_map(|(_, vector)| vector.clone()).collect()).unwrap();
        let values = Array2::from_diag(&pairs.iter().map(|(value, _)| *value).collect::<Array1<f64>>());
        let rebuilt = vectors.t().dot(&values).dot(&vectors);
        let product = vectors.dot(&vectors.t());
        for (index, entry) in rebuilt.indexed_iter() {
            prop_assert!((entry - matrix[index]).abs() < 1e-10 * size as f64, "{:?}", index);
            let unit = if index.0 == index.1 { 1.0 } else { 0.0 };
            prop_assert!((product[index] - unit).abs() < 1e-12, "{:?}", index);
        }
        prop_assert!(pairs.windows(2).all(|pair| pair[0].0 >= pair[1].0));
    }

    #[test]
    fn an_area_depends_on_the_order_of_scores_only(
        positives in prop::collection::vec(-5..5_i8, 2..30),
        negatives in prop::collection::vec(-5..5_i8, 2..30),
    ) {
        let [mut positives, negatives] = [positives, negatives].map(|scores| scores.into_iter().map(f64::from).collect::<Vec<_>>());
        let area = auc(&positives, &negatives).unwrap();
        prop_assert!((0.0..=1.0).contains(&area.value) && area.standard_error >= 0.0);
        // The other way round, the complement.
        let mirrored = auc(&negatives, &positives).unwrap();
        prop_assert!((area.value + mirrored.value - 1.0).abs() < 1e-12);
        prop_assert!((area.standard_error - mirrored.standard_error).abs() < 1e-12);
        // By a rising function and in another order, the same.
        positives.reverse();
        let [bent, other] = [&positives, &negatives].map(|scores| scores.iter().map(|score| score.exp()).collect::<Vec<_>>());
        let same = auc(&bent, &other).unwrap();
        prop_assert!((area.value - same.value).abs() < 1e-12 && (area.null_deviation - same.null_deviation).abs() < 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_domain_area_does_not_depend_on_units_or_column_order(seed in any::<u64>(), shift in 0.0..1.0_f64) {
        let mut random = SplitMix64::new(seed);
        let (reference, current) = (normal(&mut random, 60, 3), normal(&mut random, 60, 3) + shift);
        let usual = DomainAucParameters::default();
        let area = domain_auc(reference.view(), current.view(), usual).unwrap().auc;
        let turned = |rows: &Array2<f64>| rows.slice_axis(Axis(1), Slice::new(0, None, -1)).mapv(|value| 1000.0 - 7.0 * value);
        let other = domain_auc(turned(&reference).view(), turned(&current).view(), usual).unwrap().auc;
        prop_assert!((area - other).abs() < 1e-9, "{} {}", area, other);
        // Exchanged sides are told apart as well; they are dealt into folds differently, which moves the area of 60 rows.
        let exchanged = domain_auc(current.view(), reference.view(), usual).unwrap().auc;
        prop_assert!((area - exchanged).abs() < 0.25, "{} {}", area, exchanged);
        // A sample is not told from itself.
        let same = domain_auc(reference.view(), reference.view(), usual).unwrap().auc;
        prop_assert!(same < 0.6, "{}", same);
    }
}

#[test]
fn as_many_components_are_kept_as_asked_for() {
    let mut moments = CoMoments::new(4);
    let mut random = SplitMix64::new(3);
    for _ in 0..200 {
        let row: Vec<f64> = (0..4).map(|_| random.normal()).collect();
        moments.add(&row).unwrap();
    }
    for (asked, kept) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (9, 3)] {
        assert_eq!(Pca::fit_count(&moments, asked).unwrap().components().len(), kept, "{asked}");
    }
    let by_share = Pca::fit(&moments, DEFAULT_EXPLAINED).unwrap();
    assert_eq!(Pca::fit_count(&moments, by_share.components().len()).unwrap(), by_share);
}
