//! Segments beside minutes: what is written of them, and when no more are begun.

use super::*;
use crate::model::{Column, FeatureKind, Role, Value};
use crate::profile::{ColumnLayout, Cut, Grid, SegmentedColumn, merge_stored};

fn layout() -> Layout {
    let cut = Cut::Grid(Grid::cut(&[0.0, 1.0, 2.0], 3));
    let x =
        ColumnLayout { name: "x".into(), role: Role::Feature, kind: FeatureKind::Numeric, cut, range: None };
    let region = SegmentedColumn::new("region", FeatureKind::Categorical, &["eu".into(), "us".into()]);
    let flag = SegmentedColumn::new("flag", FeatureKind::Boolean, &["false".into(), "true".into()]);
    Layout::new(vec![x]).with_segments(vec![region, flag])
}

fn exchange(minute: i64, regions: &[&str]) -> Exchange {
    let values = |value: fn(usize) -> Value| (0..regions.len()).map(value).collect();
    let region = regions.iter().map(|region| Value::Text((*region).into())).collect();
    let features = vec![
        Column { name: "x".into(), values: values(|row| Value::Number(row as f64)) },
        Column { name: "region".into(), values: region },
        Column { name: "flag".into(), values: values(|row| Value::Bool(row % 2 == 0)) },
    ];
    Exchange {
        id: "p".into(),
        model: ModelName::parse("m").unwrap(),
        model_version: None,
        event_time: DateTime::UNIX_EPOCH + TimeDelta::minutes(minute),
        batch: Batch { rows: regions.len(), features, outputs: vec![] },
        other_ids: vec![],
    }
}

fn record(minutes: &mut Minutes, layout: &Layout, exchange: &Exchange) {
    minutes.record(exchange, Some(("b", layout)), &Captures::default()).unwrap();
}

fn rows(flush: &Flush) -> BTreeMap<&str, u64> {
    flush.profiles.iter().map(|part| (part.segment.as_str(), part.rows)).collect()
}

#[test]
fn only_segments_that_got_rows_are_written() {
    let layout = layout();
    let mut minutes = Minutes::new("a".into());
    record(&mut minutes, &layout, &exchange(0, &["eu", "eu", "asia"]));
    let flush = minutes.flush();
    let expected =
        [("", 3), ("region=eu", 2), ("region=(other)", 1), ("flag=true", 2), ("flag=false", 1)].into();
    assert_eq!(rows(&flush), expected);
    assert_eq!(minutes.open(), 1, "segments are parts of a minute");
    // What was counted since the flush is written again, and nothing else.
    record(&mut minutes, &layout, &exchange(0, &["us"]));
    minutes.written(&flush);
    assert_eq!(rows(&minutes.flush()), [("", 4), ("region=us", 1), ("flag=true", 3)].into());
    let again = minutes.flush();
    minutes.written(&again);
    assert!(minutes.flush().is_empty());
    // Parts of segments sum to the part of all rows.
    let part = |segment: &str| {
        let all = [&flush, &minutes.clone().flush()].map(|flush| flush.profiles.clone()).concat();
        all.into_iter().find(|part| part.segment == segment).unwrap().content.clone()
    };
    let by_flag = merge_stored(&layout, &[part("flag=true"), part("flag=false")]).unwrap();
    assert_eq!(by_flag, merge_stored(&layout, &[part("")]).unwrap());
}

#[test]
fn a_minute_that_is_over_takes_its_segments_along() {
    let layout = layout();
    let mut minutes = Minutes::new("a".into());
    record(&mut minutes, &layout, &exchange(0, &["eu"]));
    let first = minutes.segment_cells;
    assert_eq!(first, 2 * layout.columns()[0].cut.cells());
    record(&mut minutes, &layout, &exchange(9, &["eu"]));
    assert_eq!(minutes.segment_cells, 2 * first);
    let flush = minutes.flush();
    minutes.written(&flush);
    assert_eq!((minutes.open(), minutes.segment_cells), (1, first));
    minutes.close();
    assert_eq!(minutes.segment_cells, 0);
}

#[test]
fn without_room_rows_are_counted_among_all_rows_only() {
    let layout = layout();
    let mut minutes = Minutes::new("a".into());
    record(&mut minutes, &layout, &exchange(0, &["eu"]));
    minutes.segment_cells = MAX_SEGMENT_CELLS;
    record(&mut minutes, &layout, &exchange(0, &["eu", "us"]));
    let flush = minutes.flush();
    assert_eq!(rows(&flush), [("", 3), ("region=eu", 2), ("flag=true", 2)].into());
    minutes.written(&flush);
    record(&mut minutes, &layout, &exchange(0, &["us"]));
    assert!(rows(&minutes.flush()).contains_key("region=us"), "there is room again once it was counted");
}

#[test]
fn replicas_and_copies_count_alike() {
    let layout = layout();
    let [mut one, mut other] = ["a", "b"].map(|replica| Minutes::new(replica.to_owned()));
    let exchanges = [exchange(0, &["eu", "us", "moon"]), exchange(0, &["us"])];
    for exchange in &exchanges {
        record(&mut one, &layout, exchange);
    }
    let copy = one.clone();
    for exchange in exchanges.iter().rev() {
        record(&mut other, &layout, exchange);
        record(&mut one, &layout, exchange);
    }
    let contents = |minutes: &Minutes| {
        let parts = minutes.clone().flush().profiles;
        parts.iter().map(|part| (part.segment.clone(), part.content.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(contents(&copy), contents(&other));
    assert_ne!(contents(&one), contents(&other));
}

#[test]
fn what_threads_count_by_segment_is_what_one_counts() {
    let layout = layout();
    let exchanges = [exchange(0, &["eu", "us", "moon"]), exchange(0, &["us"]), exchange(1, &["eu"])];
    let mut one = Minutes::new("a".into());
    for exchange in &exchanges {
        record(&mut one, &layout, exchange);
    }
    let mut several = Minutes::new("a".into());
    for exchange in &exchanges {
        let mut counts = Counts::default();
        counts.record(exchange, Some(("b", &layout)), &Captures::default(), |_| true).unwrap();
        several.absorb(counts);
    }
    let contents = |minutes: &mut Minutes| {
        let parts = minutes.flush().profiles;
        let place = |part: &ProfilePart| (part.minute, part.segment.clone());
        parts.iter().map(|part| (place(part), part.content.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(contents(&mut several), contents(&mut one));
    assert!(one.segment_cells > 0 && several.segment_cells == one.segment_cells);
}
