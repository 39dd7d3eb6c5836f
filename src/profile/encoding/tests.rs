//! Tests of the stored form: round trips, damage, size, and bytes that do not depend on the order.

use proptest::prelude::*;

use super::*;
use crate::model::{Batch, Column, FeatureKind, Role, Value};
use crate::profile::{Categories, ColumnLayout, ColumnProfile, Cut, Grid};
use crate::stats::Moments;

fn layout() -> Layout {
    let grid = Grid::cut(&(0..500).map(f64::from).collect::<Vec<_>>(), 20);
    let counts = [("a", 3), ("b", 1)].map(|(name, n)| (name.to_owned(), n)).into();
    let categories = Cut::Categories(Categories::choose(&counts, 10));
    let column = |name: &str, kind, cut, range| ColumnLayout {
        name: name.into(),
        role: Role::Feature,
        kind,
        cut,
        range,
    };
    Layout::new(vec![
        column("x", FeatureKind::Numeric, Cut::Grid(grid), Some((0.0, 499.0))),
        column("c", FeatureKind::Categorical, categories, None),
    ])
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        Just(Value::Opaque),
        any::<f64>().prop_map(Value::Number),
        (0.0..500.0).prop_map(Value::Number),
        "[abz]{0,2}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn profile_of(layout: &Layout, rows: &[(Value, Value)]) -> Profile {
    let (x, c): (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
    let features = vec![Column { name: "x".into(), values: x }, Column { name: "c".into(), values: c }];
    let mut profile = Profile::empty(layout);
    profile.record(layout, &Batch { rows: rows.len(), features, outputs: vec![] });
    profile
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(rows in prop::collection::vec((value(), value()), 0..200)) {
        let layout = layout();
        let profile = profile_of(&layout, &rows);
        prop_assert_eq!(decode(&layout, &encode(&profile)), Ok(profile));
    }

    #[test]
    fn rows_counted_together_are_rows_counted_singly(rows in prop::collection::vec((value(), value()), 0..700)) {
        let layout = layout();
        let together = profile_of(&layout, &rows);
        for (index, (layout, together)) in layout.columns().iter().zip(together.columns()).enumerate() {
            let mut singly = ColumnProfile::empty(layout);
            for row in &rows {
                singly.record(layout, if index == 0 { &row.0 } else { &row.1 });
            }
            prop_assert_eq!(&singly, together);
        }
    }

    #[test]
    fn no_value_vanishes(rows in prop::collection::vec((value(), value()), 0..200)) {
        for column in profile_of(&layout(), &rows).columns() {
            prop_assert_eq!(column.usable() + column.unusable(), rows.len() as u64);
        }
    }

    #[test]
    fn merging_parts_gives_the_bytes_of_the_whole(rows in prop::collection::vec((value(), value()), 1..200), cut in 0_usize..200) {
        let layout = layout();
        let (left, right) = rows.split_at(cut.min(rows.len()));
        let whole = profile_of(&layout, &rows);
        for (first, second) in [(left, right), (right, left)] {
            let mut merged = profile_of(&layout, first);
            merged.merge(&profile_of(&layout, second)).unwrap();
            prop_assert_eq!(encode(&merged), encode(&whole));
        }
    }

    #[test]
    fn damage_is_found(rows in prop::collection::vec((value(), value()), 0..50), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let layout = layout();
        let mut bytes = encode(&profile_of(&layout, &rows));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode(&layout, &bytes).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&layout(), &bytes).is_err());
    }
}

/// `rows` values spread evenly over a grid of `cells` cells, each cell drawn anew.
fn spread(cells: usize, rows: u64, seed: u64) -> (Layout, Profile) {
    let grid = Grid::cut(&(0..cells * 4).map(|i| i as f64 * 0.37 - 100.0).collect::<Vec<_>>(), cells);
    let layout = Layout::new(vec![ColumnLayout {
        name: "x".into(),
        role: Role::Feature,
        kind: FeatureKind::Numeric,
        cut: Cut::Grid(grid),
        range: Some((-100.0, cells as f64)),
    }]);
    let mut profile = Profile::empty(&layout);
    let mut state = seed;
    let mut values = Vec::new();
    for _ in 0..rows {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let unit = (crate::profile::hash::mix(state) >> 11) as f64 / (1_u64 << 53) as f64;
        values.push(unit * 4.0 * cells as f64 * 0.37 - 100.0);
    }
    profile.columns[0].record_numbers(&layout.columns()[0], &values);
    profile.rows = rows;
    (layout, profile)
}

#[test]
fn stored_parts_merge_alike_on_one_thread_and_on_many() {
    let (layout, whole) = spread(100, 500, 1);
    for n_parts in [0_u64, 1, 7, 40] {
        let profiles: Vec<Profile> = (0..n_parts).map(|seed| spread(100, 20 + seed, seed).1).collect();
        let parts: Vec<Vec<u8>> = profiles.iter().map(encode).collect();
        let mut expected = Profile::empty(&layout);
        for part in &profiles {
            expected.merge(part).unwrap();
        }
        assert_eq!(encode(&merge_stored(&layout, &parts).unwrap()), encode(&expected), "{n_parts} parts");
    }
    let mut parts = vec![encode(&whole); 40];
    parts[33][10] ^= 1;
    assert_eq!(merge_stored(&layout, &parts), Err(DecodeError::Checksum));
}

#[test]
fn a_minute_of_a_thousand_rows_takes_four_hundred_bytes_at_most() {
    for seed in 0..8 {
        let (layout, profile) = spread(1000, 1000, seed);
        let bytes = encode(&profile);
        assert!(bytes.len() <= 320, "{} bytes", bytes.len());
        assert_eq!(decode(&layout, &bytes), Ok(profile));
    }
}

#[test]
fn no_number_of_rows_takes_more_than_four_kilobytes() {
    let (_, mut profile) = spread(1000, 1, 7);
    let n_cells = profile.columns[0].cells.len();
    for (rows, ragged) in [(1e3, false), (1e6, false), (1e9, false), (1e9, true)] {
        for (cell, count) in profile.columns[0].cells.iter_mut().enumerate() {
            let draw = crate::profile::hash::mix(cell as u64 + 1) as f64 / u64::MAX as f64;
            // Ragged: an exponential draw, as far from even as counts without a pattern come.
            let factor = if ragged { -draw.max(1e-9).ln() } else { 0.5 + draw };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let drawn = (rows / n_cells as f64 * factor).round() as u64;
            *count = drawn;
        }
        let bytes = encode(&profile).len();
        assert!(bytes <= 4096, "{bytes} bytes for {rows} rows, ragged: {ragged}");
    }
}

#[test]
fn the_first_version_is_still_read() {
    // One column of 20 cells, two of them filled, a mean of 2.5: written by the first version.
    let layout = Layout::new(vec![layout().columns()[0].clone()]);
    let n_cells = layout.columns()[0].cut.cells();
    let mut body = b"DLP1".to_vec();
    body.extend([5, 1, 1, 0, 0, 0, 0, 0, 0, u8::try_from(n_cells).unwrap()]);
    body.extend([0, 3, 1, 1, u8::try_from(n_cells - 3).unwrap(), 0, 4]);
    for number in [2.5_f64, 5.0, 1.0, 4.0] {
        body.extend(number.to_le_bytes());
    }
    let digest = Sha256::digest(&body);
    body.extend(&digest[..4]);
    let profile = decode(&layout, &body).unwrap();
    let column = &profile.columns()[0];
    assert_eq!((profile.rows(), column.missing, column.cells[0], column.cells[2]), (5, 1, 3, 1));
    let Moments { .. } = &column.moments;
    assert_eq!((column.moments.count(), column.moments.mean(), column.moments.max()), (4, 2.5, 4.0));
    assert!((column.moments.variance().unwrap() - 5.0 / 3.0).abs() < 1e-12);
    assert_eq!(decode(&layout, &encode(&profile)), Ok(profile));
}
