//! Tests of joint drift on a layout: what fits it, and its stored form.

use std::collections::BTreeSet;

use chrono::DateTime;
use proptest::prelude::*;

use super::super::{Categories, DecodeError, Grid, Layout, Others, Profile, SAMPLED_ROWS, decode, encode};
use super::*;
use crate::model::{Batch, Exchange, ModelName};
use crate::stats::joint::{CoMoments, DEFAULT_EXPLAINED};

fn columns() -> Vec<ColumnLayout> {
    let grid = || Cut::Grid(Grid::cut(&(0..400).map(|i| f64::from(i) / 8.0).collect::<Vec<_>>(), 30));
    let truths = Categories::new(vec!["false".into(), "true".into()], Others::Names(BTreeSet::new()));
    let column =
        |name: &str, role, kind, cut| ColumnLayout { name: name.into(), role, kind, cut, range: None };
    vec![
        column("x", Role::Feature, FeatureKind::Numeric, grid()),
        column("flag", Role::Feature, FeatureKind::Boolean, Cut::Categories(truths)),
        column("answer", Role::Output, FeatureKind::Numeric, grid()),
        column(PCA_ERROR, Role::Derived, FeatureKind::Numeric, grid()),
    ]
}

fn joint() -> Joint {
    let mut moments = CoMoments::new(2);
    for row in 0..40 {
        moments.add(&[f64::from(row), f64::from(row % 2)]).unwrap();
    }
    let pca = Pca::fit(&moments, DEFAULT_EXPLAINED).unwrap();
    Joint { pca, columns: vec!["x".into(), "flag".into()], rows: vec![vec![3, 1], vec![0, 4]] }
}

fn layout() -> Layout {
    Layout::new(columns()).with_joint(joint()).unwrap()
}

/// Rows of `x` and `flag`, each an exchange; the first of them is number `from`.
fn profile_of(layout: &Layout, rows: &[(Value, Value)], from: usize) -> Profile {
    let mut profile = Profile::empty(layout);
    for (index, (x, flag)) in rows.iter().enumerate() {
        let column = |name: &str, value: &Value| Column { name: name.into(), values: vec![value.clone()] };
        let features = vec![column("x", x), column("flag", flag)];
        let exchange = Exchange {
            id: (from + index).to_string(),
            model: ModelName::parse("m").unwrap(),
            model_version: None,
            event_time: DateTime::UNIX_EPOCH,
            batch: Batch { rows: 1, features, outputs: vec![] },
            other_ids: Vec::new(),
        };
        profile.record_exchange(layout, &exchange);
    }
    profile
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        any::<f64>().prop_map(Value::Number),
        (0.0..50.0).prop_map(Value::Number),
        (0..3_u8).prop_map(|number| Value::Number(f64::from(number))),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn rows() -> impl Strategy<Value = Vec<(Value, Value)>> {
    prop::collection::vec((value(), value()), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read_back(rows in rows()) {
        let layout = layout();
        let profile = profile_of(&layout, &rows, 0);
        prop_assert_eq!(profile.sample().len(), rows.len().min(SAMPLED_ROWS));
        prop_assert_eq!(decode(&layout, &encode(&profile)), Ok(profile));
    }

    #[test]
    fn parts_give_the_bytes_of_the_whole(rows in rows(), cut in 0_usize..200) {
        let layout = layout();
        let cut = cut.min(rows.len());
        let whole = profile_of(&layout, &rows, 0);
        let parts = [profile_of(&layout, &rows[..cut], 0), profile_of(&layout, &rows[cut..], cut)];
        for [first, second] in [[&parts[0], &parts[1]], [&parts[1], &parts[0]]] {
            let mut merged = first.clone();
            merged.merge(second).unwrap();
            prop_assert_eq!(encode(&merged), encode(&whole));
        }
    }

    #[test]
    fn every_row_is_counted_once_whatever_its_values(rows in rows()) {
        let profile = profile_of(&layout(), &rows, 0);
        for column in &profile.columns()[..2] {
            prop_assert_eq!(column.usable() + column.unusable(), rows.len() as u64);
        }
        let errors = &profile.columns()[3];
        prop_assert_eq!(errors.usable() + errors.missing, rows.len() as u64);
        prop_assert_eq!(errors.moments.count(), errors.usable(), "errors are finite");
    }
}

#[test]
fn the_cells_of_a_sample_are_those_that_were_counted() {
    let layout = layout();
    for (x, flag) in [(0.3, false), (44.0, true), (-9.0, true)] {
        let profile = profile_of(&layout, &[(Value::Number(x), Value::Bool(flag))], 0);
        let counted: Vec<usize> = profile.columns()[..2]
            .iter()
            .map(|column| column.cells.iter().position(|&count| count == 1).unwrap())
            .collect();
        let sampled: Vec<usize> = profile
            .sample()
            .rows()
            .flat_map(|(_, cells)| cells.iter().map(|&cell| usize::from(cell)))
            .collect();
        assert_eq!(sampled, counted, "{x} {flag}");
    }
}

#[test]
fn a_sample_is_only_read_on_the_layout_it_was_made_on() {
    let layout = layout();
    let bytes = encode(&profile_of(&layout, &[(Value::Number(45.0), Value::Bool(true))], 0));
    assert!(decode(&layout, &bytes).is_ok());
    assert_eq!(decode(&Layout::new(columns()), &bytes), Err(DecodeError::Layout));
    let unsampled = Layout::new(columns()).with_joint(Joint { rows: vec![], ..joint() }).unwrap();
    assert_eq!(decode(&unsampled, &bytes), Err(DecodeError::Layout));
    assert!(profile_of(&unsampled, &[(Value::Number(1.0), Value::Bool(true))], 0).sample().is_empty());
    // The truth value has four cells: its fifth number says that there is none, a sixth is nothing.
    let sampled = |flag: u16| {
        let mut profile = Profile::empty(&layout);
        profile.sample.insert(7, [0, flag].into());
        decode(&layout, &encode(&profile))
    };
    assert!(sampled(4).is_ok());
    assert_eq!(sampled(5), Err(DecodeError::Layout));
}

#[test]
fn a_sampled_value_takes_about_its_information() {
    let layout = layout();
    let rows: Vec<(Value, Value)> = (0..1000_u32)
        .map(|i| (Value::Number(f64::from(i * 37 % 400) / 8.0), Value::Bool(i % 3 == 0)))
        .collect();
    let profile = profile_of(&layout, &rows, 0);
    let mut without = profile.clone();
    without.sample = RowSample::default();
    let per_row = (encode(&profile).len() - encode(&without).len()) as f64 * 8.0 / SAMPLED_ROWS as f64;
    // 54 bits between hashes, 5 for one of 31 cells, 0.9 for a third of truths.
    assert!((54.0..66.0).contains(&per_row), "{per_row} bits");
}

#[test]
fn samples_of_other_columns_are_not_merged() {
    let layout = layout();
    let (mut wide, mut narrow) = (Profile::empty(&layout), Profile::empty(&layout));
    wide.sample.insert(1, [0, 1].into());
    narrow.sample.insert(2, [0].into());
    assert!(wide.merge(&narrow).is_err());
}

#[test]
fn what_does_not_fit_the_columns_is_refused() {
    let misfits: [(&str, Joint); 5] = [
        ("an unknown column", Joint { columns: vec!["x".into(), "y".into()], ..joint() }),
        ("an output", Joint { columns: vec!["x".into(), "answer".into()], ..joint() }),
        ("a column too few", Joint { columns: vec!["x".into()], ..joint() }),
        ("a cell too high", Joint { rows: vec![vec![0, 5]], ..joint() }),
        ("a short row", Joint { rows: vec![vec![0]], ..joint() }),
    ];
    for (what, joint) in misfits {
        assert!(Layout::new(columns()).with_joint(joint).is_err(), "{what}");
    }
    assert!(Layout::new(columns()[..3].to_vec()).with_joint(joint()).is_err(), "no derived column");
}

#[test]
fn a_row_that_fits_exactly_has_no_error() {
    let mut moments = CoMoments::new(2);
    for row in 0..100 {
        moments.add(&[f64::from(row) / 7.0, f64::from(row) * 3.1 + 9.0]).unwrap();
    }
    let pca = Pca::fit(&moments, DEFAULT_EXPLAINED).unwrap();
    let joint = Joint { pca, columns: vec!["x".into(), "y".into()], rows: vec![] };
    let mut scratch = Vec::new();
    for row in 0..100 {
        let row = [f64::from(row) / 3.0, f64::from(row) / 3.0 * 7.0 * 3.1 + 9.0];
        assert_eq!(joint.error(&row, &mut scratch), Some(0.0));
    }
    assert!(joint.error(&[1.0, 0.0], &mut scratch).unwrap() > 0.1);
    assert_eq!(joint.error(&[f64::NAN, f64::NAN], &mut scratch), None);
}
