//! Gauges of which a series vanishes when what it told of is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounterVec};

/// A gauge whose first label is `model`; the series of a model are replaced together.
#[derive(Debug, Clone)]
pub struct Shown {
    gauge: GaugeVec,
    shown: Arc<Mutex<BTreeMap<String, BTreeSet<Vec<String>>>>>,
}

impl Shown {
    /// Shows through `gauge`.
    pub(super) fn new(gauge: GaugeVec) -> Self {
        Self { gauge, shown: Arc::default() }
    }

    /// Shows these values of `model`, by the labels after the first, and takes back what else was shown of it.
    pub(super) fn replace(&self, model: &str, values: BTreeMap<Vec<String>, f64>) {
        let mut shown = self.shown.lock();
        let before = shown.remove(model).unwrap_or_default();
        for (labels, value) in &values {
            self.gauge.with_label_values(&with_model(model, labels)).set(*value);
        }
        for gone in before.iter().filter(|labels| !values.contains_key(*labels)) {
            // One that is not there need not be removed.
            drop(self.gauge.remove_label_values(&with_model(model, gone)));
        }
        if !values.is_empty() {
            shown.insert(model.to_owned(), values.into_keys().collect());
        }
    }

    /// Shows one value of `model`, or none.
    pub(super) fn replace_one(&self, model: &str, value: Option<f64>) {
        self.replace(model, value.map(|value| (Vec::new(), value)).into_iter().collect());
    }

    /// Takes back all models that are not among `models`.
    pub(super) fn keep_only(&self, models: &BTreeSet<&str>) {
        let gone: Vec<String> =
            self.shown.lock().keys().filter(|model| !models.contains(model.as_str())).cloned().collect();
        for model in gone {
            self.replace(&model, BTreeMap::new());
        }
    }
}

fn with_model<'l>(model: &'l str, labels: &'l [String]) -> Vec<&'l str> {
    std::iter::once(model).chain(labels.iter().map(String::as_str)).collect()
}

/// Brings a counter that is kept elsewhere up to `value`. It starts anew only where the value has fallen.
pub(super) fn bring_to(counters: &IntCounterVec, labels: &[&str], value: u64) {
    let counter = counters.with_label_values(labels);
    let shown = counter.get();
    if value < shown {
        counter.reset();
    }
    counter.inc_by(value.saturating_sub(if value < shown { 0 } else { shown }));
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;
    use prometheus::core::Collector;

    use super::*;

    #[test]
    fn what_is_not_shown_again_vanishes() {
        let gauge = GaugeVec::new(Opts::new("g", "h"), &["model", "feature"]).unwrap();
        let shown = Shown::new(gauge.clone());
        let of = |names: &[&str]| names.iter().map(|name| (vec![(*name).to_owned()], 1.0)).collect();
        let series = || gauge.collect()[0].get_metric().len();
        shown.replace("m", of(&["a", "b"]));
        shown.replace("n", of(&["a"]));
        assert_eq!(series(), 3);
        shown.replace("m", of(&["b", "c", "d"]));
        assert_eq!(series(), 4);
        shown.keep_only(&BTreeSet::from(["n"]));
        assert_eq!(series(), 1);
        shown.replace("n", BTreeMap::new());
        assert_eq!(gauge.collect()[0].get_metric().len(), 0);
    }

    #[test]
    fn a_counter_is_brought_up_without_passing_zero() {
        let counters = IntCounterVec::new(Opts::new("c", "h"), &["model"]).unwrap();
        for (value, label) in [(3, "m"), (3, "m"), (5, "m"), (2, "m")] {
            bring_to(&counters, &[label], value);
            assert_eq!(counters.with_label_values(&[label]).get(), value);
        }
    }
}
