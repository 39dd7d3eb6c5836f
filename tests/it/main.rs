//! Integration tests: real databases, real mail servers, real sockets.

mod alerts;
mod smtp;
mod support;
