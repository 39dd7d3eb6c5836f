//! The protobuf reader, down through every field that could be a message, and the frames around messages.

#![no_main]

use driftline::decode::grpc::frames::messages;
use driftline::decode::protobuf::{Fields, Wire};
use libfuzzer_sys::fuzz_target;

fn walk(bytes: &[u8], depth: usize) -> usize {
    let mut held = 0;
    for field in Fields::new(bytes) {
        let Ok(field) = field else { break };
        assert!(field.number > 0);
        if let Wire::Bytes(inner) = field.wire {
            held += inner.len();
            if depth < 8 {
                walk(inner, depth + 1);
            }
        }
    }
    assert!(held <= bytes.len());
    held
}

fuzz_target!(|data: &[u8]| {
    walk(data, 0);
    if let Ok(all) = messages(data, Some("gzip"), 1 << 16) {
        for message in all {
            walk(&message, 0);
        }
    }
});
