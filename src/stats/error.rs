//! The reasons for which a statistic cannot be computed.

use thiserror::Error;

/// A statistic that has no value for the input it was given.
///
/// Every variant is a property of the input, never of the machine: the same call fails again.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum StatError {
    /// The two histograms do not have the same bins.
    #[error("the reference has {reference} bins and the current data {current}")]
    BinMismatch {
        /// Bins of the reference.
        reference: usize,
        /// Bins of the current data.
        current: usize,
    },
    /// `edges` inner edges make `edges + 1` cells, and the histogram has another number of them.
    #[error("{edges} inner edges make {} cells, not {cells}", .edges + 1)]
    EdgeMismatch {
        /// Inner edges given.
        edges: usize,
        /// Cells given.
        cells: usize,
    },
    /// A side has fewer observations than the statistic needs.
    #[error("{needed} observations are needed on each side, and one side has {got}")]
    TooFewObservations {
        /// The least that is needed.
        needed: u64,
        /// What the smaller side has.
        got: u64,
    },
    /// The product of the sample sizes is too large for an exact p-value.
    #[error("an exact p-value takes at most {limit} pairs of observations, not {got}")]
    TooManyPairs {
        /// The largest product of the sample sizes that is computed.
        limit: u64,
        /// The product of the sample sizes asked for.
        got: u128,
    },
    /// A sample or a list of edges is not in ascending order, or holds a NaN.
    #[error("the {0} are not in ascending order")]
    Unsorted(&'static str),
    /// A value is NaN or infinite where a distance in the unit of the values is asked for.
    #[error("the {0} hold a value that is not finite")]
    NotFinite(&'static str),
    /// A share is negative, NaN or infinite.
    #[error("share {index} is {value}, not a finite number of at least 0")]
    InvalidShare {
        /// Position of the share, counted from 0.
        index: usize,
        /// The share.
        value: f64,
    },
    /// A parameter is outside the range for which the method is defined.
    #[error("`{name}` is {value}, and has to be {expected}")]
    InvalidParameter {
        /// The parameter.
        name: &'static str,
        /// What it may be, such as "in (0, 1)".
        expected: &'static str,
        /// What was given.
        value: f64,
    },
    /// A row has another number of features than the rows before it, or than the model it is given to.
    #[error("a row has {got} features, not {expected}")]
    FeatureMismatch {
        /// Features of the rows before it or of the model.
        expected: usize,
        /// Features of the row.
        got: usize,
    },
    /// So few features take more than one value that none could vary together.
    #[error("{varying} features vary, and two have to")]
    TooFewVarying {
        /// Features that take more than one value.
        varying: usize,
    },
}
