//! Every stored format that was ever written is still read, and what is written has not changed without a new version.

use crate::baseline::Baseline;
use crate::model::{Batch, Column, Role, Value};
use crate::profile::{Cut, Layout, Profile, decode, encode};

const PROFILE_1: &[u8] = include_bytes!("../../../tests/compat/profile-1.bin");
const PROFILE_2: &[u8] = include_bytes!("../../../tests/compat/profile-2.bin");
const BASELINE_1: &str = include_str!("../../../tests/compat/baseline-1.json");
const BASELINE_2: &str = include_str!("../../../tests/compat/baseline-2.json");
const BASELINE_3: &str = include_str!("../../../tests/compat/baseline-3.json");

/// The 300 rows that the samples of a profile hold.
fn rows(layout: &Layout) -> Profile {
    let columns = layout.columns().iter().enumerate().map(|(at, column)| {
        let value = |row: usize| match &column.cut {
            _ if row % 50 == at => Value::Missing,
            Cut::Grid(_) => Value::Number(((row * 37 + at * 11) % 101) as f64 / 97.0),
            Cut::Categories(_) => Value::Text(["1", "2", "UP", "zzz"][row % 4].into()),
        };
        (column.role, Column { name: column.name.as_str().into(), values: (0..300).map(value).collect() })
    });
    let (features, outputs): (Vec<_>, Vec<_>) = columns.partition(|(role, _)| *role == Role::Feature);
    let strip = |columns: Vec<(Role, Column)>| columns.into_iter().map(|(_, column)| column).collect();
    let mut profile = Profile::empty(layout);
    profile.record(layout, &Batch { rows: 300, features: strip(features), outputs: strip(outputs) });
    profile
}

#[test]
fn baselines_of_every_format_are_read_under_their_name() {
    let known = [(BASELINE_1, "ce36c4152a7f"), (BASELINE_2, "64525a6ffa58"), (BASELINE_3, "9c57dee30d3d")];
    for (text, version) in known {
        let baseline = Baseline::from_json(text.trim_end()).unwrap();
        assert_eq!(baseline.version(), version);
        assert_eq!(baseline.to_json().unwrap(), text.trim_end(), "{version} is given back as it was");
        assert!(baseline.columns().iter().all(|column| column.profile.usable() > 0));
    }
    let segmented = Baseline::from_json(BASELINE_3.trim_end()).unwrap();
    let [by] = segmented.segmented_by() else { panic!("{} columns", segmented.segmented_by().len()) };
    let rows: Vec<u64> = by.segments().iter().map(|segment| segment.rows).collect();
    assert_eq!((by.places().values().len(), rows), (2, vec![187, 107, 87, 99]));
    let torn = BASELINE_3.replacen("\"rows\":187,", "\"rows\":0,", 1);
    assert!(Baseline::from_json(&torn).unwrap_err().to_string().contains("columns of a segment, expected 0"));
    let changed = BASELINE_1.replacen("\"rows\":12864", "\"rows\":12865", 1);
    assert!(Baseline::from_json(&changed).unwrap_err().to_string().contains("changed after"));
}

#[test]
fn profiles_of_every_format_are_read() {
    let baseline = Baseline::from_json(BASELINE_1.trim_end()).unwrap();
    let layout = baseline.layout();
    let [first, second] = [PROFILE_1, PROFILE_2].map(|bytes| decode(layout, bytes).unwrap());
    assert_eq!(second, rows(layout));
    for (first, second) in first.columns().iter().zip(second.columns()) {
        assert_eq!((&first.cells, first.missing), (&second.cells, second.missing));
        // The first format stored rounded moments.
        assert!((first.moments.mean() - second.moments.mean()).abs() < 1e-12);
        let [a, b] = [first, second].map(|column| column.moments.variance().unwrap());
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn what_is_written_has_not_changed() {
    let baseline = Baseline::from_json(BASELINE_1.trim_end()).unwrap();
    assert_eq!(encode(&rows(baseline.layout())), PROFILE_2, "a change of the format needs a new version");
}
