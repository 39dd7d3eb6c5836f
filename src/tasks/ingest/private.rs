//! Privacy for one side of an exchange, before it may wait for the other: under every name that its values may get.

use std::borrow::Cow;

use crate::decode::Part;
use crate::model::{Column, Value};
use crate::privacy::Policy;

/// Changes the columns of `parts` into what may be kept of them.
pub(super) fn parts(policy: &Policy, parts: &mut [Part]) {
    if policy.is_empty() {
        return;
    }
    for part in parts {
        let names = part.runs.as_ref().map(|runs| runs.names.clone()).unwrap_or_default();
        if let [column] = part.columns.as_mut_slice()
            && !names.is_empty()
            && names.len() == column.values.len()
            && !policy.drops(&column.name)
            && !policy.hashes(&column.name)
        {
            // The values may become a row with a column each.
            for (name, value) in names.iter().zip(&mut column.values) {
                let mut alone = vec![Column {
                    name: name.clone(),
                    values: vec![std::mem::replace(value, Value::Missing)],
                }];
                policy.apply_to_columns(&mut alone);
                if let Some(kept) = alone.pop().and_then(|mut column| column.values.pop()) {
                    *value = kept;
                }
            }
            if let Cow::Owned(name) = policy.text(&column.name) {
                column.name = name.into();
            }
        } else {
            policy.apply_to_columns(&mut part.columns);
        }
    }
}

/// Changes a version into what may be kept of it.
pub(super) fn version(policy: &Policy, version: &mut Option<String>) {
    if let Some(text) = version
        && let Cow::Owned(kept) = policy.text(text)
    {
        *version = Some(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Runs;
    use crate::privacy::{MaskRule, Rules};

    #[test]
    fn values_are_private_under_every_name_that_they_may_get() {
        let rules = Rules {
            drop: vec!["age".to_owned(), "secret".to_owned()],
            mask: vec![MaskRule::built_in("email")],
            ..Rules::default()
        };
        let policy = Policy::new(&rules, None, b"of this test").unwrap();
        let mail = || Value::Text("a@mail.example".to_owned());
        let part = |name: &str, names: &[&str]| Part {
            rows: 2,
            columns: vec![Column { name: name.into(), values: vec![mail(), Value::Number(7.0)] }],
            runs: Some(Runs {
                lengths: vec![2],
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                preferred: false,
            }),
        };
        let mut sides =
            vec![part("input-0", &["mail", "age"]), part("secret", &["mail", "age"]), part("x", &[])];
        parts(&policy, &mut sides);
        let masked = Value::Text("[email]".to_owned());
        assert_eq!(sides[0].columns[0].values, [masked.clone(), Value::Missing]);
        assert!(sides[1].columns.is_empty());
        assert_eq!(sides[2].columns[0].values, [masked, Value::Number(7.0)]);
    }
}
