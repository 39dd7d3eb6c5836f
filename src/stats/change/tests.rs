//! All detectors: reference alarms of river, and what holds for every one of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::stats::random::SplitMix64;

/// `tests/golden/stats/streams.json`; the README there says what made it.
#[derive(Deserialize)]
struct Golden {
    streams: BTreeMap<String, Stream>,
    detections: Vec<Detections>,
}

#[derive(Deserialize)]
struct Stream {
    changes_at: Vec<usize>,
    #[serde(default)]
    hundredths: Vec<i32>,
    #[serde(default)]
    errors: String,
}

impl Stream {
    fn values(&self) -> Vec<f64> {
        let errors = self.errors.chars().map(|digit| f64::from(u8::from(digit == '1')));
        self.hundredths.iter().map(|&value| f64::from(value) / 100.0).chain(errors).collect()
    }
}

#[derive(Deserialize)]
struct Detections {
    stream: String,
    parameters: DetectorParameters,
    changes: Vec<usize>,
    warnings: usize,
    first_warning: Option<usize>,
    warning_sum: usize,
    width: Option<u64>,
    mean: Option<f64>,
}

fn golden() -> Golden {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stats/streams.json"));
    serde_json::from_str(text).unwrap()
}

/// Positions of changes and of warnings.
fn positions(detector: &mut Detector, values: &[f64]) -> (Vec<usize>, Vec<usize>) {
    let (mut changes, mut warnings) = (Vec::new(), Vec::new());
    for (position, &value) in values.iter().enumerate() {
        match detector.update(value) {
            Signal::None => {}
            Signal::Warning => warnings.push(position),
            Signal::Change => changes.push(position),
        }
    }
    (changes, warnings)
}

#[test]
fn alarms_come_at_the_index_of_river() {
    let golden = golden();
    let (mut compared, mut alarms) = (0, 0);
    for expected in &golden.detections {
        if matches!(expected.parameters, DetectorParameters::Kswin(_)) {
            continue;
        }
        let what = format!("{:?} on {}", expected.parameters, expected.stream);
        let mut detector = Detector::new(expected.parameters).unwrap();
        let (changes, warnings) = positions(&mut detector, &golden.streams[&expected.stream].values());
        assert_eq!(changes, expected.changes, "{what}");
        let summary = (warnings.len(), warnings.first().copied(), warnings.iter().sum());
        assert_eq!(summary, (expected.warnings, expected.first_warning, expected.warning_sum), "{what}");
        if let (Detector::Adwin(adwin), Some(width), Some(mean)) = (&detector, expected.width, expected.mean)
        {
            // A change with the last value has emptied river's window, or left us the newer part.
            assert_eq!(adwin.width(), width, "{what}");
            assert!((adwin.mean().unwrap() - mean).abs() < 1e-9 * mean.abs().max(1.0), "{what}");
        }
        compared += 1;
        alarms += changes.len();
    }
    assert!(compared > 100 && alarms > 450, "{compared} detectors, {alarms} alarms");
}

#[test]
fn kswin_sees_what_river_sees_and_cries_wolf_as_often() {
    let golden = golden();
    let (mut seen, mut ours, mut rivers) = (0, 0, 0);
    for expected in &golden.detections {
        if !matches!(expected.parameters, DetectorParameters::Kswin(_)) {
            continue;
        }
        let stream = &golden.streams[&expected.stream];
        let mut detector = Detector::new(expected.parameters).unwrap();
        let (changes, _) = positions(&mut detector, &stream.values());
        ours += changes.len();
        rivers += expected.changes.len();
        for &change in &stream.changes_at {
            // Where river sees the true change at once, so do we.
            for &there in expected.changes.iter().filter(|&&there| (change..change + 100).contains(&there)) {
                let near = changes.iter().any(|&here| here >= change && here.abs_diff(there) <= 100);
                assert!(near, "{}: river at {there}, here {changes:?}", expected.stream);
                seen += 1;
            }
        }
    }
    assert!(seen >= 6, "{seen} changes");
    // The draws differ and so do the false alarms, which most of these are; their rate is the same.
    assert!(2 * ours > rivers && ours < 2 * rivers, "{ours} alarms, river {rivers}");
}

/// Every detector with its defaults, and the two-sided ones.
fn every() -> Vec<DetectorParameters> {
    vec![
        DetectorParameters::Adwin(AdwinParameters::default()),
        DetectorParameters::PageHinkley(PageHinkleyParameters::default()),
        DetectorParameters::Ddm(DdmParameters::default()),
        DetectorParameters::Eddm(EddmParameters::default()),
        DetectorParameters::HddmA(HddmAParameters::default()),
        DetectorParameters::HddmA(HddmAParameters { two_sided: true, ..HddmAParameters::default() }),
        DetectorParameters::HddmW(HddmWParameters::default()),
        DetectorParameters::HddmW(HddmWParameters { two_sided: true, ..HddmWParameters::default() }),
        DetectorParameters::Kswin(KswinParameters::default()),
    ]
}

/// A stream that changes at `at`: the mean from 0 to 3, or the error rate from 0.1 to 0.9.
fn step(parameters: &DetectorParameters, seed: u64, at: usize, len: usize) -> Vec<f64> {
    let mut random = SplitMix64::new(seed);
    (0..len)
        .map(|position| {
            let after = f64::from(u8::from(position >= at));
            if parameters.takes_errors() {
                f64::from(u8::from(random.uniform() < 0.1 + 0.8 * after))
            } else {
                random.normal() + 3.0 * after
            }
        })
        .collect()
}

#[test]
fn memory_stays_bounded() {
    for parameters in every() {
        let mut detector = Detector::new(parameters).unwrap();
        let mut random = SplitMix64::new(1);
        for _ in 0..15_000 {
            detector.update(f64::from(u8::from(random.uniform() < 0.5)));
        }
        match &detector {
            // Six buckets for each power of two up to 15 000.
            Detector::Adwin(adwin) => {
                assert!(adwin.width() > 10_000, "{}", adwin.width());
                assert!((40..=6 * 14).contains(&adwin.buckets()), "{}", adwin.buckets());
            }
            Detector::Kswin(kswin) => assert!(kswin.values() <= 100, "{}", kswin.values()),
            _ => {}
        }
        let stored = serde_json::to_string(&detector).unwrap();
        assert!(stored.len() < 10_000, "{} bytes: {stored}", stored.len());
    }
}

#[test]
fn parameters_out_of_range_are_refused_and_missing_ones_are_the_published() {
    let read = |text: &str| serde_json::from_str::<DetectorParameters>(text);
    assert_eq!(read(r#"{"detector": "adwin"}"#).unwrap(), every()[0]);
    assert!(read(r#"{"detector": "adwin", "detla": 1}"#).is_err());
    for (text, name) in [
        (r#"{"detector": "adwin", "delta": 0}"#, "delta"),
        (r#"{"detector": "adwin", "delta": 1}"#, "delta"),
        (r#"{"detector": "adwin", "clock": 0}"#, "clock"),
        (r#"{"detector": "adwin", "max_buckets": 0}"#, "max_buckets"),
        (r#"{"detector": "adwin", "min_window_length": 0}"#, "min_window_length"),
        (r#"{"detector": "page_hinkley", "threshold": 0}"#, "threshold"),
        (r#"{"detector": "page_hinkley", "delta": -1}"#, "delta"),
        (r#"{"detector": "page_hinkley", "alpha": 1.5}"#, "alpha"),
        (r#"{"detector": "ddm", "warning_threshold": 0}"#, "warning_threshold"),
        (r#"{"detector": "ddm", "drift_threshold": 1}"#, "drift_threshold"),
        (r#"{"detector": "eddm", "alpha": 1}"#, "alpha"),
        (r#"{"detector": "eddm", "beta": 0.96}"#, "beta"),
        (r#"{"detector": "hddm_a", "drift_confidence": 0.1}"#, "warning_confidence"),
        (r#"{"detector": "hddm_w", "lambda": 1}"#, "lambda"),
        (r#"{"detector": "kswin", "stat_size": 51}"#, "window_size"),
        (r#"{"detector": "kswin", "stat_size": 3}"#, "stat_size"),
        (r#"{"detector": "kswin", "window_size": 100001}"#, "window_size"),
    ] {
        let refused = Detector::new(read(text).unwrap()).unwrap_err();
        assert!(
            matches!(refused, StatError::InvalidParameter { name: found, .. } if found == name),
            "{text}: {refused}"
        );
    }
    let nan = AdwinParameters { delta: f64::NAN, ..AdwinParameters::default() };
    assert!(Adwin::new(nan).is_err());
}

#[test]
fn huge_values_count_and_poison_nothing() {
    for parameters in every().into_iter().filter(|parameters| !parameters.takes_errors()) {
        let mut detector = Detector::new(parameters).unwrap();
        let values: Vec<f64> = (0..400).map(|at| if at < 200 { 1.0 } else { f64::MAX }).collect();
        let (changes, _) = positions(&mut detector, &values);
        assert!(changes.iter().any(|&at| (200..300).contains(&at)), "{parameters:?}: {changes:?}");
        // What can be written down as JSON is finite, and it still works.
        let text = serde_json::to_string(&detector).unwrap();
        let mut detector: Detector = serde_json::from_str(&text).unwrap();
        let (changes, _) = positions(&mut detector, &step(&parameters, 1, 400, 600));
        assert!(changes.iter().any(|&at| at >= 400), "{parameters:?}: {changes:?}");
    }
}

#[test]
fn a_wide_offset_takes_no_digits_from_adwin() {
    let parameters = DetectorParameters::Adwin(AdwinParameters::default());
    let values = step(&parameters, 4, 500, 1000);
    let plain = positions(&mut Detector::new(parameters).unwrap(), &values);
    let offset: Vec<f64> = values.iter().map(|value| value + 1e9).collect();
    assert_eq!(positions(&mut Detector::new(parameters).unwrap(), &offset), plain);
    assert!(!plain.0.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_constant_stream_never_alarms(any in any::<f64>(), share in 0.0..=1.0_f64, error in 0..2_u8) {
        for parameters in every() {
            for value in [any, share, f64::from(error)] {
                let (changes, warnings) = positions(&mut Detector::new(parameters).unwrap(), &[value; 300]);
                prop_assert!(changes.is_empty() && warnings.is_empty(), "{:?} on {}", parameters, value);
            }
        }
    }

    #[test]
    fn a_big_step_alarms(seed in any::<u64>(), at in 200..400_usize) {
        for parameters in every() {
            let values = step(&parameters, seed, at, at + 300);
            let (changes, _) = positions(&mut Detector::new(parameters).unwrap(), &values);
            // A false alarm just before the step empties a window, which then never holds both sides.
            prop_assert!(changes.iter().any(|&change| change + 100 >= at), "{:?}: {:?}", parameters, changes);
        }
    }

    #[test]
    fn a_restart_goes_on_as_if_nothing_had_happened(seed in any::<u64>(), cut in 0..700_usize) {
        for parameters in every() {
            let values = step(&parameters, seed, 350, 700);
            let mut whole = Detector::new(parameters).unwrap();
            let mut parts = whole.clone();
            let expected: Vec<Signal> = values.iter().map(|&value| whole.update(value)).collect();
            let mut signals: Vec<Signal> = values[..cut].iter().map(|&value| parts.update(value)).collect();
            let stored = serde_json::to_string(&parts).unwrap();
            let mut parts: Detector = serde_json::from_str(&stored).unwrap();
            signals.extend(values[cut..].iter().map(|&value| parts.update(value)));
            prop_assert_eq!(signals, expected);
            prop_assert_eq!(parts.parameters(), parameters);
            prop_assert_eq!(serde_json::to_string(&parts).unwrap(), serde_json::to_string(&whole).unwrap());
        }
    }

    #[test]
    fn what_is_not_accepted_is_as_if_it_had_not_been_there(
        seed in any::<u64>(),
        strange in prop::collection::vec((0..600_usize, prop_oneof![
            Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.1), Just(1.1),
        ]), 1..20),
    ) {
        for parameters in every() {
            let values = step(&parameters, seed, 300, 600);
            let mut plain = Detector::new(parameters).unwrap();
            let mut disturbed = plain.clone();
            for (position, &value) in values.iter().enumerate() {
                for &(_, other) in strange.iter().filter(|(at, other)| *at == position && !parameters.accepts(*other)) {
                    prop_assert_eq!(disturbed.update(other), Signal::None);
                }
                prop_assert_eq!(disturbed.update(value), plain.update(value));
            }
        }
    }

    #[test]
    fn never_panic_and_stay_finite(values in prop::collection::vec(any::<f64>(), 0..300)) {
        for parameters in every() {
            let mut detector = Detector::new(parameters).unwrap();
            positions(&mut detector, &values);
            let stored = serde_json::to_string(&detector).unwrap();
            // JSON writes a number that is not finite as null, which reads as no number.
            prop_assert!(serde_json::from_str::<Detector>(&stored).is_ok(), "{}", stored);
        }
    }
}
