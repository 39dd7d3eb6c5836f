//! A rule file: read whole, or refused with a place.

#![no_main]

use driftline::alert::RuleSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    // A line of YAML may also end in a carriage return alone.
    let lines = text.matches(['\n', '\r']).count() as u64 + 1;
    match RuleSet::parse(&[("r.yaml".to_owned(), text)]) {
        Ok(rules) => {
            for rule in &rules.rules {
                assert!(!rule.name.is_empty() && rule.line <= lines);
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| problem.line <= lines + 1 && !problem.message.is_empty()));
        }
    }
});
