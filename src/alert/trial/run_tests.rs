//! What tests of rules come to.
