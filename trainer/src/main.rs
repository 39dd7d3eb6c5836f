//! The retraining worker.
fn main() {}
