//! Both sides of an exchange in any protocol: read, joined, and read alone.
//!
//! The first byte is the protocol, the second the headers, the next two where the request ends and the answer starts.

#![no_main]

use driftline::decode::{
    Decoded, Headers, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Naming, Protocol, RawExchange, Route, decode,
    decode_request, decode_response,
};
use libfuzzer_sys::fuzz_target;

const PROTOCOLS: [Protocol; 19] = [
    Protocol::KserveV1,
    Protocol::TensorflowExamples,
    Protocol::OpenInference,
    Protocol::OpenInferenceStream,
    Protocol::Invocations,
    Protocol::TorchServe,
    Protocol::SeldonV1,
    Protocol::AzureScore,
    Protocol::Vertex,
    Protocol::OpenAi,
    Protocol::OpenInferenceGrpc,
    Protocol::TensorflowGrpc,
    Protocol::SeldonGrpc,
    Protocol::TorchServeGrpc,
    Protocol::Mlflow,
    Protocol::SageMaker,
    Protocol::FreeJson,
    Protocol::Configured,
    Protocol::TensorflowGrpcExamples,
];

const HEADERS: [&[(&str, &str)]; 8] = [
    &[],
    &[("content-type", "text/csv")],
    &[("content-encoding", "gzip"), ("grpc-encoding", "gzip")],
    &[("content-encoding", "br, zstd"), ("grpc-encoding", "deflate")],
    &[("inference-header-content-length", "0")],
    &[("inference-header-content-length", "64")],
    &[("content-type", "application/jsonlines")],
    &[("content-encoding", "deflate"), ("grpc-status", "0")],
];

fn headers(which: u8) -> Headers {
    let pairs = HEADERS[usize::from(which % 8)];
    Headers::pick(pairs.iter().map(|(name, value)| (*name, value.as_bytes())))
}

/// What holds of everything that is decoded.
fn check(decoded: &Decoded) {
    let batch = &decoded.batch;
    assert!((1..=MAX_ROWS).contains(&batch.rows));
    for side in [&batch.features, &batch.outputs] {
        assert!(side.len() <= MAX_COLUMNS && side.len() * batch.rows <= MAX_CELLS);
        for column in side {
            assert_eq!(column.values.len(), batch.rows);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [protocol, which, low, high, bodies @ ..] = data else { return };
    let split = usize::from(u16::from_le_bytes([*low, *high])).min(bodies.len());
    let (request, response) = bodies.split_at(split);
    let route = Route {
        protocol: PROTOCOLS[usize::from(*protocol) % PROTOCOLS.len()],
        model: Some("m".to_owned()),
        version: None,
    };
    let (request_headers, response_headers) = (headers(*which), headers(which >> 4));
    let naming = Naming {
        features: vec!["a", "b", "c", "d"].into(),
        ..Naming::default()
    };
    let exchange = RawExchange {
        route: &route,
        request_headers: &request_headers,
        request,
        request_truncated: false,
        status: 200,
        response_headers: &response_headers,
        response,
        response_truncated: false,
    };
    match decode(&exchange, &naming) {
        Ok(decoded) => check(&decoded),
        Err(failure) => assert!(!failure.reason().is_empty()),
    }
    if let Ok(mut side) = decode_request(&exchange.response_side(), &naming) {
        let _rows = side.rows();
        side.visit_values(|_, values| assert!(values.len() <= MAX_ROWS));
        side.retain(|name| name != "a");
    }
    if let Ok(side) = decode_response(&exchange.request_side(), 200, &naming)
        && let Ok(decoded) = side.alone()
    {
        check(&decoded);
    }
});
