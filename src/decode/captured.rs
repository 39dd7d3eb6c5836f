//! Bytes captured from real servers decode to the rows that were sent.

use super::tests::show;
use super::*;
use crate::model::{Column, Value};

/// Requests and answers of one capture, paired by connection.
fn exchanges(capture: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut streams: Vec<(String, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut done = Vec::new();
    let mut rest = capture;
    while let Some(start) = find(rest, b"===== ") {
        let line = &rest[start + 6..];
        let end = find(line, b"\n").unwrap();
        let header = std::str::from_utf8(&line[..end]).unwrap();
        let (flow, size) = header.split_once(' ').unwrap();
        let size: usize = size.strip_suffix(" bytes").unwrap().parse().unwrap();
        let bytes = &line[end + 1..end + 1 + size];
        rest = &line[end + 1 + size..];
        let (connection, from_client) = match flow.split_once("->").unwrap() {
            ("S", connection) => (connection.to_owned(), false),
            (connection, _) => (connection.to_owned(), true),
        };
        let at = streams.iter().position(|(name, ..)| *name == connection).unwrap_or_else(|| {
            streams.push((connection, Vec::new(), Vec::new()));
            streams.len() - 1
        });
        let (_, request, response) = &mut streams[at];
        if from_client && !response.is_empty() {
            done.push((std::mem::take(request), std::mem::take(response)));
        }
        if from_client { request } else { response }.extend_from_slice(bytes);
    }
    done.extend(streams.into_iter().map(|(_, request, response)| (request, response)));
    assert!(!done.is_empty(), "the capture holds nothing");
    done
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

struct Message {
    start: String,
    headers: Headers,
    body: Vec<u8>,
}

fn message(bytes: &[u8]) -> Message {
    let end = find(bytes, b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let start = lines.next().unwrap().to_owned();
    let pairs: Vec<(&str, &[u8])> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if pairs
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("transfer-encoding") && *value == b"chunked")
    {
        let line = find(&body, b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        body = body[line + 2..line + 2 + size].to_vec();
    }
    Message { start, headers: Headers::pick(pairs), body }
}

/// The decoded exchanges of a capture by their request body's beginning.
fn decode_capture(capture: &[u8]) -> Vec<(String, Result<Decoded, DecodeFailure>)> {
    let mut decoded = Vec::new();
    for (request, response) in exchanges(capture) {
        let (request, response) = (message(&request), message(&response));
        let mut words = request.start.split(' ');
        let route = match Route::recognise(words.next().unwrap(), words.next().unwrap(), None) {
            Recognised::Prediction(route) => route,
            Recognised::NeverTapped => continue,
            // As if the settings named the path.
            Recognised::Unknown => Route::configured(),
        };
        let exchange = RawExchange {
            route: &route,
            request_headers: &request.headers,
            request: &request.body,
            request_truncated: false,
            status: response.start.split(' ').nth(1).unwrap().parse().unwrap(),
            response_headers: &response.headers,
            response: &response.body,
            response_truncated: false,
        };
        let body = String::from_utf8_lossy(&request.body).into_owned();
        decoded.push((body, decode(&exchange, &Naming::default())));
    }
    decoded
}

fn columns(columns: &[Column]) -> Vec<(&str, Vec<f64>)> {
    let number = |value: &Value| match value {
        Value::Number(number) => *number,
        other => panic!("{other:?} is no number"),
    };
    columns.iter().map(|column| (column.name.as_str(), column.values.iter().map(number).collect())).collect()
}

#[test]
fn kserve_python_decodes() {
    let decoded = decode_capture(include_bytes!("../../tests/fixtures/captures/kserve-python-0.21-http.cap"));
    let of = |start: &str| -> Vec<&Result<Decoded, DecodeFailure>> {
        decoded.iter().filter(|(body, _)| body.starts_with(start)).map(|(_, decoded)| decoded).collect()
    };
    let two = of(r#"{"instances": [[6.8, 2.8, 4.8, 1.4], [6.0"#)[0].as_ref().unwrap();
    assert_eq!(two.batch.rows, 2);
    assert_eq!(
        columns(&two.batch.features),
        [("[0]", vec![6.8, 6.0]), ("[1]", vec![2.8, 3.4]), ("[2]", vec![4.8, 4.5]), ("[3]", vec![1.4, 1.6])]
    );
    assert_eq!(columns(&two.batch.outputs), [("prediction", vec![0.5, 1.5])]);

    let frames = of(r#"{"instances": [{"a""#)[0].as_ref().unwrap();
    assert_eq!(columns(&frames.batch.features), [("a", vec![1.0, 3.0]), ("b", vec![2.0, 4.0])]);

    let event = of(r#"{"specversion""#)[0].as_ref().unwrap();
    assert_eq!(event.batch.rows, 1);
    assert_eq!(columns(&event.batch.outputs), [("prediction", vec![0.5])]);
    assert_eq!(event.body_id.as_deref(), Some("36077800"));

    let v2 = of(r#"{"inputs": [{"name": "input-0""#)[0].as_ref().unwrap();
    assert_eq!(columns(&v2.batch.features)[3], ("input-0[3]", vec![1.4, 1.6]));
    assert_eq!(columns(&v2.batch.outputs), [("output-0", vec![0.5, 1.5])]);
    assert_eq!(v2.body_id.as_deref(), Some("284743fb-b45d-45c3-a307-6add6fb4dadd"), "invented by the server");
    assert_eq!(v2.model_version, None, "an explicit null");

    let binary = of(r#"{"id":"tc""#)[0].as_ref().unwrap_err();
    assert_eq!(binary.reason(), "unsupported_format");
}

#[test]
fn triton_decodes() {
    let decoded = decode_capture(include_bytes!("../../tests/fixtures/captures/triton-2.51-http.cap"));
    let json = decoded.iter().find(|(body, _)| body.starts_with(r#"{"id": "j1""#)).unwrap();
    let json = json.1.as_ref().unwrap();
    assert_eq!(json.batch.rows, 2);
    assert_eq!(json.batch.features.len(), 4);
    assert_eq!(json.batch.features[0].name, "x[0]");
    // Triton compressed the answer because the client said that it may.
    assert_eq!(json.notes.response_undecoded, Some("unsupported_encoding"));
    assert_eq!((json.batch.outputs.len(), json.body_id.as_deref()), (0, Some("j1")));

    let nan = decoded.iter().find(|(body, _)| body.contains("NaN")).unwrap().1.as_ref().unwrap();
    assert!(matches!(nan.batch.features[3].values[..], [Value::Number(number)] if number.is_nan()));
    assert_eq!(nan.notes.nonfinite_tokens, 1);

    let reasons: Vec<_> = decoded
        .iter()
        .map(|(_, decoded)| decoded.as_ref().map_or_else(DecodeFailure::reason, |_| "ok"))
        .collect();
    assert!(reasons.contains(&"unsupported_format"), "binary tensors: {reasons:?}");
    assert!(reasons.contains(&"unsupported_encoding"), "gzip: {reasons:?}");
}

#[test]
fn mlflow_decodes() {
    let decoded = decode_capture(include_bytes!("../../tests/fixtures/captures/mlflow-3.17.2-nan.cap"));
    assert_eq!(decoded.len(), 2);
    let shown = |decoded: &Result<Decoded, DecodeFailure>| {
        let decoded = decoded.as_ref().unwrap();
        (show(&decoded.batch.features), show(&decoded.batch.outputs), decoded.notes.nonfinite_tokens)
    };
    let outputs = "score=NaN,0.5 label='a','a'".to_owned();
    assert_eq!(shown(&decoded[0].1), ("x=1,2 c='u','v'".to_owned(), outputs.clone(), 1));
    assert_eq!(shown(&decoded[1].1), ("x=NaN,2 c='u','v'".to_owned(), outputs, 2));
}

#[test]
fn bentoml_decodes() {
    let decoded = decode_capture(include_bytes!("../../tests/fixtures/captures/bentoml-1.4-http.cap"));
    let shown: Vec<String> = decoded
        .iter()
        .map(|(_, decoded)| decoded.as_ref().unwrap())
        .map(|decoded| format!("{} -> {}", show(&decoded.batch.features), show(&decoded.batch.outputs)))
        .collect();
    assert_eq!(
        shown,
        [
            "input_data[0]=1,3 input_data[1]=2,4 -> prediction=3,7",
            "age=30,40 income=1.5,2.5 city='x','y' -> score=3,4 label='y','y'",
            "a=1,3 b=2,4 -> s=3,7",
            "a=1,3 b=2,4 -> s=3,7",
        ]
    );
}
