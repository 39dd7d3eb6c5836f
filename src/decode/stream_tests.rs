//! Streams: which answer belongs to which request, in both schemas of `ModelStreamInfer` and in events.

use super::binary_tests::{frame, request, response};
use super::protobuf::tests::Writer;
use super::tests::show;
use super::*;

const GRPC: Protocol = Protocol::OpenInferenceGrpc;
const SSE: Protocol = Protocol::OpenInferenceStream;

fn tensor(name: &str, values: &[u64]) -> Writer {
    let rows = u64::try_from(values.len()).unwrap();
    Writer::default()
        .bytes(1, name)
        .bytes(2, "INT64")
        .packed(3, [rows, 1])
        .message(5, Writer::default().packed(3, values.iter().copied()))
}

/// A request or, alike in these fields, a response.
fn message(id: &str, name: &str, values: &[u64]) -> Writer {
    Writer::default().bytes(1, "m").bytes(3, id).message(5, tensor(name, values))
}

fn wrapped(response: Writer) -> Writer {
    Writer::default().message(2, response)
}

fn final_mark(id: &str) -> Writer {
    let entry =
        Writer::default().bytes(1, "triton_final_response").message(2, Writer::default().varint(1, 1));
    wrapped(Writer::default().bytes(1, "m").bytes(3, id).message(4, entry))
}

fn frames(messages: &[Writer]) -> Vec<u8> {
    messages.iter().flat_map(|message| frame(&message.0)).collect()
}

/// Rows of a stream as `features | outputs`, with what was noted; or the reason why there are none.
#[track_caller]
fn check(requests: &[Writer], responses: &[Writer], expected: &str, notes: &[(&str, u64)]) {
    let asked = request(GRPC, &[], &frames(requests)).unwrap();
    let answered = response(GRPC, &[("grpc-status", "0")], &frames(responses));
    match join(asked, Some(answered), &Naming::default()) {
        Ok(decoded) => {
            let shown = format!("{} | {}", show(&decoded.batch.features), show(&decoded.batch.outputs));
            assert_eq!(shown, expected);
            assert_eq!(decoded.notes.each().collect::<Vec<_>>(), notes);
            for column in decoded.batch.features.iter().chain(&decoded.batch.outputs) {
                assert_eq!(column.values.len(), decoded.batch.rows, "{}", column.name);
            }
        }
        Err(failure) => assert_eq!(failure.reason(), expected),
    }
}

#[test]
fn answers_pair_by_id_whatever_their_order() {
    let requests = [message("a", "x", &[1, 2]), message("b", "x", &[3])];
    let (a, b) = (|| message("a", "y", &[10, 20]), || message("b", "y", &[30]));
    check(&requests, &[b(), a()], "x=1,2,3 | y=10,20,30", &[]);
    check(&requests, &[wrapped(b()), wrapped(a())], "x=1,2,3 | y=10,20,30", &[]);
    // Decoupled: none, one, or several, and a mark at the end.
    check(&requests, &[wrapped(a()), final_mark("a"), final_mark("b")], "x=1,2,3 | y=10,20,_", &[]);
    check(&requests, &[a(), b(), b()], "x=1,2,3 | y=10,20,_", &[("unpaired", 2)]);
    check(&requests, &[a(), b(), message("c", "y", &[5])], "x=1,2,3 | y=10,20,30", &[("unpaired", 1)]);
    check(&requests, &[], "x=1,2,3 | ", &[]);
}

#[test]
fn answers_pair_in_order_when_there_are_as_many() {
    let requests = [message("", "x", &[1]), message("", "x", &[2])];
    let answers = [message("s1", "y", &[10]), message("s2", "y", &[20])];
    check(&requests, &answers, "x=1,2 | y=10,20", &[]);
    check(&requests, &answers[..1], "x=1,2 | ", &[("unpaired", 1)]);
    let alike = [message("same", "x", &[1]), message("same", "x", &[2])];
    let answers = [message("same", "y", &[10]), message("same", "y", &[20])];
    check(&alike, &answers, "x=1,2 | y=10,20", &[]);
}

#[test]
fn columns_of_a_stream_are_put_one_under_the_other() {
    let requests = [message("a", "x", &[1, 2]), message("b", "z", &[3])];
    let answers = [message("a", "y", &[10, 20]), message("b", "w", &[30])];
    check(&requests, &answers, "x=1,2,_ z=_,_,3 | y=10,20,_ w=_,_,30", &[]);
    // An answer with another number of rows is noted where it is.
    let answers = [message("a", "y", &[10, 20, 30]), message("b", "y", &[40])];
    check(&requests, &answers, "x=1,2,_ z=_,_,3 | y=_,_,40", &[("row_mismatch", 1)]);
}

#[test]
fn errors_within_a_stream_are_no_answers() {
    let error = || Writer::default().bytes(1, "no such model");
    let one = [message("a", "x", &[1])];
    check(&one, &[error()], "error_answer", &[]);
    check(&one, &[error().message(2, Writer::default())], "error_answer", &[]);
    let two = [message("a", "x", &[1]), message("b", "x", &[2])];
    check(&two, &[error(), wrapped(message("b", "y", &[20]))], "x=1,2 | y=_,20", &[]);
}

#[test]
fn the_two_schemas_are_told_apart_by_their_fields() {
    // A version that is text, and a response without outputs.
    let plain = Writer::default().bytes(1, "m").bytes(2, "v1");
    let one = [message("a", "x", &[1])];
    check(&one, &[plain.message(5, tensor("y", &[10]))], "x=1 | y=10", &[]);
    let raw = Writer::default()
        .bytes(1, "m")
        .bytes(2, "1")
        .message(5, Writer::default().bytes(1, "y").bytes(2, "UINT8").packed(3, [1]))
        .bytes(6, [9]);
    check(&one, std::slice::from_ref(&raw), "x=1 | y=9", &[]);
    check(&one, &[wrapped(raw)], "x=1 | y=9", &[]);
}

#[test]
fn the_sides_of_a_stream_can_be_kept_and_joined_later() {
    let asked = request(GRPC, &[], &frames(&[message("a", "x", &[1]), message("b", "x", &[2])])).unwrap();
    let mut answered =
        response(GRPC, &[], &frames(&[message("b", "y", &[20]), message("a", "y", &[10])])).unwrap();
    assert_eq!(asked.rows(), 2);
    let mut seen = 0;
    answered.visit_values(|name, values| {
        assert_eq!(name, "y");
        seen += values.len();
    });
    assert_eq!(seen, 2);
    let kept: RequestSide = serde_json::from_str(&serde_json::to_string(&asked).unwrap()).unwrap();
    let answer: ResponseSide = serde_json::from_str(&serde_json::to_string(&answered).unwrap()).unwrap();
    let decoded = join(kept, Some(Ok(answer)), &Naming::default()).unwrap();
    assert_eq!(show(&decoded.batch.outputs), "y=10,20");
    answered.retain(|name| name != "y");
    let decoded = join(asked, Some(Ok(answered)), &Naming::default()).unwrap();
    assert_eq!(decoded.batch.outputs, []);
}

/// Outputs of a stream of events for a request with one row, or the reason why there are none.
#[track_caller]
fn check_events(body: &str, expected: &str, notes: &[(&str, u64)]) {
    let ask = br#"{"id":"s1","inputs":[{"name":"t","datatype":"BYTES","shape":[1],"data":["hi"]}]}"#;
    let asked = request(SSE, &[], ask).unwrap();
    let answered = response(SSE, &[("content-type", "text/event-stream")], body.as_bytes());
    match join(asked, Some(answered), &Naming::default()) {
        Ok(decoded) => {
            assert_eq!(show(&decoded.batch.features), "t='hi'");
            assert_eq!(show(&decoded.batch.outputs), expected);
            assert_eq!(decoded.notes.each().collect::<Vec<_>>(), notes);
        }
        Err(failure) => assert_eq!(failure.reason(), expected),
    }
}

#[test]
fn events_are_answers() {
    let answer = |id: &str, text: &str| {
        format!(
            r#"{{"model_name":"df","id":"{id}","outputs":[{{"name":"y","shape":[1],"datatype":"BYTES","data":["{text}"]}}]}}"#
        )
    };
    let one = answer("s1", "a");
    check_events(&format!("data: {one}\n\n"), "y='a'", &[]);
    check_events(&one, "y='a'", &[]);
    let three = ["a", "b", "c"].map(|text| format!("data: {}\n\n", answer("s1", text))).concat();
    check_events(&three, "", &[("unpaired", 3)]);
    check_events("data: {\"error\":\"oom\"}\n\n", "error_answer", &[]);
    check_events("data: {\"outp", "", &[("response_undecoded", 1)]);
    check_events("<html>", "", &[("response_undecoded", 1)]);
    check_events("", "", &[("response_undecoded", 1)]);
}

#[test]
fn texts_in_pieces_are_one_row() {
    let asked = request(SSE, &[], br#"{"text_input":"four","stream":true}"#).unwrap();
    let piece = |text: &str| {
        format!("data: {{\"model_name\":\"m\",\"model_version\":\"1\",\"text_output\":\"{text}\"}}\n\n")
    };
    let body = [piece("ab"), piece("c")].concat();
    let answered = response(SSE, &[], body.as_bytes()).unwrap();
    let decoded = join(asked.clone(), Some(Ok(answered)), &Naming::default()).unwrap();
    assert_eq!(show(&decoded.batch.outputs), "completion_chars=3 events=2");
    assert_eq!(decoded.model_version.as_deref(), Some("1"));
    let broken = [piece("ab"), "data: {\"error\":\"oom\"}\n\n".to_owned()].concat();
    let failed = response(SSE, &[], broken.as_bytes());
    assert_eq!(join(asked, Some(failed), &Naming::default()).unwrap_err().reason(), "error_answer");

    let chunks = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"g\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n\
        data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"g\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":7}}\n\ndata: [DONE]\n\n";
    let answered = response(Protocol::OpenAi, &[], chunks.as_bytes()).unwrap();
    assert_eq!(answered.body_id.as_deref(), Some("c1"));
    assert_eq!(show(&answered.parts[0].columns), "choices=1 finish_reason='stop' total_tokens=7 events=2");
}
