"""Writes metrics.json: seeded predictions and targets with what scikit-learn says of them. README.md has the versions."""

import json
import pathlib

import numpy
from sklearn import metrics
from sklearn.calibration import calibration_curve

BINS = 10


def calibration_error(targets, confidences):
    """Equal-mass bins of distinct confidences, their number divisible by BINS: all bins weigh the same."""
    truth, said = calibration_curve(targets, confidences, n_bins=BINS, strategy="quantile")
    assert len(truth) == BINS and len(set(confidences)) == len(confidences) and len(confidences) % BINS == 0
    return float(numpy.abs(truth - said).mean())


def binary(random, rows, digits, slope, threshold):
    logit = random.normal(size=rows)
    scores = numpy.round(1 / (1 + numpy.exp(-logit)), digits)
    targets = random.uniform(size=rows) < 1 / (1 + numpy.exp(-slope * logit + 0.5))
    weights = random.integers(0, 4, size=rows)

    def figures(weight):
        said = scores >= threshold
        return {
            "accuracy": metrics.accuracy_score(targets, said, sample_weight=weight),
            "precision": metrics.precision_score(targets, said, sample_weight=weight),
            "recall": metrics.recall_score(targets, said, sample_weight=weight),
            "f1": metrics.f1_score(targets, said, sample_weight=weight),
            "roc_auc": metrics.roc_auc_score(targets, scores, sample_weight=weight),
            "pr_auc": metrics.average_precision_score(targets, scores, sample_weight=weight),
            "log_loss": metrics.log_loss(targets, scores, sample_weight=weight, labels=[False, True]),
            "brier": metrics.brier_score_loss(targets, scores, sample_weight=weight),
        }

    case = {
        "scores": scores.tolist(), "targets": targets.tolist(), "weights": weights.tolist(), "threshold": threshold,
        "plain": figures(None), "weighted": figures(weights),
    }
    if digits > 8:
        case["plain"]["ece"] = calibration_error(targets, scores)
    return case


def multiclass(random, rows, classes, ties):
    logits = random.normal(size=(rows, classes))
    targets = numpy.array([
        random.choice(classes, p=numpy.exp(1.5 * row) / numpy.exp(1.5 * row).sum()) for row in logits
    ])
    targets[:classes] = numpy.arange(classes)
    probabilities = numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        probabilities = numpy.array([random.multinomial(16, row) for row in probabilities]) / 16
    weights = random.integers(1, 4, size=rows)
    labels = list(range(classes))
    said = probabilities.argmax(axis=1)

    def figures(weight):
        return {
            "accuracy": metrics.accuracy_score(targets, said, sample_weight=weight),
            "f1_macro": metrics.f1_score(targets, said, average="macro", sample_weight=weight),
            "f1_weighted": metrics.f1_score(targets, said, average="weighted", sample_weight=weight),
            "log_loss": metrics.log_loss(targets, probabilities, labels=labels, sample_weight=weight),
            "brier": metrics.brier_score_loss(
                targets, probabilities, labels=labels, sample_weight=weight, scale_by_half=False),
            "roc_auc_ovr": metrics.roc_auc_score(
                targets, probabilities, multi_class="ovr", average="macro", sample_weight=weight),
        }

    case = {
        "probabilities": probabilities.tolist(), "targets": targets.tolist(), "weights": weights.tolist(),
        "plain": figures(None), "weighted": figures(weights),
    }
    if not ties:
        case["plain"]["ece"] = calibration_error(said == targets, probabilities.max(axis=1))
    return case


def regression(random, rows, scale, quantile):
    targets = numpy.round(random.gamma(2.0, scale, size=rows), 3) + 0.001
    predictions = numpy.round(targets * numpy.exp(random.normal(scale=0.3, size=rows)), 3) + 0.001
    weights = random.integers(0, 4, size=rows)

    def figures(weight):
        return {
            "mae": metrics.mean_absolute_error(targets, predictions, sample_weight=weight),
            "rmse": metrics.root_mean_squared_error(targets, predictions, sample_weight=weight),
            "mape": metrics.mean_absolute_percentage_error(targets, predictions, sample_weight=weight),
            "r2": metrics.r2_score(targets, predictions, sample_weight=weight),
            "pinball": metrics.mean_pinball_loss(targets, predictions, alpha=quantile, sample_weight=weight),
            "poisson": metrics.mean_poisson_deviance(targets, predictions, sample_weight=weight),
        }

    return {
        "predictions": predictions.tolist(), "targets": targets.tolist(), "weights": weights.tolist(),
        "quantile": quantile, "plain": figures(None), "weighted": figures(weights),
    }


random = numpy.random.default_rng(20261128)
cases = {
    "binary": {
        "calibrated": binary(random, 200, 12, 1.0, 0.5),
        "over_confident": binary(random, 200, 12, 0.4, 0.3),
        "many_ties": binary(random, 120, 1, 1.0, 0.5),
        "sure_mistakes": binary(random, 90, 0, 0.2, 0.5),
    },
    "multiclass": {
        "three": multiclass(random, 150, 3, ties=False),
        "seven_with_ties": multiclass(random, 140, 7, ties=True),
    },
    "regression": {
        "small": regression(random, 100, 0.5, 0.1),
        "large": regression(random, 100, 5000.0, 0.9),
    },
}
path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text(json.dumps(cases, default=float) + "\n")
