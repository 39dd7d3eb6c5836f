//! Logs, set up once: structured JSON on stderr, filtered by `DRIFTLINE_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts JSON logs on stderr; a second call changes nothing.
pub fn init_json() {
    init("info");
}

/// Starts JSON logs on stderr for warnings and errors only, for commands whose output people read.
pub fn init_quiet() {
    init("warn");
}

fn init(default: &str) {
    let filter = EnvFilter::try_from_env("DRIFTLINE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_err() {
        tracing::debug!("logs were set up before");
    }
}
