//! Calls decoders of others that panic on some broken files, and makes an error of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::FrameError;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a decoder whose panic is caught and becomes a [`FrameError`]: a program's panic hook may
/// then stay silent.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// Calls a decoder; a panic in it is an error that names the file.
pub(super) fn guarded<T>(
    path: &Path,
    format: &'static str,
    decode: impl FnOnce() -> Result<T, FrameError>,
) -> Result<T, FrameError> {
    DECODING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(false);
    outcome.unwrap_or_else(|_| {
        let problem = "its content is damaged; the decoder gave up".to_owned();
        Err(FrameError::Content { path: path.to_owned(), format, problem })
    })
}
