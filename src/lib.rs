//! driftline watches the predictions of a model server, compares them with a versioned baseline, alerts by rule
//! and has a worker retrain the model.
//!
//! The modules stand in reading order, which is also the order in which they may use one another: each one only
//! those above it. `ARCHITECTURE.md` explains the whole; `tests/tidy.rs` holds the order.

// core: pure, no tokio, no clock, no I/O; builds without any cargo feature
pub mod model;
pub mod yaml;
pub mod stats;
pub mod profile;
pub mod schema;
pub mod window;
pub mod baseline;
pub mod expectations;
pub mod traffic;
pub mod drift;
pub mod drawing;
pub mod performance;
pub mod alert;
pub mod retrain;
pub mod decode;
pub mod privacy;
pub mod config;

// adapters: each hides one outside thing
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod traces;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
pub mod frames;
#[cfg(feature = "server")]
pub mod notify;
#[cfg(feature = "server")]
pub mod tap;
#[cfg(feature = "server")]
pub mod http;

// wiring
#[cfg(feature = "server")]
pub mod tasks;
#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod cli;
