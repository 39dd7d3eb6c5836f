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
    decode_capture_as(capture, &Naming::default())
}

fn decode_capture_as(capture: &[u8], naming: &Naming) -> Vec<(String, Result<Decoded, DecodeFailure>)> {
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
        decoded.push((body, decode(&exchange, naming)));
    }
    decoded
}

pub(super) fn columns(columns: &[Column]) -> Vec<(&str, Vec<f64>)> {
    let number = |value: &Value| match value {
        Value::Number(number) => *number,
        other => panic!("{other:?} is no number"),
    };
    columns.iter().map(|column| (column.name.as_str(), column.values.iter().map(number).collect())).collect()
}

/// The values of single precision as they are on the wire.
pub(super) fn single(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
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

    let binary = of(r#"{"id":"tc""#)[0].as_ref().unwrap();
    let expected = [
        ("input-0[0]", single(&[6.8, 6.0])),
        ("input-0[1]", single(&[2.8, 3.4])),
        ("input-0[2]", single(&[4.8, 4.5])),
        ("input-0[3]", single(&[1.4, 1.6])),
    ];
    assert_eq!(columns(&binary.batch.features), expected);
    // An answer without any content type.
    assert_eq!(columns(&binary.batch.outputs), [("output-0", vec![0.5, 1.5])]);
    assert_eq!(binary.notes, Notes::default());

    let reasons = |what: &DecodeFailure| what.reason();
    let refused: Vec<_> =
        decoded.iter().filter_map(|(_, outcome)| outcome.as_ref().err().map(reasons)).collect();
    assert_eq!(refused, ["error_status"], "the server takes no gzip");
}

/// The rows that the binary exchanges of the Triton capture have in common.
#[track_caller]
pub(super) fn check_triton_rows(decoded: &Decoded) {
    let expected = [
        ("x[0]", single(&[5.1, -6.7])),
        ("x[1]", single(&[3.5, -3.0])),
        ("x[2]", single(&[1.4, -5.2])),
        ("x[3]", single(&[0.2, -2.3])),
    ];
    assert_eq!(columns(&decoded.batch.features), expected);
    assert_eq!((decoded.batch.rows, decoded.model_version.as_deref()), (2, Some("1")));
    assert_eq!(decoded.notes, Notes::default());
}

pub(super) fn texts(column: &Column) -> Vec<&str> {
    column.values.iter().map(|value| if let Value::Text(text) = value { text } else { "?" }).collect()
}

/// The outputs of the model in the Triton capture when all of them are asked for.
#[track_caller]
pub(super) fn check_triton_outputs(outputs: &[Column]) {
    let [score, h0, h1, label] = outputs else { panic!("{outputs:?}") };
    assert_eq!(columns(std::slice::from_ref(score)), [("score", single(&[10.2, -17.199_999]))]);
    // Half precision.
    assert_eq!(columns(std::slice::from_ref(h0)), [("h[0]", vec![5.101_562_5, -6.699_218_75])]);
    assert_eq!(columns(std::slice::from_ref(h1)), [("h[1]", vec![3.5, -3.0])]);
    assert_eq!((label.name.as_str(), texts(label)), ("label", vec!["yes", "no"]));
}

#[test]
fn triton_decodes() {
    let capture = include_bytes!("../../tests/fixtures/captures/triton-2.51-http.cap");
    let decoded = decode_capture(capture);
    let all: Vec<Result<&Decoded, &str>> =
        decoded.iter().map(|(_, outcome)| outcome.as_ref().map_err(DecodeFailure::reason)).collect();
    let [b1, gzip, deflate, b4, b5, j1, refused, raw, nan, wrong_shape] = all[..] else { panic!("{all:?}") };

    for (binary, id) in [(b1, "b1"), (gzip, "b2"), (deflate, "b3")] {
        let binary = binary.unwrap();
        check_triton_rows(binary);
        check_triton_outputs(&binary.batch.outputs);
        assert_eq!(binary.body_id.as_deref(), Some(id));
    }
    // One output as JSON, the other as bytes.
    let b4 = b4.unwrap();
    check_triton_rows(b4);
    let [score, label] = &b4.batch.outputs[..] else { panic!("{b4:?}") };
    assert_eq!(columns(std::slice::from_ref(score)), [("score", single(&[10.2, -17.199_999]))]);
    assert_eq!(texts(label), ["yes", "no"]);
    let b5 = b5.unwrap();
    check_triton_rows(b5);
    let classes = [("score.top1_index", vec![0.0, 0.0]), ("score.top1_value", vec![10.2, -17.199_999])];
    assert_eq!(columns(&b5.batch.outputs), classes);
    // Triton compressed the answer because the client said that it may.
    let j1 = j1.unwrap();
    check_triton_rows(j1);
    assert_eq!(j1.batch.outputs.len(), 2);
    assert_eq!(refused, Err("error_status"));
    assert_eq!(raw, Err("needs_metadata"));
    let nan = nan.unwrap();
    assert!(matches!(nan.batch.features[3].values[..], [Value::Number(number)] if number.is_nan()));
    assert!(matches!(nan.batch.outputs[0].values[..], [Value::Number(number)] if number.is_nan()));
    assert_eq!(nan.notes, Notes { nonfinite_tokens: 2, ..Notes::default() });
    assert_eq!(wrong_shape, Err("error_status"));

    // With names for four numbers the raw request is a row.
    let naming = Naming { features: vec!["a", "b", "c", "d"].into(), ..Naming::default() };
    let raw = decode_capture_as(capture, &naming).remove(7).1.unwrap();
    let row = [("a", vec![1.0]), ("b", vec![2.0]), ("c", vec![3.0]), ("d", vec![4.0])];
    assert_eq!(columns(&raw.batch.features), row);
    assert_eq!(raw.notes, Notes { assumed_datatype: 1, ..Notes::default() });
    assert_eq!(raw.batch.outputs.len(), 4);
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
