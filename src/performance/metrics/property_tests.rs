//! What holds of every metric, whatever the numbers.

use ndarray::Array2;
use proptest::prelude::*;

use super::{binary, multiclass, regression};

/// All metrics of one kind of task, named.
type Figures = Vec<(&'static str, Option<f64>)>;

fn of_binary(p: &[f64], t: &[bool], w: Option<&[f64]>) -> Figures {
    vec![
        ("accuracy", binary::accuracy(p, t, 0.5, w)),
        ("precision", binary::precision(p, t, 0.5, w)),
        ("recall", binary::recall(p, t, 0.5, w)),
        ("f1", binary::f1(p, t, 0.5, w)),
        ("roc_auc", binary::roc_auc(p, t, w)),
        ("pr_auc", binary::pr_auc(p, t, w)),
        ("log_loss", binary::log_loss(p, t, w)),
        ("brier", binary::brier(p, t, w)),
        ("ece", binary::calibration_error(p, t, 10, w)),
    ]
}

fn of_multiclass(p: &Array2<f64>, t: &[usize], w: Option<&[f64]>) -> Figures {
    vec![
        ("accuracy", multiclass::accuracy(p.view(), t, w)),
        ("f1_macro", multiclass::macro_f1(p.view(), t, w)),
        ("f1_weighted", multiclass::weighted_f1(p.view(), t, w)),
        ("log_loss", multiclass::log_loss(p.view(), t, w)),
        ("brier", multiclass::brier(p.view(), t, w)),
        ("roc_auc_ovr", multiclass::roc_auc_ovr(p.view(), t, w)),
        ("ece", multiclass::calibration_error(p.view(), t, 10, w)),
    ]
}

fn of_regression(p: &[f64], t: &[f64], w: Option<&[f64]>) -> Figures {
    vec![
        ("mae", regression::mae(p, t, w)),
        ("rmse", regression::rmse(p, t, w)),
        ("mape", regression::mape(p, t, w)),
        ("r2", regression::r2(p, t, w)),
        ("pinball", regression::pinball(p, t, 0.9, w)),
        ("poisson", regression::poisson_deviance(p, t, w)),
    ]
}

/// Both undefined, or equal but for rounding.
#[track_caller]
fn assert_same(left: &Figures, right: &Figures) {
    for ((name, left), (_, right)) in left.iter().zip(right) {
        let same = match (left, right) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + a.abs()),
            (None, None) => true,
            _ => false,
        };
        assert!(same, "{name}: {left:?} and {right:?}");
    }
}

/// Each item as often as its weight says.
fn repeated<T: Clone>(items: &[T], weights: &[f64]) -> Vec<T> {
    let times = |weight: f64| (1..4).filter(|&time| f64::from(time) <= weight).count();
    let items = items.iter().zip(weights);
    items.flat_map(|(item, &weight)| std::iter::repeat_n(item.clone(), times(weight))).collect()
}

/// Probabilities with many ties, so that they matter.
fn probability() -> impl Strategy<Value = f64> {
    prop_oneof![(0..=8_u8).prop_map(|eighths| f64::from(eighths) / 8.0), 0.0..=1.0_f64]
}

fn weight() -> impl Strategy<Value = f64> {
    (0..4_u8).prop_map(f64::from)
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -10.0..10.0_f64, Just(f64::NAN), Just(0.0)]
}

proptest! {
    #[test]
    fn a_whole_weight_is_that_many_rows(
        rows in prop::collection::vec((probability(), any::<bool>(), weight()), 0..60),
    ) {
        let p: Vec<f64> = rows.iter().map(|row| row.0).collect();
        let t: Vec<bool> = rows.iter().map(|row| row.1).collect();
        let w: Vec<f64> = rows.iter().map(|row| row.2).collect();
        // Which bin holds a row hangs on where the rows of its score stand together, and equal scores do.
        assert_same(
            &of_binary(&p, &t, Some(&w)),
            &of_binary(&repeated(&p, &w), &repeated(&t, &w), None),
        );
        let shares = Array2::from_shape_fn((p.len(), 3), |(row, class)| [p[row], 1.0 - p[row], 0.3][class]);
        let classes: Vec<usize> = rows.iter().enumerate().map(|(row, _)| row % 4).collect();
        let drawn = repeated(&(0..p.len()).collect::<Vec<_>>(), &w);
        let again = Array2::from_shape_fn((drawn.len(), 3), |(row, class)| shares[(drawn[row], class)]);
        assert_same(
            &of_multiclass(&shares, &classes, Some(&w)),
            &of_multiclass(&again, &repeated(&classes, &w), None),
        );
    }

    #[test]
    fn a_whole_weight_is_that_many_rows_of_a_regression(
        rows in prop::collection::vec((0.1..100.0_f64, 0.0..100.0_f64, weight()), 0..60),
    ) {
        let p: Vec<f64> = rows.iter().map(|row| row.0).collect();
        let t: Vec<f64> = rows.iter().map(|row| row.1).collect();
        let w: Vec<f64> = rows.iter().map(|row| row.2).collect();
        let (weighted, plain) = (of_regression(&p, &t, Some(&w)), of_regression(&repeated(&p, &w), &repeated(&t, &w), None));
        assert_same(&weighted, &plain);
    }

    #[test]
    fn nothing_that_is_no_number_goes_out(
        rows in prop::collection::vec((any_number(), any_number(), any::<bool>(), any_number()), 0..20),
        few in 0..4_usize,
    ) {
        let p: Vec<f64> = rows.iter().map(|row| row.0).collect();
        let y: Vec<f64> = rows.iter().map(|row| row.1).collect();
        let t: Vec<bool> = rows.iter().map(|row| row.2).collect();
        let w: Vec<f64> = rows.iter().map(|row| row.3).collect();
        let table = Array2::from_shape_fn((p.len(), few), |(row, class)| [p[row], y[row], w[row], 0.5][class]);
        let classes: Vec<usize> = (0..p.len()).map(|row| row % 5).collect();
        for weights in [None, Some(w.as_slice())] {
            for (name, figure) in of_binary(&p, &t, weights)
                .into_iter()
                .chain(of_regression(&p, &y, weights))
                .chain(of_multiclass(&table, &classes, weights))
            {
                prop_assert!(figure.is_none_or(f64::is_finite), "{name}: {figure:?}");
            }
        }
    }

    #[test]
    fn shares_lie_between_0_and_1_and_a_turned_ranking_has_the_rest(
        rows in prop::collection::vec((probability(), any::<bool>()), 1..60),
    ) {
        let p: Vec<f64> = rows.iter().map(|row| row.0).collect();
        let t: Vec<bool> = rows.iter().map(|row| row.1).collect();
        for (name, figure) in of_binary(&p, &t, None) {
            let most = if name == "log_loss" { 37.0 } else { 1.0 + 1e-12 };
            prop_assert!(figure.is_none_or(|figure| (0.0..=most).contains(&figure)), "{name}: {figure:?}");
        }
        let turned: Vec<f64> = p.iter().map(|p| -p).collect();
        if let Some(area) = binary::roc_auc(&p, &t, None) {
            prop_assert!((area + binary::roc_auc(&turned, &t, None).unwrap() - 1.0).abs() < 1e-12);
        }
    }
}
