//! Reading the first stored form of a profile: variable-length integers and runs of empty cells.

use super::super::{ColumnLayout, ColumnProfile, Layout, Profile};
use super::DecodeError;
use crate::stats::Moments;

pub(super) const TAG: &[u8; 4] = b"DLP1";

/// Reads the bytes between tag and checksum. Rounded moments stay as exact as they were stored.
pub(super) fn decode(layout: &Layout, body: &[u8]) -> Result<Profile, DecodeError> {
    let mut reader = Reader(body);
    let rows = reader.integer()?;
    if reader.integer()? != layout.columns().len() as u64 {
        return Err(DecodeError::Layout);
    }
    let mut columns = Vec::with_capacity(layout.columns().len());
    for expected in layout.columns() {
        columns.push(column(&mut reader, expected)?);
    }
    if reader.0.is_empty() { Ok(Profile::from_columns(rows, columns)) } else { Err(DecodeError::Layout) }
}

fn column(reader: &mut Reader<'_>, layout: &ColumnLayout) -> Result<ColumnProfile, DecodeError> {
    let mut counters = [0; ColumnProfile::COUNTERS];
    for counter in &mut counters {
        *counter = reader.integer()?;
    }
    let mut column = ColumnProfile::empty(layout);
    column.set_counters(counters);
    let n_cells = column.cells.len();
    if reader.integer()? != n_cells as u64 {
        return Err(DecodeError::Layout);
    }
    let mut at = 0_usize;
    loop {
        let empty = usize::try_from(reader.integer()?).map_err(|_| DecodeError::Layout)?;
        let count = reader.integer()?;
        at = at.checked_add(empty).ok_or(DecodeError::Layout)?;
        if count == 0 {
            break;
        }
        *column.cells.get_mut(at).ok_or(DecodeError::Layout)? = count;
        at += 1;
    }
    if at != n_cells {
        return Err(DecodeError::Layout);
    }
    let count = reader.integer()?;
    if count > 0 {
        let (mean, m2) = (reader.number()?, reader.number()?);
        let range = (reader.number()?, reader.number()?);
        if ![mean, m2, range.0, range.1].iter().all(|number| number.is_finite()) {
            return Err(DecodeError::Layout);
        }
        column.moments = Moments::from_rounded(count, mean, m2, range);
        column.assume_tails(layout);
    }
    Ok(column)
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
