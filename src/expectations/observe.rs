//! What a window's profile shows, as far as expectations look at it.

use chrono::{DateTime, Utc};

use super::{Observed, ObservedColumn};
use crate::profile::{ColumnLayout, ColumnProfile, Layout, Profile};

impl Observed {
    /// Reads a window off the merged profile of its parts, which was made on `layout`.
    ///
    /// # Arguments
    ///
    /// * `window`: first instant of the window, and its end, exclusive.
    pub fn of(layout: &Layout, profile: &Profile, window: (DateTime<Utc>, DateTime<Utc>)) -> Self {
        Self {
            window_start: window.0,
            window_end: window.1,
            rows: profile.rows(),
            latest: profile.latest(),
            counted_with: profile.counted_with(),
            columns: layout.columns().iter().zip(profile.columns()).map(column).collect(),
        }
    }
}

fn column((layout, counts): (&ColumnLayout, &ColumnProfile)) -> ObservedColumn {
    ObservedColumn {
        name: layout.name.clone(),
        role: layout.role,
        kind: layout.kind,
        usable: counts.usable(),
        missing: counts.missing,
        nan: counts.nan,
        wrong_type: counts.wrong_type,
        pos_inf: counts.pos_inf,
        neg_inf: counts.neg_inf,
        distinct: counts.distinct_values(layout),
        checks: counts.checks,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::baseline::{self, BuildOptions, CutOptions, SourceColumn};
    use crate::expectations::CheckKind::{Allowed, Freshness, Max, Min, Unique};
    use crate::expectations::CheckVerdict::{Ok, Unknown, Violated};
    use crate::expectations::{CheckKind, CheckVerdict, Expectations, evaluate};
    use crate::model::{Batch, Column, ModelName, Role, Value};
    use crate::profile::{CountedWith, decode, encode};

    const DOCUMENT: &str =
        "freshness: 10m\ncolumns:\n  x: {min: 0, max: 99, unique: {min: 0.9}}\n  c: {allowed: [a, b]}\n";

    fn layout() -> Layout {
        let x: Vec<Value> = (0..500).map(|i| Value::Number(f64::from(i % 100))).collect();
        let c: Vec<Value> = (0..500).map(|i| Value::Text(["a", "b", "z"][i % 3].into())).collect();
        let columns = [("x", &x), ("c", &c)].map(|(name, values)| SourceColumn {
            name,
            role: Role::Feature,
            kind: None,
            values,
        });
        let model = ModelName::parse("m").unwrap();
        let options = BuildOptions { model, source: "test".into(), cut: CutOptions::default(), joint: false };
        baseline::build(&columns, None, options).unwrap().layout().clone()
    }

    fn batch(x: &[f64], c: &str) -> Batch {
        let values = x.iter().map(|&number| Value::Number(number)).collect();
        let texts = vec![Value::Text(c.into()); x.len()];
        let features = vec![Column { name: "x".into(), values }, Column { name: "c".into(), values: texts }];
        Batch { rows: x.len(), features, outputs: Vec::new() }
    }

    fn verdicts(
        expectations: &Expectations,
        layout: &Layout,
        profile: &Profile,
    ) -> Vec<(CheckKind, CheckVerdict)> {
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let observed = Observed::of(layout, profile, (start, start + TimeDelta::hours(1)));
        evaluate(expectations, &observed).into_iter().map(|result| (result.check, result.verdict)).collect()
    }

    #[test]
    fn what_is_counted_is_stored_merged_and_judged() {
        let expectations = Expectations::parse("e.yaml", DOCUMENT).unwrap();
        let plain = layout();
        let compiled = expectations.compile(&plain);
        let checked = plain.clone().with_checks(compiled.version, compiled.columns);
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let record = |layout: &Layout, x: &[f64], c: &str, minute: i64| {
            let mut profile = Profile::empty(layout);
            profile.record(layout, &batch(x, c));
            profile.seen_at(start + TimeDelta::minutes(minute));
            let stored = decode(&plain, &encode(&profile)).unwrap();
            assert_eq!(stored, profile);
            stored
        };
        let good = record(&checked, &[1.0, 2.0, 3.0], "a", 55);
        assert_eq!(good.counted_with(), CountedWith::Version(expectations.counting_version()));
        let all_ok = [(Freshness, Ok), (Min, Ok), (Max, Ok), (Unique, Ok), (Allowed, Ok)];
        assert_eq!(verdicts(&expectations, &plain, &good), all_ok);

        let mut merged = good.clone();
        merged.merge(&record(&checked, &[-1.0, 100.0, 100.0, 100.0], "z", 10)).unwrap();
        let counts: Vec<[u64; 5]> = merged.columns().iter().map(|column| column.checks.to_array()).collect();
        assert_eq!(counts, [[1, 3, 0, 0, 0], [0, 0, 4, 0, 0]]);
        let broken =
            [(Freshness, Ok), (Min, Violated), (Max, Violated), (Unique, Violated), (Allowed, Violated)];
        assert_eq!(verdicts(&expectations, &plain, &merged), broken);

        // Rows that were counted without checks say nothing about them.
        let mut mixed = good;
        mixed.merge(&record(&plain, &[-1.0], "z", 56)).unwrap();
        assert_eq!(mixed.counted_with(), CountedWith::Mixed);
        let unknown =
            [(Freshness, Ok), (Min, Unknown), (Max, Unknown), (Unique, Unknown), (Allowed, Unknown)];
        assert_eq!(verdicts(&expectations, &plain, &mixed), unknown);
    }

    #[test]
    fn distinct_numbers_are_counted_only_where_asked_for() {
        let plain = layout();
        let numbers: Vec<f64> = (0..3000).map(|i| f64::from(i % 1500) / 7.0 - 10.0).collect();
        for (document, expected) in
            [("columns: {x: {unique: {min: 0.1}}}", Some(1500.0)), ("columns: {x: {min: 0}}", None)]
        {
            let compiled = Expectations::parse("e.yaml", document).unwrap().compile(&plain);
            let checked = plain.clone().with_checks(compiled.version, compiled.columns);
            let mut profile = Profile::empty(&checked);
            profile.record(&checked, &batch(&numbers, "a"));
            let found = profile.columns()[0].distinct_values(&plain.columns()[0]);
            match (found, expected) {
                (Some(found), Some(expected)) => assert!((found / expected - 1.0).abs() < 0.05, "{found}"),
                (found, expected) => assert_eq!(found, expected, "{document}"),
            }
        }
    }
}
