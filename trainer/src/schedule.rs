//! Steps of AdamW on one flat vector of weights, and how long they are over time.

use driftline::retrain::spec::{DeepSpec, Schedule};
use tch::{Kind, TchError, Tensor};

/// Decay of the mean of gradients.
const FIRST: f64 = 0.9;

/// Decay of the mean of their squares.
const SECOND: f64 = 0.999;

/// Added to the root of the latter.
const EPSILON: f64 = 1e-8;

/// `AdamW`'s memory.
///
/// # Source
///
/// Loshchilov and Hutter (2019), arXiv:1711.05101, with `PyTorch`'s defaults.
#[derive(Debug)]
pub(crate) struct Adam {
    /// Mean of the gradients, shape `[parameters]`.
    pub(crate) first: Tensor,
    /// Mean of their squares, shape `[parameters]`.
    pub(crate) second: Tensor,
}

impl Adam {
    /// No memory yet.
    pub(crate) fn new(flat: &Tensor) -> Result<Self, TchError> {
        Ok(Self { first: flat.f_zeros_like()?, second: flat.f_zeros_like()? })
    }

    /// Takes step number `step`, counted from 1, along `gradient`.
    pub(crate) fn step(
        &mut self,
        flat: &Tensor,
        gradient: &Tensor,
        step: u64,
        rate: f64,
        weight_decay: f64,
    ) -> Result<(), TchError> {
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let first_bias = 1.0 - FIRST.powi(exponent);
        let second_bias = 1.0 - SECOND.powi(exponent);
        let mut flat = flat.shallow_clone();
        let _mean = self.first.f_lerp_(gradient, 1.0 - FIRST)?;
        let _square = self.second.f_lerp_(&gradient.f_square()?, 1.0 - SECOND)?;
        if weight_decay > 0.0 {
            let _decayed = flat.f_mul_scalar_(1.0 - rate * weight_decay)?;
        }
        let root = self.second.f_sqrt()?.f_mul_scalar(1.0 / second_bias.sqrt())?.f_add_scalar(EPSILON)?;
        let change = self.first.f_div(&root)?.f_mul_scalar(rate / first_bias)?;
        let _stepped = flat.f_sub_(&change)?;
        Ok(())
    }
}

/// Shortens `gradient` to `limit` where it is longer; returns its length before.
pub(crate) fn clip(gradient: &mut Tensor, limit: f64) -> Result<f64, TchError> {
    let length = gradient.f_norm()?.f_to_kind(Kind::Double)?.f_double_value(&[])?;
    if length > limit && length.is_finite() {
        let _shortened = gradient.f_mul_scalar_(limit / (length + 1e-6))?;
    }
    Ok(length)
}

/// The factor of the learning rate in step number `step`, counted from 1, of `total`.
pub(crate) fn factor(deep: &DeepSpec, step: u64, total: u64) -> f64 {
    let (step, total) = (step as f64, total.max(1) as f64);
    let warm = deep.warm_up * total;
    if step <= warm {
        return step / warm.max(1.0);
    }
    match deep.schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => {
            let done = ((step - warm) / (total - warm).max(1.0)).min(1.0);
            0.5 * (1.0 + (std::f64::consts::PI * done).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_warms_up_and_falls_like_a_cosine() {
        let deep = DeepSpec { warm_up: 0.1, ..DeepSpec::default() };
        let at = |step| factor(&deep, step, 100);
        assert!((at(5) - 0.5).abs() < 1e-12 && (at(10) - 1.0).abs() < 1e-12);
        assert!((at(55) - 0.5).abs() < 1e-12 && at(100).abs() < 1e-12);
        let constant = DeepSpec { warm_up: 0.0, schedule: Schedule::Constant, ..DeepSpec::default() };
        assert!((factor(&constant, 1, 100) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_step_is_that_of_libtorch() {
        use tch::nn::{self, OptimizerConfig};
        let store = nn::VarStore::new(tch::Device::Cpu);
        let theirs = store.root().var("w", &[3], nn::Init::Const(0.5));
        let mut optimizer = nn::AdamW { wd: 0.1, ..nn::AdamW::default() }.build(&store, 0.01).unwrap();
        let ours = Tensor::from_slice(&[0.5_f32; 3]);
        let mut adam = Adam::new(&ours).unwrap();
        for step in 1..=20 {
            let target = Tensor::from_slice(&[1.0_f32, -2.0, 0.4]);
            optimizer.backward_step(&(&theirs - &target).square().sum(Kind::Float));
            let gradient: Tensor = (&ours - &target) * 2.0;
            adam.step(&ours, &gradient, step, 0.01, 0.1).unwrap();
        }
        let gap = (&ours - theirs.detach()).abs().max().double_value(&[]);
        assert!(gap < 1e-6, "{gap}");
    }

    #[test]
    fn long_gradients_are_shortened() {
        let mut gradient = Tensor::from_slice(&[3.0_f32, 4.0]);
        assert!((clip(&mut gradient, 1.0).unwrap() - 5.0).abs() < 1e-6);
        assert!((gradient.norm().double_value(&[]) - 1.0).abs() < 1e-5);
    }
}
