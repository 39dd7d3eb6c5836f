//! Predictions over gRPC: the messages of a body, and what each service puts into them.

pub mod frames;
