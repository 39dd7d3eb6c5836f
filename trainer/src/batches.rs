//! Rows on the device, and which of them make a step.

use driftline::stats::random::SplitMix64;
use ndarray::ArrayView2;
use tch::{Device, TchError, Tensor};

use crate::linear::Part;
use crate::network::size;

/// Rows on the device.
pub(crate) struct Rows {
    /// Shape `[rows, width]`.
    pub(crate) numbers: Tensor,
    /// Shape `[rows, embedded]`.
    pub(crate) codes: Tensor,
    /// Shape `[rows]`.
    pub(crate) targets: Tensor,
    /// Shape `[rows]`.
    pub(crate) weights: Tensor,
}

impl Rows {
    /// Takes them there.
    pub(crate) fn new(part: Part<'_>, device: Device) -> Result<Self, TchError> {
        let codes: Vec<i64> = part.codes.iter().map(|code| i64::from(*code)).collect();
        let codes =
            Tensor::f_from_slice(&codes)?.f_view([size(part.codes.nrows()), size(part.codes.ncols())])?;
        Ok(Self {
            numbers: matrix(part.numbers, device)?,
            codes: codes.f_to_device(device)?,
            targets: vector(part.targets, device)?,
            weights: vector(part.weights, device)?,
        })
    }

    /// Those that `index` names, in its order.
    pub(crate) fn pick(&self, index: &Tensor) -> Result<Self, TchError> {
        let has_codes = self.codes.size().get(1).is_some_and(|columns| *columns > 0);
        Ok(Self {
            numbers: self.numbers.f_index_select(0, index)?,
            codes: if has_codes { self.codes.f_index_select(0, index)? } else { self.codes.shallow_clone() },
            targets: self.targets.f_index_select(0, index)?,
            weights: self.weights.f_index_select(0, index)?,
        })
    }
}

/// Order of the rows in an epoch, which hangs on nothing but seed and number.
pub(crate) fn order(seed: u64, epoch: usize, rows: usize) -> Vec<i64> {
    let mut order: Vec<i64> = (0..).take(rows).collect();
    SplitMix64::new(mix(seed, epoch as u64)).shuffle(&mut order);
    order
}

/// A seed for `number` of what `seed` is for.
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    SplitMix64::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next_u64()
}

/// Rows per step where nothing is said: about a hundred steps an epoch, more rows where a GPU wants them.
pub(crate) fn automatic(rows: usize, is_cuda: bool) -> usize {
    let (least, most) = if is_cuda { (256, 8_192) } else { (64, 1_024) };
    (rows / 100).next_power_of_two().clamp(least, most)
}

fn matrix(rows: ArrayView2<'_, f64>, device: Device) -> Result<Tensor, TchError> {
    let cells: Vec<f32> = rows.iter().map(|cell| short(*cell)).collect();
    Tensor::f_from_slice(&cells)?.f_view([size(rows.nrows()), size(rows.ncols())])?.f_to_device(device)
}

fn vector(values: &[f64], device: Device) -> Result<Tensor, TchError> {
    let cells: Vec<f32> = values.iter().map(|value| short(*value)).collect();
    Tensor::f_from_slice(&cells)?.f_to_device(device)
}

#[expect(clippy::cast_possible_truncation, reason = "libtorch trains in single precision")]
fn short(number: f64) -> f32 {
    number as f32
}
