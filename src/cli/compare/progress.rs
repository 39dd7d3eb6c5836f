//! A progress bar on stderr, for files that take a while.

use indicatif::{ProgressBar, ProgressStyle};

/// Bytes of data below which no bar is worth its flicker.
const WORTH_SHOWING: u64 = 32 << 20;

/// Progress over all that is read.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar where `bytes` are to be read, hidden where that is quick or stderr is no terminal.
    pub(super) fn over(bytes: u64) -> Self {
        let bar = if bytes < WORTH_SHOWING { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style = ProgressStyle::with_template("{msg:24} {wide_bar} {percent:>3} % {eta_precise}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }

    /// Begins something that takes `work`.
    pub(super) fn begin(&self, what: &'static str, work: u64) {
        self.bar.reset();
        self.bar.set_length(work);
        self.bar.set_message(what);
    }

    /// That much more is done.
    pub(super) fn advance(&self, work: u64) {
        self.bar.inc(work);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
