//! Tests of joint drift from end to end: build, profile, evaluate.
