//! What is kept of the rows that were captured, and which models have no baseline yet.

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::Declare;

/// What is kept of captured rows.
#[derive(Debug, Clone)]
pub struct CaptureMetrics {
    /// Rows that wait in the database.
    pub staged: IntGaugeVec,
    /// Files of rows.
    pub segments: IntGaugeVec,
    /// Their size.
    pub bytes: IntGaugeVec,
    /// Rows that this process moved into files.
    pub moved: IntCounterVec,
    /// Times that moving or deleting failed.
    pub failures: IntCounterVec,
    /// 1 for a model without a baseline.
    pub without_baseline: IntGaugeVec,
}

impl CaptureMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let gauges =
            |name: &str, help: &str| declare.add(IntGaugeVec::new(Opts::new(name, help), &["model"])?);
        Ok(Self {
            staged: gauges("driftline_capture_staged_rows", "Captured rows that wait in the database")?,
            segments: gauges("driftline_capture_segments", "Files of captured rows")?,
            bytes: gauges("driftline_capture_segment_bytes", "Size of the files of captured rows")?,
            moved: declare.counters(
                "driftline_capture_moved_rows_total",
                "Captured rows that this process moved into files",
                &["model"],
            )?,
            failures: declare.counters(
                "driftline_capture_failures_total",
                "Times that captured rows could not be moved into files, or old files not be deleted",
                &["model"],
            )?,
            without_baseline: gauges(
                "driftline_model_without_baseline",
                "1 for a model whose rows are captured and counted, but not compared: it has no baseline yet",
            )?,
        })
    }

    /// Brings the gauges of a model up to date: rows that wait, files, and their size.
    pub fn show(&self, model: &str, staged: u64, segments: u64, bytes: u64) {
        for (gauge, value) in [(&self.staged, staged), (&self.segments, segments), (&self.bytes, bytes)] {
            gauge.with_label_values(&[model]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}
