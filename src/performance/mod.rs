//! How good predictions were, once it is known what came true.
//!
//! `metrics` are plain functions of numbers, `pairs` reads predictions and labels into them, `delay` says when labels have
//! come, and `cohort` puts it together into the report on one window.

pub mod metrics;

mod cohort;
mod delay;
mod estimate;
mod figure;
mod pairs;
mod report;

pub use cohort::{MAX_ROWS, Segmented, judge};
pub use delay::DelayCurve;
pub use estimate::estimates;
pub use figure::{Metric, Task};
pub use pairs::{Judged, Pairs, Reading};
pub use report::{Against, Cohort, Estimate, PerformanceReport, held_out, pooled};
