//! The stored form of a profile: a version tag, variable-length integers, runs of empty cells, a checksum.

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{ColumnProfile, Layout, Profile};
use crate::stats::Moments;

const TAG: &[u8; 4] = b"DLP1";
const CHECKSUM_BYTES: usize = 4;

/// Bytes that are not a profile of this layout.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Another format, or a version this build does not know.
    #[error("not a profile, or of a version this build does not know")]
    UnknownFormat,
    /// The checksum does not fit.
    #[error("the profile is damaged: its checksum does not fit")]
    Checksum,
    /// The counts do not fit the layout.
    #[error("the profile does not fit the baseline's columns")]
    Layout,
}

/// The stored form of `profile`.
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + profile.columns.len() * 128);
    out.extend_from_slice(TAG);
    put(&mut out, profile.rows);
    put(&mut out, profile.columns.len() as u64);
    for column in &profile.columns {
        for count in [
            column.missing,
            column.nan,
            column.wrong_type,
            column.pos_inf,
            column.neg_inf,
            column.below_min,
            column.above_max,
        ] {
            put(&mut out, count);
        }
        put(&mut out, column.cells.len() as u64);
        let mut empty = 0_u64;
        for &count in &column.cells {
            if count == 0 {
                empty += 1;
            } else {
                put(&mut out, empty);
                put(&mut out, count);
                empty = 0;
            }
        }
        // A run that reaches the end, followed by the impossible count 0, closes the column.
        put(&mut out, empty);
        put(&mut out, 0);
        put(&mut out, column.moments.count);
        if column.moments.count > 0 {
            for part in [column.moments.mean, column.moments.m2, column.moments.min, column.moments.max] {
                out.extend_from_slice(&part.to_le_bytes());
            }
        }
    }
    let digest = Sha256::digest(&out);
    out.extend_from_slice(&digest[..CHECKSUM_BYTES]);
    out
}

/// Reads back what [`encode`] wrote for a profile on `layout`.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not such a profile; arbitrary bytes never panic nor allocate beyond the
/// layout's size.
pub fn decode(layout: &Layout, bytes: &[u8]) -> Result<Profile, DecodeError> {
    let body_length = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeError::UnknownFormat)?;
    let (body, checksum) = bytes.split_at(body_length);
    let mut reader = Reader(body.strip_prefix(TAG).ok_or(DecodeError::UnknownFormat)?);
    if Sha256::digest(body)[..CHECKSUM_BYTES] != *checksum {
        return Err(DecodeError::Checksum);
    }
    let rows = reader.integer()?;
    if reader.integer()? != layout.columns().len() as u64 {
        return Err(DecodeError::Layout);
    }
    let mut columns = Vec::with_capacity(layout.columns().len());
    for expected in layout.columns() {
        columns.push(column(&mut reader, expected.cut.cells())?);
    }
    if reader.0.is_empty() { Ok(Profile { rows, columns }) } else { Err(DecodeError::Layout) }
}

fn column(reader: &mut Reader<'_>, n_cells: usize) -> Result<ColumnProfile, DecodeError> {
    let mut counters = [0; 7];
    for counter in &mut counters {
        *counter = reader.integer()?;
    }
    let [missing, nan, wrong_type, pos_inf, neg_inf, below_min, above_max] = counters;
    if reader.integer()? != n_cells as u64 {
        return Err(DecodeError::Layout);
    }
    let mut cells = vec![0; n_cells];
    let mut at = 0_usize;
    loop {
        let empty = usize::try_from(reader.integer()?).map_err(|_| DecodeError::Layout)?;
        let count = reader.integer()?;
        at = at.checked_add(empty).ok_or(DecodeError::Layout)?;
        if count == 0 {
            break;
        }
        *cells.get_mut(at).ok_or(DecodeError::Layout)? = count;
        at += 1;
    }
    if at != n_cells {
        return Err(DecodeError::Layout);
    }
    let mut moments = Moments { count: reader.integer()?, ..Moments::default() };
    if moments.count > 0 {
        moments.mean = reader.number()?;
        moments.m2 = reader.number()?;
        moments.min = reader.number()?;
        moments.max = reader.number()?;
    }
    Ok(ColumnProfile { cells, missing, nan, wrong_type, pos_inf, neg_inf, below_min, above_max, moments })
}

/// Appends a LEB128 integer.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than 0x80")]
    out.push(value as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn integer(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(DecodeError::Layout)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Layout)
    }

    fn number(&mut self) -> Result<f64, DecodeError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(DecodeError::Layout)?;
        self.0 = rest;
        Ok(f64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Batch, Column, FeatureKind, Role, Value};
    use crate::profile::{Categories, ColumnLayout, Cut, Grid};

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
        fn no_value_vanishes(rows in prop::collection::vec((value(), value()), 0..200)) {
            for column in profile_of(&layout(), &rows).columns() {
                prop_assert_eq!(column.usable() + column.unusable(), rows.len() as u64);
            }
        }

        #[test]
        fn merging_parts_counts_as_the_whole(rows in prop::collection::vec((value(), value()), 1..200), cut in 0_usize..200) {
            let layout = layout();
            let (left, right) = rows.split_at(cut.min(rows.len()));
            let whole = profile_of(&layout, &rows);
            for (first, second) in [(left, right), (right, left)] {
                let mut merged = profile_of(&layout, first);
                merged.merge(&profile_of(&layout, second)).unwrap();
                prop_assert_eq!(merged.rows(), whole.rows());
                for (merged, whole) in merged.columns().iter().zip(whole.columns()) {
                    prop_assert_eq!(&merged.cells, &whole.cells);
                    prop_assert_eq!(merged.unusable(), whole.unusable());
                }
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
}
