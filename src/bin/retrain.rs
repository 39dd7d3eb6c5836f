//! The `retrain` program.
fn main() {}
