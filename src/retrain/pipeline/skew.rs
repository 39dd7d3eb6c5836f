//! What a stored pipeline cannot use of the values that a model is asked with.

use serde::Serialize;

use super::Pipeline;
use super::step::{Step, level, number};
use crate::model::{Column, Value};

/// What could not be used of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// The feature.
    pub feature: String,
    /// Rows.
    pub rows: usize,
    /// Rows without a value.
    pub missing: usize,
    /// Values of another kind than the feature's.
    pub wrong_kind: usize,
    /// Levels that were not seen in training, or too seldom.
    pub unseen: usize,
}

impl Unused {
    /// Share of the rows, in `[0, 1]`.
    pub fn share(&self) -> f64 {
        (self.missing + self.wrong_kind + self.unseen) as f64 / self.rows.max(1) as f64
    }

    /// `feature `x`: 12.0 % missing, 3.0 % of another kind`.
    pub fn sentence(&self) -> String {
        let percent = |part: usize| 100.0 * part as f64 / self.rows.max(1) as f64;
        let parts = [
            (self.missing, "missing"),
            (self.wrong_kind, "of another kind"),
            (self.unseen, "unseen in training"),
        ];
        let said: Vec<String> = parts
            .into_iter()
            .filter(|(part, _)| *part > 0)
            .map(|(part, what)| format!("{:.1} % {what}", percent(part)))
            .collect();
        format!("feature `{}`: {}", self.feature, said.join(", "))
    }
}

impl Pipeline {
    /// What the pipeline cannot use of `rows` rows, by feature; features of which all is used are left out.
    pub fn unused(&self, rows: usize, columns: &[Column]) -> Vec<Unused> {
        let mut all = Vec::new();
        for step in &self.steps {
            let Some(kind) = step.kind() else { continue };
            let values = columns
                .iter()
                .find(|column| column.name == step.name())
                .map_or(&[][..], |column| &column.values[..]);
            let mut unused =
                Unused { feature: step.name().to_owned(), rows, missing: 0, wrong_kind: 0, unseen: 0 };
            for row in 0..rows {
                let value = values.get(row).unwrap_or(&Value::Missing);
                let of_levels = |known: &dyn Fn(&str) -> bool| level(value, kind).map(|level| known(&level));
                let used = match step {
                    Step::OneHot { levels, .. } => {
                        of_levels(&|level| levels.iter().any(|known| known == level))
                    }
                    Step::Embedded { levels, .. } => {
                        of_levels(&|level| levels.binary_search_by(|known| known.as_str().cmp(level)).is_ok())
                    }
                    _ => number(value).map(|_| true),
                };
                match (used, value) {
                    (Some(true), _) => {}
                    (Some(false), _) => unused.unseen += 1,
                    (None, Value::Missing) => unused.missing += 1,
                    (None, _) => unused.wrong_kind += 1,
                }
            }
            if unused.share() > 0.0 {
                all.push(unused);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FeatureKind;

    #[test]
    fn what_cannot_be_used_is_counted_by_reason() {
        let kind = FeatureKind::Categorical;
        let pipeline = Pipeline {
            steps: vec![
                Step::standard("x", 0.0, 1.0),
                Step::OneHot { name: "c".into(), kind, levels: vec!["a".into()] },
                Step::Embedded { name: "e".into(), levels: vec!["a".into(), "b".into()], common: vec![] },
                Step::standard("fine", 0.0, 1.0),
            ],
        };
        let text = |text: &str| Value::Text(text.into());
        let column = |name: &str, values: &[Value]| Column { name: name.into(), values: values.to_vec() };
        let columns = [
            column("x", &[Value::Number(1.0), text("1"), Value::Missing, Value::Number(f64::NAN)]),
            column("c", &[text("a"), text("b"), Value::Opaque, Value::Missing]),
            column("e", &[text("a"), text("b"), text("c")]),
            column("fine", &vec![Value::Number(0.0); 4]),
        ];
        let unused = pipeline.unused(4, &columns);
        let counts: Vec<_> = unused.iter().map(|of| (of.missing, of.wrong_kind, of.unseen)).collect();
        assert_eq!(counts, [(1, 2, 0), (1, 1, 1), (1, 0, 1)]);
        assert_eq!(unused[0].sentence(), "feature `x`: 25.0 % missing, 50.0 % of another kind");
        assert!((unused[1].share() - 0.75).abs() < 1e-12);
    }
}
