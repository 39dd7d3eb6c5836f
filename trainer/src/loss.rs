//! Losses on scores, row by row.

use driftline::retrain::Objective;
use driftline::retrain::artifact::Output;
use tch::{Kind, Reduction, TchError, Tensor};

/// The loss of each row times its weight, added up.
///
/// # Arguments
///
/// * `scores`: shape `[rows, outputs]`.
/// * `targets`, `weights`: shape `[rows]`.
pub(crate) fn total(
    objective: Objective,
    output: Output,
    scores: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor, TchError> {
    let scores = scores.f_to_kind(Kind::Float)?;
    let is_single = scores.size().last() == Some(&1);
    let score = || scores.f_squeeze_dim(1);
    let losses = match objective {
        Objective::LogLoss if !is_single => scores.f_cross_entropy_loss::<&Tensor>(
            &targets.f_to_kind(Kind::Int64)?,
            None,
            Reduction::None,
            -100,
            0.0,
        )?,
        Objective::LogLoss => {
            score()?.f_binary_cross_entropy_with_logits::<&Tensor>(targets, None, None, Reduction::None)?
        }
        Objective::Mse => score()?.f_mse_loss(targets, Reduction::None)?,
        Objective::Huber { delta } => score()?.f_huber_loss(targets, Reduction::None, delta)?,
        Objective::Poisson => score()?.f_add_scalar(output.offset)?.f_poisson_nll_loss(
            targets,
            true,
            false,
            1e-8,
            Reduction::None,
        )?,
        Objective::Quantile { q } => {
            let error = targets.f_sub(&score()?)?;
            error.f_mul_scalar(q)?.f_maximum(&error.f_mul_scalar(q - 1.0)?)?
        }
    };
    losses.f_mul(weights)?.f_sum(Kind::Float)
}
