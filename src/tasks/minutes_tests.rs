//! Counts of several threads become the minutes of their process: exactly, and within bounds.

use proptest::prelude::*;

use super::*;
use crate::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use crate::model::{Column, Role, Value};

const NAMES: [&str; 4] = ["x", "y", "c", "score"];

fn values(name: &str, row: u32) -> Value {
    let number = f64::from(row);
    match name {
        "x" => Value::Number(number),
        "y" => Value::Number(number * 0.5 + (number * 0.7).sin()),
        "c" => Value::Text(format!("c{}", row % 5)),
        _ => Value::Number(number / 7.0),
    }
}

fn model() -> ModelName {
    ModelName::parse("m").unwrap()
}

fn reference() -> Baseline {
    let columns = NAMES.map(|name| (0..300).map(|row| values(name, row)).collect::<Vec<_>>());
    let source: Vec<SourceColumn<'_>> = NAMES
        .iter()
        .zip(&columns)
        .map(|(name, values)| {
            let role = if *name == "score" { Role::Output } else { Role::Feature };
            SourceColumn { name, role, kind: None, values }
        })
        .collect();
    let options =
        BuildOptions { model: model(), source: "r".into(), cut: CutOptions::default(), joint: true };
    baseline::build(&source, None, options).unwrap()
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(minute * 60 + 7, 0).unwrap()
}

/// One exchange of one row; every seventh has a column that the baseline lacks.
fn exchange(number: u32, value: f64, minute: i64) -> Exchange {
    let extra = number.is_multiple_of(7).then_some("extra");
    let column = |name: &str| Column {
        name: name.into(),
        values: vec![match name {
            "x" => Value::Number(value),
            name => values(name, number),
        }],
    };
    Exchange {
        id: format!("e-{number}"),
        model: model(),
        model_version: number.is_multiple_of(3).then(|| "2".to_owned()),
        event_time: at(minute) + TimeDelta::milliseconds(i64::from(number)),
        batch: Batch {
            rows: 1,
            features: NAMES[..3].iter().copied().chain(extra).map(column).collect(),
            outputs: vec![column("score")],
        },
        other_ids: Vec::new(),
    }
}

fn record(counts: &mut Counts, minutes: &mut Minutes, exchange: &Exchange, baseline: &Baseline) -> bool {
    let on = Some((baseline.version(), baseline.layout()));
    counts.record(exchange, on, &Captures::default(), |key| minutes.admit(key)).is_ok()
}

/// What is stored, by version and minute, whichever part it is in.
fn stored(flush: &Flush) -> Vec<ProfilePart> {
    let whole =
        |part: &Arc<ProfilePart>| ProfilePart { part: 0, replica: String::new(), ..ProfilePart::clone(part) };
    let mut parts: Vec<ProfilePart> = flush.profiles.iter().map(whole).collect();
    parts.sort_by(|a, b| (&a.model_version, a.minute).cmp(&(&b.model_version, b.minute)));
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn one_thread_and_four_store_the_same_bytes(
        traffic in proptest::collection::vec((-50.0..400.0_f64, 0..3_i64, 0..4_usize, any::<bool>()), 1..120),
        odd in proptest::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), any::<f64>()], 0..8),
    ) {
        let baseline = reference();
        let odd = odd.into_iter().enumerate().map(|(i, value)| (value, 0, i % 4, false));
        let traffic: Vec<_> = traffic.into_iter().chain(odd).collect();
        let (mut alone, mut shared) = (Minutes::new("a".into()), Minutes::new("b".into()));
        let mut one = Counts::default();
        let mut four: [Counts; 4] = Default::default();
        for (number, (value, minute, thread, hands_over)) in (0..).zip(&traffic) {
            let exchange = exchange(number, *value, *minute);
            prop_assert!(record(&mut one, &mut alone, &exchange, &baseline));
            prop_assert!(record(&mut four[*thread], &mut shared, &exchange, &baseline));
            if *hands_over {
                shared.absorb(std::mem::take(&mut four[*thread]));
            }
        }
        alone.absorb(one);
        four.into_iter().rev().for_each(|counts| drop(shared.absorb(counts)));
        let (alone, shared) = (alone.flush(), shared.flush());
        prop_assert_eq!(alone.profiles.iter().map(|part| part.rows).sum::<u64>(), traffic.len() as u64);
        prop_assert_eq!(stored(&alone), stored(&shared));
    }
}

#[test]
fn minutes_of_threads_are_bounded_and_none_is_lost() {
    let baseline = reference();
    let mut minutes = Minutes::new("r".into());
    let mut threads: [Counts; 2] = Default::default();
    let mut kept = 0;
    for number in 0..u32::try_from(MAX_OPEN).unwrap() + 300 {
        let exchange = Exchange { model_version: None, ..exchange(number, 1.0, i64::from(number / 2) * 2) };
        kept += u64::from(record(&mut threads[number as usize % 2], &mut minutes, &exchange, &baseline));
    }
    // Two exchanges a minute: the bound is on minutes, and both threads count on those that are open.
    assert_eq!((minutes.open(), kept), (1174, 2348));
    for number in 10_000..12_000 {
        let exchange = Exchange { model_version: None, ..exchange(number, 1.0, i64::from(number)) };
        kept += u64::from(record(&mut threads[0], &mut minutes, &exchange, &baseline));
    }
    assert_eq!((minutes.open(), kept), (MAX_OPEN, 2348 + MAX_OPEN as u64 - 1174));
    for counts in threads {
        assert!(minutes.absorb(counts).is_empty(), "no row is kept, so none is left out");
    }
    assert_eq!(minutes.open(), MAX_OPEN);
    for _ in 0..2 {
        let flush = minutes.flush();
        assert_eq!(
            flush.profiles.iter().map(|part| part.rows).sum::<u64>(),
            kept,
            "again until it is written"
        );
    }
    let flush = minutes.flush();
    minutes.written(&flush);
    assert!(minutes.open() <= 3, "{}", minutes.open());
    assert!(minutes.flush().is_empty());
}

#[test]
fn a_minute_that_is_over_waits_encoded_and_a_late_row_opens_another_part() {
    let baseline = reference();
    let mut minutes = Minutes::new("r".into());
    let hand_over = |minutes: &mut Minutes, number: u32, minute: i64| {
        let mut counts = Counts::default();
        let exchange = Exchange { model_version: None, ..exchange(number, 1.0, minute) };
        assert!(record(&mut counts, minutes, &exchange, &baseline));
        minutes.absorb(counts);
    };
    hand_over(&mut minutes, 1, 0);
    hand_over(&mut minutes, 2, 9);
    minutes.flush();
    assert_eq!((minutes.over.len(), minutes.profiles.len()), (1, 1));
    hand_over(&mut minutes, 3, 0);
    let flush = minutes.flush();
    let parts: HashSet<(DateTime<Utc>, i32, u64)> =
        flush.profiles.iter().map(|part| (part.minute, part.part, part.rows)).collect();
    let minute_of = |at: i64| DateTime::from_timestamp(at * 60, 0).unwrap();
    assert_eq!(parts, [(minute_of(0), 1, 1), (minute_of(9), 2, 1), (minute_of(0), 3, 1)].into());
    hand_over(&mut minutes, 4, 9);
    minutes.written(&flush);
    let rows: Vec<u64> = minutes.flush().profiles.iter().map(|part| part.rows).collect();
    assert_eq!(rows, [2], "what came after the flush is still to be written");
}

#[test]
fn rows_that_there_is_no_room_for_are_told() {
    let mut minutes = Minutes::new("r".into());
    let captures = Captures { rows: true, key: None };
    let mut left_out = 0;
    for _ in 0..3 {
        let mut counts = Counts::default();
        for number in 0..9_000 {
            let exchange = exchange(number, 1.0, 0);
            left_out += counts.record(&exchange, None, &captures, |_| true).unwrap();
        }
        left_out += minutes.absorb(counts).values().sum::<usize>();
    }
    assert_eq!(left_out, 27_000 - MAX_CAPTURED);
    let flush = minutes.flush();
    assert_eq!(flush.captured[&model()].len(), MAX_CAPTURED);
    minutes.written(&flush);
    assert!(minutes.flush().is_empty());
}
