//! gRPC bytes captured from real servers decode to the rows that were sent.

use super::captured::{check_triton_outputs, check_triton_rows, columns, single, texts};
use super::*;
use crate::model::Value;

/// The bodies of every HTTP/2 stream of a capture with one connection, by stream: client's, then server's.
fn bodies(capture: &[u8]) -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    let mut rest = capture;
    while let Some(start) = rest.windows(6).position(|window| window == b"===== ") {
        let line = &rest[start + 6..];
        let end = line.iter().position(|byte| *byte == b'\n').unwrap();
        let (flow, size) = std::str::from_utf8(&line[..end]).unwrap().split_once(' ').unwrap();
        let size: usize = size.strip_suffix(" bytes").unwrap().parse().unwrap();
        let bytes = &line[end + 1..end + 1 + size];
        rest = &line[end + 1 + size..];
        if flow.starts_with("S->") { &mut from_server } else { &mut from_client }.extend_from_slice(bytes);
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let from_client = from_client.strip_prefix(preface).unwrap();
    let mut streams: Vec<(u32, Vec<u8>, Vec<u8>)> = Vec::new();
    for (is_client, mut rest) in [(true, from_client), (false, &from_server[..])] {
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let (payload, after) = after.split_at(usize::try_from(length).unwrap());
            rest = after;
            // DATA frames; none of them is padded.
            if head[3] == 0 {
                let at = streams.iter().position(|(known, ..)| *known == stream).unwrap_or_else(|| {
                    streams.push((stream, Vec::new(), Vec::new()));
                    streams.len() - 1
                });
                let (_, request, response) = &mut streams[at];
                if is_client { request } else { response }.extend_from_slice(payload);
            }
        }
        assert!(rest.is_empty(), "a frame is cut");
    }
    assert!(!streams.is_empty());
    streams
}

/// Decodes a call; `trailers` are those that the server sent behind its body.
fn decode_call(
    path: &str,
    request: &[u8],
    response: &[u8],
    request_headers: &[(&str, &[u8])],
    trailers: &[(&str, &[u8])],
) -> Result<Decoded, DecodeFailure> {
    let Recognised::Prediction(route) = Route::recognise("POST", path, None) else { panic!("{path}") };
    let exchange = RawExchange {
        route: &route,
        request_headers: &Headers::pick(request_headers.iter().copied()),
        request,
        request_truncated: false,
        status: 200,
        response_headers: &Headers::pick(trailers.iter().copied()),
        response,
        response_truncated: false,
    };
    decode(&exchange, &Naming::default())
}

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const OK: &[(&str, &[u8])] = &[("grpc-status", b"0")];

#[test]
fn triton_grpc_decodes() {
    let streams = bodies(include_bytes!("../../tests/fixtures/captures/triton-2.51-grpc.cap"));
    let [(1, plain, plain_answer), (3, gzip, gzip_answer), (5, stream, stream_answer)] = &streams[..] else {
        panic!("{streams:?}")
    };
    let first = decode_call(INFER, plain, plain_answer, &[], OK).unwrap();
    // The client says gzip in its header and sends the message as it is.
    let second = decode_call(INFER, gzip, gzip_answer, &[("grpc-encoding", b"gzip")], OK).unwrap();
    // The stream: the answer is wrapped, and carries the mark of the last one.
    let third = decode_call(STREAM, stream, stream_answer, &[], OK).unwrap();
    for (decoded, id) in [(first, "g1"), (second, "g2"), (third, "st1")] {
        check_triton_rows(&decoded);
        check_triton_outputs(&decoded.batch.outputs);
        assert_eq!(decoded.body_id.as_deref(), Some(id));
    }
    let failed = decode_call(INFER, plain, b"", &[], &[("grpc-status", b"3")]);
    assert_eq!(failed, Err(DecodeFailure::ErrorStatus(3)));
}

#[test]
fn mlserver_grpc_decodes() {
    let streams = bodies(include_bytes!("../../tests/fixtures/captures/mlserver-1.7.1-grpc-infer.cap"));
    let [(1, request, response)] = &streams[..] else { panic!("{streams:?}") };
    let trailers = [("grpc-status", &b"0"[..]), ("ce-id", b"g1"), ("ce-requestid", b"g1")];
    let decoded = decode_call(INFER, request, response, &[], &trailers).unwrap();
    let expected = [
        ("predict[0]", single(&[5.1, 6.7])),
        ("predict[1]", single(&[3.5, 3.0])),
        ("predict[2]", single(&[1.4, 5.2])),
        ("predict[3]", single(&[0.2, 2.3])),
    ];
    assert_eq!(columns(&decoded.batch.features), expected);
    // Empty typed contents, and raw ones that count.
    assert_eq!(columns(&decoded.batch.outputs), [("predict", vec![0.0, 2.0])]);
    assert_eq!((decoded.body_id.as_deref(), decoded.model_version.as_deref()), (Some("g1"), Some("v1")));
    assert_eq!(decoded.notes, Notes::default());
}

#[test]
fn mlserver_grpc_stream_decodes() {
    let streams = bodies(include_bytes!("../../tests/fixtures/captures/mlserver-1.7.1-grpc-stream.cap"));
    let [(1, request, response)] = &streams[..] else { panic!("{streams:?}") };
    // One request and three answers with its id: which of them is its prediction cannot be told.
    let decoded = decode_call(STREAM, request, response, &[], OK).unwrap();
    assert_eq!((decoded.batch.rows, decoded.body_id.as_deref()), (1, Some("s1")));
    assert_eq!(
        (decoded.batch.features[0].name.as_str(), texts(&decoded.batch.features[0])),
        ("t", vec!["hi"])
    );
    assert_eq!(decoded.batch.outputs, []);
    assert_eq!(decoded.notes, Notes { unpaired: 3, ..Notes::default() });

    // The answers by themselves are plain responses, one under the other.
    let Recognised::Prediction(route) = Route::recognise("POST", STREAM, None) else { panic!() };
    let raw = RawSide { route: &route, headers: &Headers::default(), body: response, truncated: false };
    let alone = decode_response(&raw, 200, &Naming::default()).unwrap().alone().unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(alone.batch.outputs[0].name, "text");
    assert_eq!(alone.batch.outputs[0].values, [text("a"), text("b"), text("c")]);
    assert_eq!(alone.body_id.as_deref(), Some("s1"));
}
