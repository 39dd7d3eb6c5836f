//! How good predictions were, once it is known what came true.

pub mod metrics;
