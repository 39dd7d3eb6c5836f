//! A message of a logger, a broker or a capture file; the first byte chooses its headers.

#![no_main]

use driftline::decode::events::{Event, read};
use libfuzzer_sys::fuzz_target;

const HEADERS: [&[(&str, &str)]; 6] = [
    &[],
    &[("content-type", "application/json")],
    &[("content-type", "application/cloudevents+json")],
    &[("content-type", "application/cloudevents-batch+json")],
    &[
        ("ce-specversion", "1.0"),
        ("ce-type", "org.kubeflow.serving.inference.request"),
        ("ce-id", "i"),
        ("ce-source", "s"),
    ],
    &[("ce-type", "azureml.inference.model_inputs"), ("ce-time", "1700000000"), ("content-encoding", "gzip")],
];

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else { return };
    let headers: Vec<(String, String)> = HEADERS[usize::from(*which) % HEADERS.len()]
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let Ok(found) = read(&headers, body, None) else { return };
    for event in &found.events {
        if let Event::Rows(item) = event {
            for column in item.batch.features.iter().chain(&item.batch.outputs) {
                assert_eq!(column.values.len(), item.batch.rows);
            }
        }
    }
});
