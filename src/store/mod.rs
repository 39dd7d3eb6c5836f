//! Postgres: the database driftline is given, or the private one it runs itself.

pub mod cluster;
