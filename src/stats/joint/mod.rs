//! Joint drift: how features move together, which no test of one feature at a time can see.
//!
//! Two statistics, each blind where the other sees:
//!
//! - [`Pca::reconstruction_error`] of a row is small while features keep the correlations of the reference, whatever
//!   their values. It sees correlations break, and does not see a move along the directions that are kept.
//! - [`domain_auc`] asks how well a linear classifier tells window rows from baseline rows. It adds up small moves of
//!   many features, and does not see a change that leaves every mean where it was.
//!
//! Neither sees an interaction without correlation: where `y = x₁ xor x₂` turns into `y = x₁`, every mean and every
//! correlation of the three can stay. A column that holds the product has to be given then.
//!
//! # Columns
//!
//! All are numbers, and the caller makes them: a category becomes a column of 0 and 1 for each of its frequent values,
//! a value that can be missing a column that is 1 where it is. The same columns in the same order, fixed in the
//! baseline, serve both sides.

mod auc;
mod co_moments;
mod domain;
mod eigen;
mod hotelling;
mod logistic;
mod pca;

pub use auc::{Auc, auc};
pub use co_moments::CoMoments;
pub use domain::{DomainAuc, DomainAucParameters, domain_auc};
pub use pca::{DEFAULT_EXPLAINED, MAX_FEATURES, Pca};

#[cfg(test)]
mod tests;
