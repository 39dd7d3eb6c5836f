//! Everything that needs real sockets, real databases, real mail servers, and more than one module.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod alerts;
mod bad_input;
mod baseline_parts;
mod compare;
mod compare_bad_input;
mod database;
mod expectations;
mod ingest;
mod ingest_faults;
mod ingest_pairs;
mod ingest_support;
mod labels;
mod outage;
mod privacy;
mod retrain;
mod rules_replay;
mod schema;
mod sink;
mod smtp;
mod source_files;
#[cfg(feature = "kafka")]
mod source_kafka;
mod source_nats;
mod source_rabbitmq;
mod source_support;
mod support;
mod tap_bodies;
mod tap_differential;
mod tap_faults;
mod tap_loss;
mod tap_settings;
mod tap_support;
mod tap_tls;
mod tap_transparency;
mod traffic;
mod tap_traps;
mod tap_wire;
mod whole_loop;
