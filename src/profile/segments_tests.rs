//! Segments: keys, places, and that their profiles sum to the profile of all rows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{Column, Role};
use crate::profile::{ColumnLayout, Cut, Grid, Layout, Profile};

fn column(values: &[&str]) -> SegmentedColumn {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    SegmentedColumn::new("region", FeatureKind::Categorical, &values)
}

#[test]
fn every_value_has_one_place() {
    let region = column(&["eu", "us", "3"]);
    for (value, key) in [
        (Some(Value::Text("eu".into())), "region=eu"),
        (Some(Value::Text("us".into())), "region=us"),
        (Some(Value::Text("asia".into())), "region=(other)"),
        (Some(Value::Text(String::new())), "region=(other)"),
        (Some(Value::Number(3.0)), "region=3"),
        (Some(Value::Number(f64::MIN_POSITIVE / 4.0)), "region=(other)"),
        (Some(Value::Number(f64::INFINITY)), "region=(other)"),
        (Some(Value::Bool(true)), "region=(other)"),
        (Some(Value::Number(f64::NAN)), "region=(missing)"),
        (Some(Value::Missing), "region=(missing)"),
        (Some(Value::Opaque), "region=(missing)"),
        (None, "region=(missing)"),
    ] {
        assert_eq!(&*region.keys()[region.place(value.as_ref())], key, "{value:?}");
    }
    let flag = SegmentedColumn::new("flag", FeatureKind::Boolean, &["true".into(), "false".into()]);
    for (value, key) in [
        (Value::Bool(false), "flag=false"),
        (Value::Number(1.0), "flag=true"),
        (Value::Number(2.0), "flag=(missing)"),
        (Value::Text("true".into()), "flag=(missing)"),
    ] {
        assert_eq!(&*flag.keys()[flag.place(Some(&value))], key, "{value:?}");
    }
}

#[test]
fn keys_are_bounded_and_told_apart() {
    let long = |end: &str| format!("{}{end}", "ä".repeat(200));
    let values =
        ["(other)", "(missing)", "a=b", "a\0b", "a\\u{0}b", &long("1"), &long("2")].map(str::to_owned);
    let tricky = SegmentedColumn::new(&format!("a=b{}", "x".repeat(500)), FeatureKind::Categorical, &values);
    let mut keys: Vec<&str> = tricky.keys().iter().map(|key| &**key).collect();
    assert!(keys.iter().all(|key| key.len() <= 2 * MAX_TEXT + 1), "{keys:?}");
    assert!(keys.iter().all(|key| !key.chars().any(char::is_control)), "{keys:?}");
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), values.len() + 2);
    assert_eq!(&*column(&["(other)"]).keys()[0], "region=\\(other)");
    let other = SegmentedColumn::new("a", FeatureKind::Categorical, &["b=c".to_owned()]);
    assert_eq!(&*other.keys()[0], "a=b=c");
    let equal = SegmentedColumn::new("a=b", FeatureKind::Categorical, &["c".to_owned()]);
    assert_eq!(&*equal.keys()[0], "a\\=b=c");
}

fn layout() -> Layout {
    let names = |names: &[&str]| {
        let counts: BTreeMap<String, u64> = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        Cut::Categories(Categories::choose(&counts, 10))
    };
    let column = |name: &str, role, kind, cut| ColumnLayout {
        name: name.into(),
        role,
        kind,
        cut,
        range: Some((0.0, 5.0)),
    };
    Layout::new(vec![
        column("x", Role::Feature, FeatureKind::Numeric, Cut::Grid(Grid::cut(&[0.0, 1.0, 2.5, 5.0], 4))),
        column("region", Role::Feature, FeatureKind::Categorical, names(&["eu", "us"])),
        column("y", Role::Output, FeatureKind::Numeric, Cut::Grid(Grid::cut(&[0.0, 1.0], 2))),
    ])
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        Just(Value::Opaque),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![-10.0..10.0, Just(f64::NAN), Just(f64::INFINITY), Just(1e308), Just(3.0)]
            .prop_map(Value::Number),
        prop_oneof!["eu", "us", "[a-c]", ".{0,4}"].prop_map(Value::Text),
    ]
}

/// Batches of up to 40 rows, some without a column, some without outputs.
fn batch() -> impl Strategy<Value = Batch> {
    (0_usize..40, any::<[bool; 3]>()).prop_flat_map(|(rows, has)| {
        prop::collection::vec(prop::collection::vec(value(), rows), 3).prop_map(move |values| {
            let named = |at: usize, name: &str| Column { name: name.into(), values: values[at].clone() };
            let columns = [(has[0], named(0, "x")), (has[1], named(1, "region"))];
            Batch {
                rows,
                features: columns.into_iter().filter(|(has, _)| *has).map(|(_, column)| column).collect(),
                outputs: if has[2] { vec![named(2, "y")] } else { Vec::new() },
            }
        })
    })
}

proptest! {
    #[test]
    fn segments_sum_to_all_rows(batches in prop::collection::vec(batch(), 0..6)) {
        let (layout, region) = (layout(), column(&["us", "3", "a"]));
        let mut whole = Profile::empty(&layout);
        let mut by_place = vec![Profile::empty(&layout); region.keys().len()];
        for batch in &batches {
            whole.record(&layout, batch);
            let split = region.split(batch);
            prop_assert_eq!(split.iter().map(|(_, rows)| rows.len()).sum::<usize>(), batch.rows);
            for (place, rows) in split {
                by_place[place].record_some(&layout, batch, &rows);
            }
        }
        let mut sum = Profile::empty(&layout);
        for profile in &by_place {
            sum.merge(profile).unwrap();
        }
        prop_assert_eq!(sum, whole);
    }
}
