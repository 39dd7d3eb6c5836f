//! What real servers and clients send although no specification would have it so, a test each.

use super::tests::{check, decode_bytes, raw, route, show};
use super::*;

#[track_caller]
fn shown(protocol: Protocol, request: &str, response: &str) -> String {
    let decoded = decode_bytes(protocol, request.as_bytes(), response.as_bytes(), &[]).unwrap();
    format!("{} -> {}", show(&decoded.batch.features), show(&decoded.batch.outputs))
}

const X: &str = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]}"#;

#[test]
fn bare_nan_and_infinity_are_values_in_a_successful_answer() {
    let cases = [
        (
            Protocol::Invocations,
            r#"{"dataframe_records":[{"a":NaN},{"a":-Infinity}]}"#,
            r#"{"predictions":[NaN,Infinity]}"#,
            "a=NaN,-inf -> prediction=NaN,inf",
        ),
        (
            Protocol::KserveV1,
            r#"{"instances":[[NaN],[1]]}"#,
            r#"{"predictions":[-Infinity,2]}"#,
            "[0]=NaN,1 -> prediction=-inf,2",
        ),
        (
            Protocol::OpenInference,
            r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,NaN]}]}"#,
            r#"{"outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[NaN,0]}]}"#,
            "x=1,NaN -> y=NaN,0",
        ),
        (
            Protocol::SeldonV1,
            r#"{"data":{"ndarray":[[NaN]]}}"#,
            r#"{"data":{"ndarray":[[Infinity]]}}"#,
            "[0]=NaN -> prediction=inf",
        ),
        (Protocol::FreeJson, r#"{"a":NaN}"#, r#"{"y":NaN}"#, "a=NaN -> y=NaN"),
    ];
    for (protocol, request, response, expected) in cases {
        assert_eq!(shown(protocol, request, response), expected);
        let decoded = decode_bytes(protocol, request.as_bytes(), response.as_bytes(), &[]).unwrap();
        assert!(decoded.notes.nonfinite_tokens >= 2, "{request}");
    }
}

#[test]
fn null_for_nan_is_missing() {
    let answer = r#"{"outputs":[{"name":"y","shape":[2],"datatype":"FP64","data":[null,0.5]}]}"#;
    assert_eq!(shown(Protocol::OpenInference, X, answer), "x=1,2 -> y=_,0.5");
}

#[test]
fn no_or_a_wrong_content_type_changes_nothing() {
    let bodies = [
        (Protocol::KserveV1, r#"{"instances":[[1]]}"#, "[0]=1"),
        (Protocol::OpenInference, X, "x=1,2"),
        (Protocol::Invocations, r#"{"inputs":{"a":[1]}}"#, "a=1"),
        (Protocol::SeldonV1, r#"{"data":{"ndarray":[[1]]}}"#, "[0]=1"),
        (Protocol::AzureScore, r#"{"data":[{"a":1}]}"#, "a=1"),
        (Protocol::Configured, r#"{"rows":[{"a":1}]}"#, "a=1"),
    ];
    for (protocol, body, expected) in bodies {
        let kinds =
            ["", "text/plain", "application/x-www-form-urlencoded", "text/csv", "application/octet-stream"];
        for kind in kinds {
            let headers = Headers::pick([("content-type", kind.as_bytes())]);
            let route = route(protocol);
            let side = decode_request(
                &RawSide { headers: &headers, ..raw(&route, body.as_bytes()) },
                &Naming::default(),
            );
            let decoded = join(side.unwrap(), None, &Naming::default()).unwrap();
            assert_eq!(show(&decoded.batch.features), expected, "{kind}: {body}");
        }
    }
}

#[test]
fn a_shape_that_lies_gives_way_to_the_nesting() {
    let lying = r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[[1,2],[3,4]]}]}"#;
    assert_eq!(shown(Protocol::OpenInference, lying, "{}"), "x[0]=1,3 x[1]=2,4 -> ");
    for hopeless in [
        r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,2]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[9007199254740993,9007199254740993],"datatype":"FP32","data":[1]}]}"#,
    ] {
        let failure = decode_bytes(Protocol::OpenInference, hopeless.as_bytes(), b"{}", &[]).unwrap_err();
        assert!(["shape_mismatch", "missing_field"].contains(&failure.reason()), "{failure}");
    }
}

#[test]
fn a_vector_may_be_rows_or_one_row() {
    let answer = |shape: &str, data: &str| {
        format!(r#"{{"outputs":[{{"name":"y","shape":{shape},"datatype":"FP32","data":{data}}}]}}"#)
    };
    assert_eq!(shown(Protocol::OpenInference, X, &answer("[2]", "[3,4]")), "x=1,2 -> y=3,4");
    assert_eq!(shown(Protocol::OpenInference, X, &answer("[1]", "[3]")), "x[0]=1 x[1]=2 -> y=3");
}

#[test]
fn ragged_rows_lack_values_and_are_noted() {
    let request = br#"{"instances":[[1,2,3],[4],[]]}"#;
    let decoded = decode_bytes(Protocol::KserveV1, request, b"{}", &[]).unwrap();
    assert_eq!(show(&decoded.batch.features), "[0]=1,4,_ [1]=2,_,_ [2]=3,_,_");
    assert_eq!(decoded.notes.ragged_rows, 2);
    let ragged = br#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3]]}]}"#;
    assert_eq!(
        decode_bytes(Protocol::OpenInference, ragged, b"{}", &[]).unwrap_err().reason(),
        "shape_mismatch"
    );
}

#[test]
fn explicit_nulls_are_absences() {
    let answer = br#"{"model_name":"m","model_version":null,"id":null,"parameters":null,"outputs":[{"name":"y","shape":[2],"datatype":"FP32","parameters":null,"data":[3,4]}]}"#;
    let decoded = decode_bytes(Protocol::OpenInference, X.as_bytes(), answer, &[]).unwrap();
    assert_eq!((decoded.body_id, decoded.model_version), (None, None));
    assert_eq!(show(&decoded.batch.outputs), "y=3,4");
    let both = r#"{"instances":null,"inputs":[[1]]}"#;
    assert_eq!(
        shown(Protocol::KserveV1, both, r#"{"predictions":null,"outputs":[2]}"#),
        "[0]=1 -> prediction=2"
    );
}

#[test]
fn an_id_that_the_server_invented_is_taken_where_there_is_no_other() {
    let answer = br#"{"id":"invented","outputs":[]}"#;
    let id = |request: &str| {
        decode_bytes(Protocol::OpenInference, request.as_bytes(), answer, &[]).unwrap().body_id.unwrap()
    };
    assert_eq!(id(X), "invented");
    assert_eq!(id(&X.replacen('{', r#"{"id":"mine","#, 1)), "mine");
}

#[test]
fn outputs_come_in_the_order_of_the_model_and_by_name() {
    let request = X.replacen('{', r#"{"outputs":[{"name":"b"},{"name":"a"}],"#, 1);
    let answer = r#"{"outputs":[{"name":"a","shape":[2],"datatype":"FP32","data":[3,4]},{"name":"b","shape":[2],"datatype":"BYTES","data":["u","v"]}]}"#;
    assert_eq!(shown(Protocol::OpenInference, &request, answer), "x=1,2 -> a=3,4 b='u','v'");
}

#[test]
fn inputs_are_rows_columns_or_pieces_of_a_frame() {
    let two = r#"{"predictions":[1,2]}"#;
    let cases = [
        (r#"{"inputs":[[1,2],[3,4]]}"#, "[0]=1,3 [1]=2,4"),
        (r#"{"inputs":[{"a":1},{"a":2}]}"#, "a=1,2"),
        (r#"{"inputs":{"a":[1,2],"b":[[5,6],[7,8]]}}"#, "a=1,2 b[0]=5,7 b[1]=6,8"),
        (r#"{"inputs":[{"a":[1],"b":[3]},{"a":[2],"b":[4]}]}"#, "a=1,2 b=3,4"),
        (r#"{"inputs":[[{"a":1},{"b":3}],[{"a":2},{"b":4}]]}"#, "a=1,2 b=3,4"),
        (r#"{"inputs":[{"a":[1,2],"b":[3,4]}]}"#, "a=1,2 b=3,4"),
        (r#"{"inputs":["u","v"]}"#, "[0]='u','v'"),
    ];
    for (request, features) in cases {
        check(Protocol::KserveV1, request, two, &[], features, "prediction=1,2");
    }
}

#[test]
fn base64_and_bytes_are_never_looked_into() {
    let secret = "c2VjcmV0";
    let bodies = [
        (Protocol::KserveV1, format!(r#"{{"instances":[{{"b64":"{secret}"}}]}}"#)),
        (
            Protocol::KserveV1,
            format!(r#"{{"instances":[{{"image":{{"b64":"{secret}"}},"raw_bytes":"{secret}"}}]}}"#),
        ),
        (Protocol::TensorflowExamples, format!(r#"{{"examples":[{{"image":{{"b64":"{secret}"}}}}]}}"#)),
        (
            Protocol::OpenInference,
            format!(
                r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"BYTES","parameters":{{"content_type":"base64"}},"data":["{secret}"]}}]}}"#
            ),
        ),
        (Protocol::FreeJson, format!(r#"{{"rows":[{{"image":{{"b64":"{secret}"}}}}]}}"#)),
    ];
    for (protocol, body) in bodies {
        let decoded = decode_bytes(protocol, body.as_bytes(), b"{}", &[]).unwrap();
        assert!(!format!("{decoded:?}").contains(secret), "{body}");
        assert_eq!(decoded.batch.rows, 1);
    }
}

#[test]
fn explanations_are_not_predictions() {
    for path in ["/v1/models/m:explain", "/v1/models/m%3Aexplain", "/v2/models/m/explain"] {
        assert_eq!(Route::recognise("POST", path, None), Recognised::NeverTapped, "{path}");
    }
}

#[test]
fn numbers_beyond_floats_and_other_oddities_of_json() {
    let deep = format!("{{\"instances\":{}", "[".repeat(500_000));
    for protocol in [
        Protocol::KserveV1,
        Protocol::OpenInference,
        Protocol::Invocations,
        Protocol::SeldonV1,
        Protocol::FreeJson,
    ] {
        let failure = decode_bytes(protocol, deep.as_bytes(), b"{}", &[]).unwrap_err();
        assert_eq!(failure, DecodeFailure::TooDeep(Side::Request));
    }
    let v1 = |request: &[u8]| {
        let decoded = decode_bytes(Protocol::KserveV1, request, b"{}", &[]).unwrap();
        show(&decoded.batch.features)
    };
    assert_eq!(
        v1(br#"{"instances":[[1e400],[-1e400],[18446744073709551616]]}"#),
        "[0]=inf,-inf,18446744073709552000"
    );
    assert_eq!(v1(br#"{"instances":[{"a":1,"a":2}]}"#), "a=2");
    assert_eq!(v1(br#"{"instances":[1],"instances":[2,3]}"#), "[0]=2,3");
    assert_eq!(v1(b"\xef\xbb\xbf{\"instances\":[[1]]}"), "[0]=1");
    assert_eq!(v1(br#"{"instances":[["\ud800"],["ok"]]}"#), "[0]=#,'ok'");
    assert_eq!(v1(b"{\"instances\":[[\"\xff\"],[\"ok\"]]}"), "[0]=#,'ok'");
}

#[test]
fn model_names_may_be_percent_encoded() {
    let Recognised::Prediction(route) = Route::recognise("POST", "/v1/models/a%20b%2Fc%3Apredict", None)
    else {
        panic!("not recognised");
    };
    assert_eq!((route.protocol, route.model.as_deref()), (Protocol::KserveV1, Some("a b/c")));
}

#[test]
fn an_error_that_repeats_the_input_is_not_read() {
    let body = br#"{"error_code":"BAD_REQUEST","message":"cannot convert 4111111111111111"}"#;
    for protocol in [Protocol::Invocations, Protocol::SeldonV1, Protocol::FreeJson] {
        for status in [400, 422, 500] {
            let failure =
                decode_response(&raw(&route(protocol), body), status, &Naming::default()).unwrap_err();
            assert_eq!(failure, DecodeFailure::ErrorStatus(status));
        }
    }
    // Under a status of success it is no prediction either.
    for protocol in [Protocol::Invocations, Protocol::KserveV1, Protocol::FreeJson, Protocol::TorchServe] {
        for body in [&body[..], br#"{"error":"4111111111111111"}"#, br#"{"error":{"message":"4111"}}"#] {
            let answer = decode_response(&raw(&route(protocol), body), 200, &Naming::default());
            assert_eq!(answer, Err(DecodeFailure::ErrorAnswer));
        }
    }
    check(Protocol::FreeJson, r#"{"a":1}"#, r#"{"error":null,"y":2}"#, &[], "a=1", "error=_ y=2");
    check(Protocol::FreeJson, r#"{"a":1}"#, r#"{"error":0.5}"#, &[], "a=1", "error=0.5");
}

#[test]
fn structured_events_are_unwrapped_in_both_forms() {
    // {"instances":[[7]]} and {"predictions":[8]}
    let encoded = |data: &str| {
        format!(r#"{{"specversion":"1.0","id":"e1","type":"t","source":"s","data_base64":"{data}"}}"#)
    };
    let plain =
        |data: &str| format!(r#"{{"specversion":"1.0","id":"e1","type":"t","source":"s","data":{data}}}"#);
    let pairs = [
        (encoded("eyJpbnN0YW5jZXMiOltbN11dfQ=="), encoded("eyJwcmVkaWN0aW9ucyI6WzhdfQ==")),
        (plain(r#"{"instances":[[7]]}"#), plain(r#"{"predictions":[8]}"#)),
    ];
    for (request, response) in pairs {
        let decoded = decode_bytes(Protocol::KserveV1, request.as_bytes(), response.as_bytes(), &[]).unwrap();
        assert_eq!(show(&decoded.batch.features), "[0]=7");
        assert_eq!(show(&decoded.batch.outputs), "prediction=8");
        assert_eq!(decoded.body_id.as_deref(), Some("e1"));
    }
    let failure = decode_bytes(Protocol::KserveV1, encoded("*").as_bytes(), b"{}", &[]).unwrap_err();
    assert_eq!(failure, DecodeFailure::MissingField("data_base64".into()));
}

#[test]
fn more_values_than_are_decoded_are_refused() {
    let many = |count: usize| "1,".repeat(count) + "1";
    let cases = [
        (Protocol::FreeJson, format!("[{}]", many(MAX_ROWS))),
        (Protocol::Invocations, "1\n".repeat(MAX_ROWS + 1)),
        (Protocol::SageMaker, many(MAX_COLUMNS)),
        (Protocol::Invocations, format!("[{}]", "[1],".repeat(MAX_ROWS) + "[1]")),
        (Protocol::SeldonV1, format!(r#"{{"data":{{"ndarray":[{}]}}}}"#, many(MAX_ROWS))),
        (Protocol::KserveV1, format!(r#"{{"instances":[{}]}}"#, "[1],".repeat(MAX_ROWS) + "[1]")),
    ];
    for (protocol, body) in cases {
        let failure = decode_bytes(protocol, body.as_bytes(), b"{}", &[]).unwrap_err();
        assert_eq!(failure.reason(), "too_large", "{protocol:?}: {failure}");
    }
    let line = many(MAX_ROWS);
    let answer = decode_response(&raw(&route(Protocol::SageMaker), line.as_bytes()), 200, &Naming::default());
    assert_eq!(answer.unwrap_err().reason(), "too_large");
    // A vector too long to be columns is there, and not looked into.
    let long = format!(r#"{{"x":[{}],"a":1}}"#, many(MAX_ROWS));
    let decoded = decode_bytes(Protocol::FreeJson, long.as_bytes(), b"{}", &[]).unwrap();
    assert_eq!(show(&decoded.batch.features), "x=# a=1");
}

#[test]
fn what_is_cut_is_not_read() {
    let route = route(Protocol::Invocations);
    let body = br#"{"instances":[[1],[2]"#;
    let cut = RawSide { truncated: true, ..raw(&route, body) };
    assert_eq!(decode_request(&cut, &Naming::default()), Err(DecodeFailure::Truncated(Side::Request)));
    assert_eq!(decode_request(&raw(&route, body), &Naming::default()).unwrap_err().reason(), "not_json");
}
