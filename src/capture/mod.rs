//! Captured rows in files: from the database into Parquet objects, read back with their labels, frozen as snapshots.
//!
//! Rows are captured in the transaction that counts them, and wait in the database (`captured_row`). [`seal`] moves them
//! into objects that are named by their content and listed in `capture_segment`; what remains of a moved row is its ids,
//! so that a message that comes again is known and a late label finds it. [`Rows`] of both places are read by
//! [`Reader`], and a [`Snapshot`] freezes them with the labels of one moment.

mod columns;
mod error;
mod expire;
mod place;
mod read;
mod rows;
mod seal;
mod segment;
mod snapshot;
mod verify;

pub use columns::{Holds, Part, RowColumn};
pub use error::CaptureError;
pub use expire::{Expired, expire};
pub use place::{Place, Scheme, check_url};
pub use read::{Filter, Reader, Sample, newest};
pub use rows::Rows;
pub use seal::{Due, Lead, Limits, Sealed, due, seal, seal_all};
pub use segment::SegmentSchema;
pub use snapshot::{Manifest, ManifestPart, Snapshot, SnapshotReader};
pub use verify::{Finding, Verified, verify};
