//! What a side leaves open is settled by the other, and a side survives storage.

use proptest::prelude::*;

use super::tests::{decode_bytes, names, raw, route, show};
use super::*;
use crate::model::{Column, Value};

fn request(protocol: Protocol, body: &str, features: &[&str]) -> Result<RequestSide, DecodeFailure> {
    decode_request(&raw(&route(protocol), body.as_bytes()), &names(features))
}

fn response(protocol: Protocol, body: &str) -> Result<ResponseSide, DecodeFailure> {
    decode_response(&raw(&route(protocol), body.as_bytes()), 200, &Naming::default())
}

#[track_caller]
fn alone(protocol: Protocol, body: &str, rows: usize, outputs: &str) {
    let decoded = response(protocol, body).unwrap().alone().unwrap();
    assert_eq!((decoded.batch.rows, show(&decoded.batch.outputs).as_str()), (rows, outputs), "{body}");
    assert!(decoded.batch.features.is_empty());
}

#[test]
fn an_answer_alone_gives_its_outputs() {
    alone(Protocol::KserveV1, r#"{"predictions":[1,2]}"#, 2, "prediction=1,2");
    alone(Protocol::KserveV1, r#"{"predictions":[{"y":1,"l":"a"}]}"#, 1, "y=1 l='a'");
    alone(
        Protocol::OpenInference,
        r#"{"outputs":[{"name":"y","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}]}"#,
        2,
        "y[0]=1,3 y[1]=2,4",
    );
    let nothing = response(Protocol::KserveV1, "{}").unwrap().alone().unwrap_err();
    assert_eq!(nothing, DecodeFailure::NoRows);
}

#[test]
fn a_request_alone_gives_its_features() {
    let side = request(Protocol::KserveV1, r#"{"instances":[[1,2],[3,4]]}"#, &["a", "b"]).unwrap();
    let decoded = join(side, None, &Naming::default()).unwrap();
    assert_eq!(show(&decoded.batch.features), "a=1,3 b=2,4");
    assert_eq!(decoded.notes, Notes::default());
}

#[test]
fn an_error_status_is_no_prediction() {
    let side = request(Protocol::KserveV1, r#"{"instances":[[1,2]]}"#, &[]).unwrap();
    let answer = decode_response(&raw(&route(Protocol::KserveV1), b"{}"), 503, &Naming::default());
    assert_eq!(answer, Err(DecodeFailure::ErrorStatus(503)));
    assert_eq!(join(side, Some(answer), &Naming::default()), Err(DecodeFailure::ErrorStatus(503)));
}

#[track_caller]
fn settles(inputs: &str, features: &[&str], outputs: &str, expected: &str) {
    let side = request(Protocol::OpenInference, &format!(r#"{{"inputs":[{inputs}]}}"#), features).unwrap();
    let answer = response(Protocol::OpenInference, &format!(r#"{{"outputs":[{outputs}]}}"#));
    let decoded = join(side, Some(answer), &names(features)).unwrap();
    let shown = format!("{} -> {}", show(&decoded.batch.features), show(&decoded.batch.outputs));
    assert_eq!(shown, expected);
}

#[test]
fn the_answer_tells_a_vector_from_rows() {
    let x = r#"{"name":"x","shape":[3],"datatype":"FP32","data":[1,2,3]}"#;
    let mask = r#"{"name":"m","shape":[2],"datatype":"BOOL","data":[true,false]}"#;
    let wide = r#"{"name":"w","shape":[1,2],"datatype":"FP32","data":[8,9]}"#;
    let one = r#"{"name":"y","shape":[1,1],"datatype":"FP32","data":[9]}"#;
    let three = r#"{"name":"y","shape":[3],"datatype":"FP32","data":[7,8,9]}"#;
    let classes = r#"{"name":"y","shape":[2],"datatype":"FP32","data":[0.1,0.9]}"#;
    settles(x, &[], three, "x=1,2,3 -> y=7,8,9");
    settles(x, &["a", "b", "c"], three, "x=1,2,3 -> y=7,8,9");
    settles(x, &[], one, "x[0]=1 x[1]=2 x[2]=3 -> y=9");
    settles(x, &["a", "b", "c"], one, "a=1 b=2 c=3 -> y=9");
    settles(x, &["a", "b", "c"], classes, "a=1 b=2 c=3 -> y[0]=0.1 y[1]=0.9");
    // Vectors of different lengths are vectors; equal ones are columns.
    settles(&format!("{x},{mask}"), &[], one, "x[0]=1 x[1]=2 x[2]=3 m[0]=true m[1]=false -> y=9");
    settles(&format!("{wide},{mask}"), &[], one, "w[0]=8 w[1]=9 m[0]=true m[1]=false -> y=9");
    settles(&format!("{x},{}", x.replace("\"x\"", "\"z\"")), &[], one, "x=1,2,3 z=1,2,3 -> ");
}

#[test]
fn names_that_come_later_are_used() {
    let side = request(
        Protocol::OpenInference,
        r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]}"#,
        &[],
    )
    .unwrap();
    let answer = response(
        Protocol::OpenInference,
        r#"{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[9]}]}"#,
    );
    let decoded = join(side, Some(answer), &names(&["a", "b"])).unwrap();
    assert_eq!(show(&decoded.batch.features), "a=1 b=2");
}

#[test]
fn every_name_that_a_value_may_get_is_visited() {
    let body = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]}"#;
    let mut side = request(Protocol::OpenInference, body, &["a", "b"]).unwrap();
    let mut seen = Vec::new();
    side.visit_values(|name, values| seen.push((name.to_owned(), values.len())));
    assert_eq!(seen, [("x".to_owned(), 2), ("a".to_owned(), 1), ("b".to_owned(), 1)]);
    side.retain(|name| name != "a");
    assert_eq!(show(&side.parts[0].columns), "x=_,2");
    side.retain(|name| name != "x");
    assert_eq!(side.parts[0].columns, []);
}

#[test]
fn a_side_survives_storage() {
    let values = vec![
        Value::Missing,
        Value::Number(f64::INFINITY),
        Value::Number(f64::NEG_INFINITY),
        Value::Number(-0.0),
        Value::Number(0.1),
        Value::Bool(true),
        Value::Text("opaque".into()),
        Value::Opaque,
    ];
    let part = Part::vector("x", values);
    let side = ResponseSide { parts: vec![part], body_id: Some("7".into()), ..ResponseSide::default() };
    let text = serde_json::to_string(&side).unwrap();
    assert_eq!(serde_json::from_str::<ResponseSide>(&text).unwrap(), side, "{text}");
    let nan = serde_json::to_string(&Value::Number(f64::NAN)).unwrap();
    let back: Value = serde_json::from_str(&nan).unwrap();
    assert!(matches!(back, Value::Number(number) if number.is_nan()), "{nan}");
    assert!(serde_json::from_str::<Value>(r#"{"number":"x"}"#).is_err());
}

pub(super) fn check_exchange(protocol: Protocol, asked: &[u8], answered: &[u8]) -> Result<(), TestCaseError> {
    let naming = names(&["a", "b"]);
    let route = route(protocol);
    let request = decode_request(&raw(&route, asked), &naming);
    let response = decode_response(&raw(&route, answered), 200, &naming);
    let whole = |columns: &[Column], rows: usize| columns.iter().all(|column| column.values.len() == rows);
    for part in
        request.iter().flat_map(|side| &side.parts).chain(response.iter().flat_map(|side| &side.parts))
    {
        prop_assert!(whole(&part.columns, part.rows), "{:?}", part);
        if let Some(runs) = &part.runs {
            prop_assert_eq!(runs.lengths.iter().sum::<usize>(), part.rows);
        }
    }
    if let Ok(side) = &response
        && let Ok(decoded) = side.clone().alone()
    {
        prop_assert!(whole(&decoded.batch.outputs, decoded.batch.rows));
    }
    let decoded = decode_bytes(protocol, asked, answered, &["a", "b"]);
    if let Ok(decoded) = &decoded {
        prop_assert!(whole(&decoded.batch.features, decoded.batch.rows));
        prop_assert!(whole(&decoded.batch.outputs, decoded.batch.rows));
    }
    // Compared as text, since NaN is not equal to itself.
    let joined = request.and_then(|request| join(request, Some(response), &naming));
    prop_assert_eq!(format!("{joined:?}"), format!("{decoded:?}"));
    Ok(())
}

proptest! {
    #[test]
    fn the_sides_joined_are_the_exchange(
        request in "[\\[\\]{},:\"a1.eN-]{0,40}|\\{\"(instances|inputs)\":[\\[\\]{},:\"ab1-]{0,40}\\}",
        response in "\\{\"(predictions|outputs)\":[\\[\\]{},:\"ab1-]{0,40}\\}",
    ) {
        for protocol in [Protocol::KserveV1, Protocol::OpenInference, Protocol::Configured] {
            check_exchange(protocol, request.as_bytes(), response.as_bytes())?;
        }
    }
}
