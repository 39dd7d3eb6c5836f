//! Rows that occur twice: told, and taken out of what is trained on where they are held out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use driftline::model::Value;
use driftline::retrain::TrainingSpec;
use driftline::retrain::spec::Duplicates;

use super::{Raw, Split};
use crate::journal::Journal;

/// What identifies a row: its time, its values and its target.
fn identity(raw: &Raw, target: f64, row: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    raw.times.get(row).hash(&mut hasher);
    for column in &raw.columns {
        match &column.values[row] {
            Value::Missing => 0_u8.hash(&mut hasher),
            // NaN is NaN, and 0 is −0.
            Value::Number(number) => (1_u8, (number + 0.0).to_bits()).hash(&mut hasher),
            Value::Bool(truth) => (2_u8, truth).hash(&mut hasher),
            Value::Text(text) => (3_u8, text).hash(&mut hasher),
            Value::Opaque => 4_u8.hash(&mut hasher),
        }
    }
    target.to_bits().hash(&mut hasher);
    hasher.finish()
}

/// The rows that stay, and their parts.
pub(super) fn remove(
    spec: &TrainingSpec,
    raw: &Raw,
    targets: &[f64],
    split: &Split,
    journal: &Journal,
) -> (Vec<usize>, Split) {
    let mut seen: HashMap<u64, usize> = HashMap::with_capacity(targets.len());
    let mut parts: [Vec<usize>; 4] = Default::default();
    let (mut repeated, mut across) = (0, 0);
    // From the last part on, so that what is held out stays.
    for (part, rows) in split.parts().into_iter().enumerate().rev() {
        for row in rows {
            let stays = match seen.entry(identity(raw, targets[row], row)) {
                Entry::Vacant(place) => {
                    place.insert(part);
                    true
                }
                Entry::Occupied(first) => {
                    repeated += 1;
                    across += usize::from(*first.get() != part);
                    match spec.data.duplicates {
                        Duplicates::Keep => true,
                        Duplicates::Split => *first.get() == part,
                        Duplicates::Drop => false,
                    }
                }
            };
            if stays {
                parts[part].push(row);
            }
        }
    }
    if repeated > 0 {
        let what = match spec.data.duplicates {
            Duplicates::Keep => "they are kept",
            Duplicates::Split => "the latter are taken out of the earlier part",
            Duplicates::Drop => "they are left out",
        };
        journal.warn(format!(
            "{repeated} rows repeat another one with the same values and target, {across} of them one of a later part \
             of the split; {what}"
        ));
    }
    let sizes = [0, 1, 2, 3].map(|part| parts[part].len());
    (parts.concat(), Split::of(sizes))
}
