//! Every rule of the formats as a line in a table, and what holds for any body at all.

use proptest::prelude::*;

use super::*;
use crate::model::{Column, Value};

pub(super) fn route(protocol: Protocol) -> Route {
    Route { protocol, model: Some("m".into()), version: None }
}

pub(super) fn names(features: &[&str]) -> Naming {
    Naming { features: features.iter().map(|name| (*name).to_owned()).collect(), ..Naming::default() }
}

/// A whole message without headers.
pub(super) fn raw<'a>(route: &'a Route, body: &'a [u8]) -> RawSide<'a> {
    static NONE: std::sync::LazyLock<Headers> = std::sync::LazyLock::new(Headers::default);
    RawSide { route, headers: &NONE, body, truncated: false }
}

pub(super) fn decode_bytes(
    protocol: Protocol,
    request: &[u8],
    response: &[u8],
    features: &[&str],
) -> Result<Decoded, DecodeFailure> {
    let exchange = RawExchange {
        route: &route(protocol),
        request_headers: &Headers::default(),
        request,
        request_truncated: false,
        status: 200,
        response_headers: &Headers::default(),
        response,
        response_truncated: false,
    };
    decode(&exchange, &names(features))
}

/// Columns as `name=1,2 other=a,b`; missing is `_`, opaque `#`, text in quotes.
pub(super) fn show(columns: &[Column]) -> String {
    let value = |value: &Value| match value {
        Value::Missing => "_".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Opaque => "#".to_owned(),
    };
    let column = |column: &Column| {
        format!("{}={}", column.name, column.values.iter().map(value).collect::<Vec<_>>().join(","))
    };
    columns.iter().map(column).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(protocol: Protocol, request: &str, response: &str, names: &[&str], features: &str, outputs: &str) {
    let decoded = decode_bytes(protocol, request.as_bytes(), response.as_bytes(), names).unwrap();
    assert_eq!(show(&decoded.batch.features), features, "features of {request}");
    assert_eq!(show(&decoded.batch.outputs), outputs, "outputs of {response}");
    for column in decoded.batch.features.iter().chain(&decoded.batch.outputs) {
        assert_eq!(column.values.len(), decoded.batch.rows, "{}", column.name);
    }
}

#[track_caller]
fn v1(request: &str, response: &str, names: &[&str], features: &str, outputs: &str) {
    check(Protocol::KserveV1, request, response, names, features, outputs);
}

#[track_caller]
fn v2(request: &str, response: &str, names: &[&str], features: &str, outputs: &str) {
    check(Protocol::OpenInference, request, response, names, features, outputs);
}

#[test]
fn v1_rows_without_names() {
    let two = r#"{"instances":[[1,2],[3,4]]}"#;
    v1(two, r#"{"predictions":[5,6]}"#, &[], "[0]=1,3 [1]=2,4", "prediction=5,6");
    v1(two, r#"{"predictions":[5,6]}"#, &["a", "b"], "a=1,3 b=2,4", "prediction=5,6");
    v1(two, r#"{"predictions":[5,6]}"#, &["a", "b", "c"], "[0]=1,3 [1]=2,4", "prediction=5,6");
    v1(r#"{"instances":[1,2]}"#, r#"{"predictions":[5,6]}"#, &[], "[0]=1,2", "prediction=5,6");
    v1(
        r#"{"instances":["a","b"]}"#,
        r#"{"predictions":["x","y"]}"#,
        &["c"],
        "c='a','b'",
        "prediction='x','y'",
    );
    v1(
        r#"{"inputs":[[1,"a"],[null,"b"]]}"#,
        r#"{"predictions":[1,2]}"#,
        &[],
        "[0]=1,_ [1]='a','b'",
        "prediction=1,2",
    );
    v1(r#"{"instances":[[1,2],[3]]}"#, r#"{"predictions":[1,2]}"#, &[], "[0]=1,3 [1]=2,_", "prediction=1,2");
    v1(
        r#"{"instances":[{"b64":"aGk="},{"b64":"aG8="}]}"#,
        r#"{"predictions":[1,2]}"#,
        &[],
        "[0]=#,#",
        "prediction=1,2",
    );
    v1(r#"{"instances":[[[1,2],[3,4]]]}"#, r#"{"predictions":[1]}"#, &[], "[0]=# [1]=#", "prediction=1");
}

#[test]
fn v1_rows_with_names() {
    v1(
        r#"{"instances":[{"tag":"foo","signal":[1,2],"sensor":[[1,2],[3,4]]},{"tag":"bar","signal":[3,4],"sensor":[[4,5],[6,8]]}]}"#,
        r#"{"predictions":[1,2]}"#,
        &[],
        "tag='foo','bar' signal[0]=1,3 signal[1]=2,4 sensor=#,#",
        "prediction=1,2",
    );
    v1(
        r#"{"instances":[{"a":1},{"b":true}]}"#,
        r#"{"predictions":[1,2]}"#,
        &[],
        "a=1,_ b=_,true",
        "prediction=1,2",
    );
    v1(r#"{"inputs":[{"a":[5.1],"b":[3.5]}]}"#, r#"{"predictions":[1]}"#, &[], "a=5.1 b=3.5", "prediction=1");
    v1(r#"{"inputs":[[{"a":5.1},{"b":3.5}]]}"#, r#"{"predictions":[1]}"#, &[], "a=5.1 b=3.5", "prediction=1");
    v1(
        r#"{"inputs":[{"a":[1,2],"b":[3,4]}]}"#,
        r#"{"predictions":[1,2]}"#,
        &[],
        "a=1,2 b=3,4",
        "prediction=1,2",
    );
    // The same body is one row with vectors when there is one prediction.
    v1(
        r#"{"instances":[{"a":[1,2],"b":[3,4]}]}"#,
        r#"{"predictions":[9]}"#,
        &[],
        "a[0]=1 a[1]=2 b[0]=3 b[1]=4",
        "prediction=9",
    );
    v1(
        r#"{"instances":[{"image_bytes":"abc","a":1}]}"#,
        r#"{"predictions":[1]}"#,
        &[],
        "image_bytes=# a=1",
        "prediction=1",
    );
}

#[test]
fn v1_columns() {
    v1(
        r#"{"inputs":{"tag":["foo","bar"],"signal":[[1,2],[3,4]],"sensor":[[[1],[3]],[[4],[6]]]}}"#,
        r#"{"outputs":[7,8]}"#,
        &[],
        "tag='foo','bar' signal[0]=1,3 signal[1]=2,4 sensor=#,#",
        "prediction=7,8",
    );
    v1(
        r#"{"inputs":{"a":[1,2]}}"#,
        r#"{"outputs":{"score":[[0.1],[0.9]],"class":["x","y"],"whole":[1,2,3]}}"#,
        &[],
        "a=1,2",
        "score=0.1,0.9 class='x','y'",
    );
}

#[test]
fn v1_outputs() {
    let two = r#"{"instances":[1,2]}"#;
    v1(
        two,
        r#"{"predictions":[[0.1,0.9],[0.8,0.2]]}"#,
        &[],
        "[0]=1,2",
        "prediction[0]=0.1,0.8 prediction[1]=0.9,0.2",
    );
    v1(two, r#"{"predictions":[[0.1],[0.8]]}"#, &[], "[0]=1,2", "prediction=0.1,0.8");
    v1(
        two,
        r#"{"predictions":[{"score":NaN,"label":"a"},{"score":0.5,"label":"b"}]}"#,
        &[],
        "[0]=1,2",
        "score=NaN,0.5 label='a','b'",
    );
    v1(two, r#"{"message":"","batchId":"7c","predictions":[1,2]}"#, &[], "[0]=1,2", "prediction=1,2");
    v1(
        r#"{"instances":[[1,2]]}"#,
        r#"{"predictions":[0.1,0.9]}"#,
        &[],
        "[0]=1 [1]=2",
        "prediction[0]=0.1 prediction[1]=0.9",
    );
    v1(r#"{"inputs":{"a":[1]}}"#, r#"{"outputs":4}"#, &[], "a=1", "prediction=4");
    v1(two, r#"{"predictions":[1,2,3]}"#, &[], "[0]=1,2", "");
}

#[test]
fn v2_tensors() {
    let input = |shape: &str, data: &str| {
        format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"FP32","data":{data}}}]}}"#)
    };
    let output = |shape: &str, data: &str| {
        format!(
            r#"{{"model_name":"m","outputs":[{{"name":"y","shape":{shape},"datatype":"FP32","data":{data}}}]}}"#
        )
    };
    let y2 = output("[2]", "[5,6]");
    v2(&input("[2,2]", "[1,2,3,4]"), &y2, &[], "x[0]=1,3 x[1]=2,4", "y=5,6");
    v2(&input("[2,2]", "[[1,2],[3,4]]"), &y2, &["a", "b"], "a=1,3 b=2,4", "y=5,6");
    v2(&input("[2,1]", "[[1],[3]]"), &y2, &[], "x=1,3", "y=5,6");
    v2(&input("[2]", "[1,null]"), &y2, &[], "x=1,_", "y=5,6");
    v2(&input("[2]", "[NaN,-Infinity]"), &y2, &[], "x=NaN,-inf", "y=5,6");
    v2(&input("[2,2,2]", "[1,2,3,4,5,6,7,8]"), &y2, &[], "x=#,#", "y=5,6");
    v2(&input("[2,2,1]", "[1,2,3,4]"), &y2, &[], "x[0]=1,3 x[1]=2,4", "y=5,6");
    // A wrong shape: the nesting tells.
    v2(&input("[3]", "[[1,2],[3,4]]"), &y2, &[], "x[0]=1,3 x[1]=2,4", "y=5,6");
    // `[K]`: one row of K where names and answer say so, else K rows.
    v2(&input("[2]", "[1,2]"), &output("[1]", "[9]"), &["a", "b"], "a=1 b=2", "y=9");
    v2(&input("[2]", "[1,2]"), &y2, &["a", "b"], "x=1,2", "y=5,6");
    v2(&input("[1,2]", "[1,2]"), &output("[3]", "[7,8,9]"), &[], "x[0]=1 x[1]=2", "y[0]=7 y[1]=8 y[2]=9");
    v2(&input("[2,2]", "[1,2,3,4]"), &output("[3]", "[1,2,3]"), &[], "x[0]=1,3 x[1]=2,4", "");
    v2(
        &input("[2,2]", "[1,2,3,4]"),
        &output("[2,2]", "[1,2,3,4]"),
        &[],
        "x[0]=1,3 x[1]=2,4",
        "y[0]=1,3 y[1]=2,4",
    );
}

#[test]
fn v2_columns_and_content_types() {
    v2(
        r#"{"id":"7","parameters":{"content_type":"pd"},"inputs":[
            {"name":"First Name","datatype":"BYTES","parameters":{"content_type":"str"},"shape":[2],"data":["Joanne","Michael"]},
            {"name":"Age","datatype":"int32","shape":[2,1],"data":[34,null]},
            {"name":"ok","datatype":"BOOL","shape":[2],"data":[true,0]},
            {"name":"when","datatype":"BYTES","parameters":{"content_type":"datetime"},"shape":[2],"data":["1970-01-02T00:00:00Z","1970-01-03"]},
            {"name":"pic","datatype":"BYTES","parameters":{"content_type":"base64"},"shape":[2],"data":["aGk=","aG8="]}]}"#,
        r#"{"model_name":"df","model_version":"v1","id":"srv","parameters":null,"outputs":[
            {"name":"score","shape":[2,1],"datatype":"FP64","data":[null,0.5]},
            {"name":"label","shape":[2,1],"datatype":"BYTES","data":["no","yes"]}]}"#,
        &[],
        "First Name='Joanne','Michael' Age=34,_ ok=true,false when=86400,172800 pic=#,#",
        "score=_,0.5 label='no','yes'",
    );
}

#[test]
fn v2_inputs_of_another_length_are_left_out_and_noted() {
    let request = r#"{"inputs":[{"name":"a","shape":[2],"datatype":"FP32","data":[1,2]},{"name":"t","shape":[1],"datatype":"FP32","data":[9]}]}"#;
    let two = r#"{"outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[1,2]}]}"#;
    v2(request, two, &[], "a=1,2", "y=1,2");
    let decoded = decode_bytes(Protocol::OpenInference, request.as_bytes(), two.as_bytes(), &[]).unwrap();
    assert_eq!(decoded.notes.each().collect::<Vec<_>>(), [("inputs_left_out", 1)]);
    let failure = decode_bytes(Protocol::OpenInference, request.as_bytes(), b"{}", &[]).unwrap_err();
    assert_eq!(failure, DecodeFailure::ShapeMismatch("inputs[1]".into()));
}

#[test]
fn v2_ids_and_versions() {
    let input = r#""inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]"#;
    let output = r#""outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[1]}]"#;
    let id = |request: &str, response: &str| {
        let request = format!("{{{request}{input}}}");
        let response = format!("{{{response}{output}}}");
        let decoded =
            decode_bytes(Protocol::OpenInference, request.as_bytes(), response.as_bytes(), &[]).unwrap();
        (decoded.body_id, decoded.model_version)
    };
    assert_eq!(id("", ""), (None, None));
    assert_eq!(id(r#""id":"a","#, r#""id":"b","model_version":"3","#), (Some("a".into()), Some("3".into())));
    assert_eq!(id("", r#""id":"b","model_version":null,"#), (Some("b".into()), None));
}

#[test]
fn a_configured_path_is_told_by_its_body() {
    let v2 = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    check(Protocol::Configured, v2, "{}", &[], "x=1", "");
    check(
        Protocol::Configured,
        r#"{"instances":[[1]]}"#,
        r#"{"predictions":[2]}"#,
        &[],
        "[0]=1",
        "prediction=2",
    );
}

#[test]
fn what_cannot_be_read_has_its_reason() {
    let cases = [
        (Protocol::KserveV1, "{}", "missing_field"),
        (Protocol::KserveV1, r#"{"instances":[]}"#, "no_rows"),
        (Protocol::KserveV1, r#"{"instances":7}"#, "missing_field"),
        (Protocol::KserveV1, r#"{"inputs":{"a":[1],"b":[1,2]}}"#, "shape_mismatch"),
        (Protocol::KserveV1, "temp=21", "not_json"),
        (Protocol::KserveV1, "", "not_json"),
        (Protocol::OpenInference, "{}", "missing_field"),
        (Protocol::OpenInference, r#"{"inputs":[]}"#, "no_rows"),
        (Protocol::OpenInference, r#"{"inputs":[{"shape":[1],"data":[1]}]}"#, "missing_field"),
        (Protocol::OpenInference, r#"{"inputs":[{"name":"x","shape":[3],"data":[1,2]}]}"#, "shape_mismatch"),
        (Protocol::OpenInference, r#"{"inputs":[{"name":"x","shape":[-1],"data":[1]}]}"#, "missing_field"),
        (
            Protocol::OpenInference,
            r#"{"inputs":[{"name":"x","shape":[2,2],"data":[[1,2],[3]]}]}"#,
            "shape_mismatch",
        ),
        (
            Protocol::OpenInference,
            r#"{"inputs":[{"name":"x","shape":[1],"parameters":{"binary_data_size":4}}]}"#,
            "unsupported_format",
        ),
        (Protocol::OpenInference, r#"{"inputs":[{"name":"x","shape":[0],"data":[]}]}"#, "no_rows"),
        (Protocol::OpenInference, r#"{"inputs":[{"name":"x","shape":[99999999,0],"data":[]}]}"#, "too_large"),
        (Protocol::Invocations, "{}", "unsupported_format"),
    ];
    for (protocol, request, reason) in cases {
        let failure = decode_bytes(protocol, request.as_bytes(), b"{}", &[]).unwrap_err();
        assert_eq!(failure.reason(), reason, "{request}: {failure}");
    }
    let deep = "[".repeat(10_000);
    let failure = decode_bytes(Protocol::KserveV1, deep.as_bytes(), b"", &[]).unwrap_err();
    assert_eq!(failure.reason(), "too_deep");
    let rows = format!(r#"{{"instances":[{}0]}}"#, "0,".repeat(MAX_ROWS));
    let failure = decode_bytes(Protocol::KserveV1, rows.as_bytes(), b"", &[]).unwrap_err();
    assert_eq!(failure.reason(), "too_large");
}

#[test]
fn headers_flags_and_status_decide_before_the_body() {
    let none = Headers::default();
    let route = route(Protocol::KserveV1);
    let good = RawExchange {
        route: &route,
        request_headers: &none,
        request: br#"{"instances":[1]}"#,
        request_truncated: false,
        status: 200,
        response_headers: &none,
        response: br#"{"predictions":[1]}"#,
        response_truncated: false,
    };
    let reason = |exchange: RawExchange<'_>| decode(&exchange, &Naming::default()).unwrap_err().reason();
    let undecoded = |exchange: RawExchange<'_>| {
        let decoded = decode(&exchange, &Naming::default()).unwrap();
        assert_eq!((decoded.batch.rows, decoded.batch.outputs.len()), (1, 0));
        decoded.notes.response_undecoded
    };
    let gzip = Headers::pick([("Content-Encoding", b"gzip".as_slice())]);
    assert_eq!(reason(RawExchange { status: 500, ..good }), "error_status");
    assert_eq!(reason(RawExchange { request_truncated: true, ..good }), "truncated");
    assert_eq!(reason(RawExchange { request_headers: &gzip, ..good }), "unsupported_encoding");
    assert_eq!(undecoded(RawExchange { response_truncated: true, ..good }), Some("truncated"));
    assert_eq!(undecoded(RawExchange { response_headers: &gzip, ..good }), Some("unsupported_encoding"));
    assert_eq!(undecoded(RawExchange { response: b"<html>", ..good }), Some("not_json"));
}

#[test]
fn messages_never_hold_content() {
    let secret = "4111111111111111";
    let bodies = [
        format!(r#"{{"instances":"{secret}"}}"#),
        format!(r#"{{"instances":[{secret}"#),
        format!(r#"{{"inputs":[{{"name":"x","shape":[9],"data":["{secret}"]}}]}}"#),
    ];
    for body in bodies {
        for protocol in [Protocol::KserveV1, Protocol::OpenInference] {
            if let Err(failure) = decode_bytes(protocol, body.as_bytes(), b"{}", &[]) {
                assert!(!format!("{failure} {failure:?}").contains(secret), "{failure:?}");
            }
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        any::<f64>().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Bool),
        "\\PC{0,6}".prop_map(Value::Text),
    ]
}

/// A value as Python's encoder prints it.
fn print(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_nan() => "NaN".into(),
        Value::Number(number) if number.is_infinite() => {
            if *number > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        Value::Number(number) => serde_json::json!(number).to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Text(text) => serde_json::json!(text).to_string(),
        Value::Missing | Value::Opaque => "null".into(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (a, b) => a == b,
    }
}

fn any_rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    (1_usize..6, 1_usize..6).prop_flat_map(|(rows, width)| {
        proptest::collection::vec(proptest::collection::vec(any_value(), width), rows)
    })
}

fn check_cells(rows: &[Vec<Value>], columns: &[Column]) -> Result<(), TestCaseError> {
    prop_assert_eq!(columns.len(), rows[0].len());
    for (j, column) in columns.iter().enumerate() {
        for (i, value) in column.values.iter().enumerate() {
            prop_assert!(same(value, &rows[i][j]), "{:?} is not {:?}", value, rows[i][j]);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn v1_rows_survive_print_and_decode(rows in any_rows()) {
        let lists: Vec<String> = rows.iter().map(|row| format!("[{}]", row.iter().map(print).collect::<Vec<_>>().join(","))).collect();
        let request = format!(r#"{{"instances":[{}]}}"#, lists.join(","));
        let response = format!(r#"{{"predictions":[{}]}}"#, lists.join(","));
        let decoded = decode_bytes(Protocol::KserveV1, request.as_bytes(), response.as_bytes(), &[]).unwrap();
        prop_assert_eq!(decoded.batch.rows, rows.len());
        check_cells(&rows, &decoded.batch.features)?;
        check_cells(&rows, &decoded.batch.outputs)?;
    }

    #[test]
    fn v1_named_rows_and_columns_decode_alike(rows in any_rows()) {
        let named: Vec<String> = rows.iter().map(|row| {
            let members: Vec<String> = row.iter().enumerate().map(|(j, value)| format!("\"c{j}\":{}", print(value))).collect();
            format!("{{{}}}", members.join(","))
        }).collect();
        let by_row = format!(r#"{{"instances":[{}]}}"#, named.join(","));
        let columns: Vec<String> = (0..rows[0].len()).map(|j| {
            let values: Vec<String> = rows.iter().map(|row| print(&row[j])).collect();
            format!("\"c{j}\":[{}]", values.join(","))
        }).collect();
        let by_column = format!(r#"{{"inputs":{{{}}}}}"#, columns.join(","));
        let by_row = decode_bytes(Protocol::KserveV1, by_row.as_bytes(), b"{}", &[]).unwrap();
        let by_column = decode_bytes(Protocol::KserveV1, by_column.as_bytes(), b"{}", &[]).unwrap();
        check_cells(&rows, &by_row.batch.features)?;
        check_cells(&rows, &by_column.batch.features)?;
    }

    #[test]
    fn v2_tensors_survive_print_and_decode(rows in any_rows(), nested in any::<bool>()) {
        let lists: Vec<String> = rows.iter().map(|row| row.iter().map(print).collect::<Vec<_>>().join(",")).collect();
        let data = if nested { format!("[[{}]]", lists.join("],[")) } else { format!("[{}]", lists.join(",")) };
        let tensor = format!(r#"[{{"name":"x","datatype":"FP64","shape":[{},{}],"data":{data}}}]"#, rows.len(), rows[0].len());
        let request = format!(r#"{{"inputs":{tensor}}}"#);
        let response = format!(r#"{{"outputs":{tensor}}}"#);
        let decoded = decode_bytes(Protocol::OpenInference, request.as_bytes(), response.as_bytes(), &[]).unwrap();
        prop_assert_eq!(decoded.batch.rows, rows.len());
        check_cells(&rows, &decoded.batch.features)?;
        check_cells(&rows, &decoded.batch.outputs)?;
    }

    #[test]
    fn any_document_keeps_every_column_as_long_as_the_rows(
        request in "[\\[\\]{},:\"a1.eN-]{0,40}|\\{\"(instances|inputs)\":[\\[\\]{},:\"ab1-]{0,40}\\}",
        response in "\\{\"(predictions|outputs)\":[\\[\\]{},:\"ab1-]{0,40}\\}",
    ) {
        for protocol in [Protocol::KserveV1, Protocol::OpenInference, Protocol::Configured] {
            if let Ok(decoded) = decode_bytes(protocol, request.as_bytes(), response.as_bytes(), &["a"]) {
                for column in decoded.batch.features.iter().chain(&decoded.batch.outputs) {
                    prop_assert_eq!(column.values.len(), decoded.batch.rows);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        request in proptest::collection::vec(any::<u8>(), 0..80),
        response in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        for protocol in [Protocol::KserveV1, Protocol::OpenInference, Protocol::Configured] {
            let outcome = decode_bytes(protocol, &request, &response, &["a", "b"]);
            prop_assert!(outcome.is_ok() || outcome.is_err());
        }
    }
}
