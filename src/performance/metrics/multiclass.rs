//! Metrics of a multiclass task: probabilities of shape `[rows, classes]` against the index of the class that came true.
//!
//! [`super`] has the conventions on weights, on unknown classes and on what is undefined.

use ndarray::ArrayView2;

use super::{Ranking, Rows, finite, surprise};

/// Share of rows whose most probable class came true.
///
/// The first class wins among equals. Needs finite scores, not probabilities.
pub fn accuracy(scores: ArrayView2<'_, f64>, targets: &[usize], weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(scores, targets, weights)?;
    let said = top_classes(scores)?;
    rows.mean(|row| Some(f64::from(said[row] == targets[row])))
}

/// Mean of the F1 of all classes that were said or came true, each class as one.
///
/// Agrees with `sklearn.metrics.f1_score(average="macro")`.
pub fn macro_f1(scores: ArrayView2<'_, f64>, targets: &[usize], weights: Option<&[f64]>) -> Option<f64> {
    let counts = ClassCounts::of(scores, targets, weights)?;
    let present: Vec<f64> = counts.f1().map(|(f1, _)| f1).collect();
    finite(present.iter().sum::<f64>() / present.len() as f64)
}

/// Mean of the F1 of all classes, each with the weight of its rows.
///
/// Agrees with `sklearn.metrics.f1_score(average="weighted")`.
pub fn weighted_f1(scores: ArrayView2<'_, f64>, targets: &[usize], weights: Option<&[f64]>) -> Option<f64> {
    let counts = ClassCounts::of(scores, targets, weights)?;
    let (sum, total) =
        counts.f1().fold((0.0, 0.0), |(sum, total), (f1, weight)| (sum + f1 * weight, total + weight));
    finite(sum / total)
}

/// Mean of `−ln` of the probability that was given to the class that came true, in nats.
///
/// Probabilities are kept 2.2e-16 away from 0 and 1; that of an unknown class is 0. Rows need not add up to 1. None unless
/// all are in `[0, 1]`. Agrees with `sklearn.metrics.log_loss`.
pub fn log_loss(
    probabilities: ArrayView2<'_, f64>,
    targets: &[usize],
    weights: Option<&[f64]>,
) -> Option<f64> {
    let rows = rows_of(probabilities, targets, weights)?;
    if !are_probabilities(probabilities) {
        return None;
    }
    rows.mean(|row| Some(surprise(probabilities.get((row, targets[row])).copied().unwrap_or(0.0))))
}

/// Mean of `Σ_k (p_k − y_k)²`, where `y` is 1 for the class that came true and 0 for the others; in `[0, 2]`.
///
/// An unknown class adds 1. None unless all are in `[0, 1]`.
///
/// # Source
///
/// Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; agrees with
/// `sklearn.metrics.brier_score_loss(scale_by_half=False)`. With two classes it is twice that of [`super::binary::brier`].
pub fn brier(probabilities: ArrayView2<'_, f64>, targets: &[usize], weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(probabilities, targets, weights)?;
    if !are_probabilities(probabilities) {
        return None;
    }
    rows.mean(|row| {
        let squares: f64 = probabilities.row(row).iter().map(|p| p * p).sum();
        let given = probabilities.get((row, targets[row])).copied().unwrap_or(0.0);
        Some((squares - 2.0 * given + 1.0).max(0.0))
    })
}

/// Mean over classes of the area under the ROC curve of one class against the rest, each class as one.
///
/// A class that no row has, or every row, has no area and is left out; none where all are.
///
/// Agrees with `sklearn.metrics.roc_auc_score(multi_class="ovr", average="macro")`, which refuses a class without rows.
pub fn roc_auc_ovr(scores: ArrayView2<'_, f64>, targets: &[usize], weights: Option<&[f64]>) -> Option<f64> {
    OneVersusRest::of(scores)?.roc_auc(targets, weights)
}

/// Expected calibration error of the largest probability of each row as that of its class having come true; see
/// [`Ranking::calibration_error`].
pub fn calibration_error(
    probabilities: ArrayView2<'_, f64>,
    targets: &[usize],
    bins: usize,
    weights: Option<&[f64]>,
) -> Option<f64> {
    rows_of(probabilities, targets, weights)?;
    let said = top_classes(probabilities)?;
    let confidence: Vec<f64> =
        said.iter().enumerate().map(|(row, &class)| probabilities[(row, class)]).collect();
    let right: Vec<bool> = said.iter().zip(targets).map(|(said, target)| said == target).collect();
    super::binary::calibration_error(&confidence, &right, bins, weights)
}

/// Rows sorted by the score of each class, for areas under many weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneVersusRest(Vec<Ranking>);

impl OneVersusRest {
    /// Sorts rows once per class; none when a score is NaN or infinite.
    pub fn of(scores: ArrayView2<'_, f64>) -> Option<Self> {
        scores
            .columns()
            .into_iter()
            .map(|scores| Ranking::of(&scores.to_vec()))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// As [`roc_auc_ovr`].
    pub fn roc_auc(&self, targets: &[usize], weights: Option<&[f64]>) -> Option<f64> {
        let areas: Vec<f64> = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(class, ranking)| {
                let own: Vec<bool> = targets.iter().map(|&target| target == class).collect();
                ranking.roc_auc(&own, weights)
            })
            .collect();
        finite(areas.iter().sum::<f64>() / areas.len() as f64)
    }
}

/// Weights by class: rows that were said and true, said, and true. The last class stands for all that are unknown.
struct ClassCounts(Vec<[f64; 3]>);

impl ClassCounts {
    fn of(scores: ArrayView2<'_, f64>, targets: &[usize], weights: Option<&[f64]>) -> Option<Self> {
        let rows = rows_of(scores, targets, weights)?;
        let said = top_classes(scores)?;
        let unknown = scores.ncols();
        let mut counts = vec![[0.0; 3]; unknown + 1];
        for (row, (&said, &target)) in said.iter().zip(targets).enumerate() {
            let (target, weight) = (target.min(unknown), rows.weight(row));
            counts[said][1] += weight;
            counts[target][2] += weight;
            if said == target {
                counts[said][0] += weight;
            }
        }
        Some(Self(counts))
    }

    /// F1 and weight of the rows of every class that was said or came true.
    fn f1(&self) -> impl Iterator<Item = (f64, f64)> {
        self.0
            .iter()
            .filter(|[_, said, came]| said + came > 0.0)
            .map(|[both, said, came]| (2.0 * both / (said + came), *came))
    }
}

/// The class of the largest score of every row, the first among equals; none if a score is NaN or infinite.
fn top_classes(scores: ArrayView2<'_, f64>) -> Option<Vec<usize>> {
    if !scores.iter().all(|score| score.is_finite()) {
        return None;
    }
    let top = |row: ndarray::ArrayView1<'_, f64>| {
        row.iter()
            .enumerate()
            .fold(
                (0, f64::NEG_INFINITY),
                |best, (class, &score)| if score > best.1 { (class, score) } else { best },
            )
            .0
    };
    Some(scores.rows().into_iter().map(top).collect())
}

fn are_probabilities(values: ArrayView2<'_, f64>) -> bool {
    values.iter().all(|value| (0.0..=1.0).contains(value))
}

fn rows_of<'a>(
    scores: ArrayView2<'_, f64>,
    targets: &[usize],
    weights: Option<&'a [f64]>,
) -> Option<Rows<'a>> {
    if scores.nrows() == targets.len() && scores.ncols() > 0 {
        Rows::new(targets.len(), weights)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn a_class_that_the_model_does_not_know_is_never_right() {
        let p = array![[0.9, 0.1], [0.2, 0.8]];
        assert_eq!(accuracy(p.view(), &[0, 7], None), Some(0.5));
        // F1 of class 0 is 1, of class 1 and of the unknown class 0.
        assert_eq!(macro_f1(p.view(), &[0, 7], None), Some(1.0 / 3.0));
        assert_eq!(weighted_f1(p.view(), &[0, 7], None), Some(0.5));
        assert!(log_loss(p.view(), &[0, 7], None).unwrap() > 18.0);
        assert!((brier(p.view(), &[0, 7], None).unwrap() - 0.85).abs() < 1e-12);
        assert_eq!(roc_auc_ovr(p.view(), &[0, 7], None), Some(1.0), "of class 0 alone");
        assert_eq!(roc_auc_ovr(p.view(), &[7, 7], None), None);
    }

    #[test]
    fn shapes_and_numbers_are_checked() {
        let none = Array2::<f64>::zeros((0, 3));
        let bad = array![[0.5, f64::NAN]];
        let wide = array![[0.5, 1.5]];
        for metric in [accuracy, macro_f1, weighted_f1, log_loss, brier, roc_auc_ovr] {
            assert_eq!(metric(none.view(), &[], None), None, "no rows");
            assert_eq!(metric(Array2::zeros((1, 0)).view(), &[0], None), None, "no classes");
            assert_eq!(metric(bad.view(), &[0], None), None, "NaN");
            assert_eq!(metric(array![[0.5, 0.5]].view(), &[0, 1], None), None, "another length");
        }
        for metric in [log_loss, brier] {
            assert_eq!(metric(wide.view(), &[0], None), None);
        }
        assert_eq!(accuracy(wide.view(), &[1], None), Some(1.0), "scores will do");
        assert_eq!(calibration_error(wide.view(), &[1], 10, None), None);
    }

    #[test]
    fn two_classes_are_the_binary_task() {
        let p = [0.3, 0.6, 0.8, 0.1];
        let came = [false, true, false, true];
        let both =
            Array2::from_shape_fn((4, 2), |(row, class)| if class == 1 { p[row] } else { 1.0 - p[row] });
        let targets: Vec<usize> = came.iter().map(|&came| usize::from(came)).collect();
        let near =
            |a: Option<f64>, b: Option<f64>| assert!((a.unwrap() - b.unwrap()).abs() < 1e-12, "{a:?} {b:?}");
        near(log_loss(both.view(), &targets, None), super::super::binary::log_loss(&p, &came, None));
        near(
            brier(both.view(), &targets, None),
            super::super::binary::brier(&p, &came, None).map(|b| 2.0 * b),
        );
        near(roc_auc_ovr(both.view(), &targets, None), super::super::binary::roc_auc(&p, &came, None));
    }
}
