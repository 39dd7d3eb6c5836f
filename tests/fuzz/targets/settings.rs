//! Settings: read whole, or refused with a sentence.

#![no_main]

use driftline::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Settings::parse(&text, "driftline.yaml") {
        assert!(!error.to_string().is_empty());
    }
});
