//! The kind of a column, read from its values.

use crate::model::{FeatureKind, Value};

/// What a column holds, or `None` when every value is missing or no kind fits (arrays, objects).
///
/// Text anywhere makes a column categorical; truth values alone make it boolean; numbers make it numeric.
pub fn infer_kind(values: &[Value]) -> Option<FeatureKind> {
    let (mut numbers, mut truths, mut texts) = (0_usize, 0_usize, 0_usize);
    for value in values {
        match value {
            Value::Number(_) => numbers += 1,
            Value::Bool(_) => truths += 1,
            Value::Text(_) => texts += 1,
            Value::Missing | Value::Opaque => {}
        }
    }
    match (numbers, truths, texts) {
        (0, 0, 0) => None,
        (_, _, 1..) => Some(FeatureKind::Categorical),
        (0, _, 0) => Some(FeatureKind::Boolean),
        _ => Some(FeatureKind::Numeric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_values() {
        let number = Value::Number(1.0);
        let text = Value::Text("a".into());
        for (values, kind) in [
            (vec![], None),
            (vec![Value::Missing, Value::Opaque], None),
            (vec![number.clone(), Value::Missing], Some(FeatureKind::Numeric)),
            (vec![Value::Bool(true)], Some(FeatureKind::Boolean)),
            (vec![number, text], Some(FeatureKind::Categorical)),
        ] {
            assert_eq!(infer_kind(&values), kind, "{values:?}");
        }
    }
}
