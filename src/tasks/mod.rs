//! The work that runs beside the proxy, each task on its own.

pub mod notifier;
