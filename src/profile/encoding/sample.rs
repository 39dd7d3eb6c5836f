//! The stored form of a sample of rows: how far the hashes lie apart, then the cells column by column.

use super::super::entropy::{Counts, Decoder, Encoder};
use super::super::sample::{RowSample, SAMPLED_ROWS};
use super::DecodeError;
use crate::profile::{Joint, Layout};

/// Writes the rows: about 57 bits for a hash, and for a cell what its column's spread asks for.
pub(super) fn write(encoder: &mut Encoder, sample: &RowSample) {
    let mut gaps = Counts::default();
    gaps.pass(encoder, sample.len() as u64);
    let mut before = 0;
    for (hash, _) in sample.rows() {
        gaps.pass(encoder, hash - before);
        before = hash;
    }
    for column in 0..sample.width().unwrap_or(0) {
        let mut cells = Counts::default();
        for (_, row) in sample.rows() {
            cells.pass(encoder, u64::from(row.get(column).copied().unwrap_or(0)));
        }
    }
}

/// Reads rows of the columns that joint drift on `layout` is computed on.
pub(super) fn read(decoder: &mut Decoder<'_>, layout: &Layout) -> Result<RowSample, DecodeError> {
    let mut gaps = Counts::default();
    let n_rows = gaps.pass(decoder, 0);
    let is_sampled = layout.joint().is_some_and(Joint::is_sampled);
    if n_rows > if is_sampled { SAMPLED_ROWS as u64 } else { 0 } {
        return Err(DecodeError::Layout);
    }
    let mut before = 0_u64;
    let mut rows: Vec<(u64, Vec<u16>)> = Vec::new();
    for _ in 0..n_rows {
        before = before.checked_add(gaps.pass(decoder, 0)).ok_or(DecodeError::Layout)?;
        rows.push((before, Vec::new()));
    }
    if rows.is_empty() {
        return Ok(RowSample::default());
    }
    for column in layout.joint_inputs() {
        let no_value = layout.columns()[column].cut.cells();
        let mut cells = Counts::default();
        for (_, row) in &mut rows {
            let cell = u16::try_from(cells.pass(decoder, 0)).map_err(|_| DecodeError::Layout)?;
            if usize::from(cell) > no_value {
                return Err(DecodeError::Layout);
            }
            row.push(cell);
        }
    }
    let mut sample = RowSample::default();
    for (hash, row) in rows {
        sample.insert(hash, row.into());
    }
    if sample.len() as u64 == n_rows { Ok(sample) } else { Err(DecodeError::Layout) }
}
