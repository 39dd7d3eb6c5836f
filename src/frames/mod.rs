//! Data files in: whole as plain values, or streamed column by column in bounded memory; every failure with its place.

mod arrays;
mod arrow;
mod chunk;
mod csv;
mod error;
mod guard;
mod json_lines;
mod newest;
mod parquet;
mod private;
mod rows;
mod source;
mod table;

pub use chunk::{Chunk, State, Texts, Values, Want};
pub use error::FrameError;
pub use guard::is_decoding;
pub use newest::read_newest;
pub use source::{Holds, Pace, Reading, Sink, Source, SourceColumn, Told, in_parallel};
pub use table::{Table, read_table, read_tables};

pub use crate::model::parse_time;
