//! Free JSON: by what looks like rows, and by the pointers of the settings.

use std::sync::Arc;

use super::tests::{check, decode_bytes, names, raw, route, show};
use super::*;

#[track_caller]
fn auto(request: &str, response: &str, features: &str, outputs: &str) {
    for protocol in [Protocol::FreeJson, Protocol::Configured] {
        check(protocol, request, response, &[], features, outputs);
    }
}

#[test]
fn rows_are_found_where_they_are_the_only_ones() {
    auto(r#"{"input_data":[[1,2],[3,4]]}"#, "[3,7]", "input_data[0]=1,3 input_data[1]=2,4", "prediction=3,7");
    auto(
        r#"{"rows":[{"age":30,"city":"x"},{"age":40,"city":"y"}]}"#,
        r#"[{"score":3,"label":"y"},{"score":4,"label":"y"}]"#,
        "age=30,40 city='x','y'",
        "score=3,4 label='y','y'",
    );
    auto(r#"{"data":{"a":[1,3],"b":[2,4]}}"#, r#"[{"s":3},{"s":7}]"#, "a=1,3 b=2,4", "s=3,7");
    auto(
        r#"{"payload":{"rows":[{"a":1,"b":{"c":true,"d":{"e":"x"}}},{"a":2,"v":[1,2]}]}}"#,
        r#"{"out":[[0.1,0.9],[0.2,0.8]]}"#,
        "a=1,2 b.c=true,_ b.d.e='x',_ v[0]=_,1 v[1]=_,2",
        "out[0]=0.1,0.2 out[1]=0.9,0.8",
    );
}

#[test]
fn a_document_without_rows_is_one() {
    auto(r#"{"input":[1,2,3]}"#, r#"{"output":6}"#, "input[0]=1 input[1]=2 input[2]=3", "output=6");
    auto(
        r#"{"age":30,"who":{"city":"x"}}"#,
        r#"{"score":0.5,"why":null}"#,
        "age=30 who.city='x'",
        "score=0.5 why=_",
    );
    auto(
        r#"{"input":[1,2],"limit":7}"#,
        r#"{"result":[0.1,0.9],"ms":5}"#,
        "limit=7 input[0]=1 input[1]=2",
        "ms=5 result[0]=0.1 result[1]=0.9",
    );
    auto("[1,2,3]", "6", "[0]=1 [1]=2 [2]=3", "prediction=6");
    auto("7", r#""yes""#, "[0]=7", "prediction='yes'");
}

#[test]
fn a_vector_is_rows_where_the_answer_has_as_many() {
    auto(r#"{"input":[1,2,3]}"#, r#"{"output":[4,5,6]}"#, "input=1,2,3", "output=4,5,6");
    auto(r#"{"x":[[1],[2]]}"#, r#"{"y":[4,5],"ms":1}"#, "x=1,2", "y=4,5");
}

#[test]
fn rows_in_two_places_are_not_guessed() {
    let body = br#"{"a":[{"x":1}],"b":[{"x":2}]}"#;
    let failure = decode_bytes(Protocol::FreeJson, body, b"[1]", &[]).unwrap_err();
    assert_eq!(failure, DecodeFailure::Ambiguous(Side::Request));
    assert!(failure.to_string().contains("format.request.rows"), "{failure}");
    let decoded = decode_bytes(Protocol::FreeJson, br#"{"x":1}"#, body, &[]).unwrap();
    assert_eq!(decoded.notes.response_undecoded, Some("ambiguous"));
}

fn pointer(text: &str) -> Pointer {
    Pointer::try_from(text.to_owned()).unwrap()
}

fn map(columns: &[(&str, &str)]) -> Columns {
    Columns::Map(columns.iter().map(|(name, at)| ((*name).to_owned(), pointer(at))).collect())
}

fn format(request: Mapping, response: Mapping) -> Naming {
    Naming { format: Some(Arc::new(Format { request, response, ..Format::default() })), ..Naming::default() }
}

fn rows_at(rows: &str) -> Mapping {
    Mapping { rows: Some(pointer(rows)), ..Mapping::default() }
}

fn mapped(naming: &Naming, request: &str, response: &str) -> Result<Decoded, DecodeFailure> {
    // The path says otherwise, and the settings go before it.
    let route = route(Protocol::KserveV1);
    let request = decode_request(&raw(&route, request.as_bytes()), naming)?;
    let response = decode_response(&raw(&route, response.as_bytes()), 200, naming);
    join(request, Some(response), naming)
}

#[track_caller]
fn pointed(naming: &Naming, request: &str, response: &str, expected: &str) {
    let decoded = mapped(naming, request, response).unwrap();
    let shown = format!("{} -> {}", show(&decoded.batch.features), show(&decoded.batch.outputs));
    assert_eq!(shown, expected, "{request}");
}

#[test]
fn pointers_say_where_rows_and_columns_are() {
    let naming = format(
        Mapping {
            columns: map(&[("age", "/person/age"), ("city", "/city"), ("none", "/x")]),
            ..rows_at("/rows")
        },
        Mapping { columns: map(&[("score", "/score")]), ..rows_at("/results") },
    );
    pointed(
        &naming,
        r#"{"rows":[{"person":{"age":30},"city":"x"},{"person":{},"city":"y"}],"other":[{"a":1}]}"#,
        r#"{"results":[{"score":1,"b":2},{"score":2}]}"#,
        "age=30,_ city='x','y' none=_,_ -> score=1,2",
    );
    let each = format(rows_at("/batch/*/input"), rows_at("/batch/*/output"));
    pointed(
        &each,
        r#"{"batch":[{"input":{"a":1}},{},{"input":{"a":3}}]}"#,
        r#"{"batch":[{"output":7},{"output":8},{"output":9}]}"#,
        "a=1,_,3 -> prediction=7,8,9",
    );
    let whole = format(
        Mapping {
            columns: map(&[("lags", "/history/*/v"), ("raw", "/raw"), ("deep", "/deep")]),
            ..rows_at("")
        },
        rows_at("/values"),
    );
    pointed(
        &whole,
        r#"{"history":[{"v":1},{},{"v":3}],"raw":[5,6],"deep":[[1],[2]]}"#,
        r#"{"values":[9]}"#,
        "lags[0]=1 lags[1]=_ lags[2]=3 raw[0]=5 raw[1]=6 deep=# -> prediction=9",
    );
    // Columns without a place for rows are those of the document.
    let flat = format(Mapping { columns: map(&[("a", "/a")]), ..Mapping::default() }, Mapping::default());
    pointed(&flat, r#"{"a":1,"rows":[{"b":1},{"b":2}]}"#, r#"{"y":1}"#, "a=1 -> y=1");
    let named = format(Mapping { names: vec!["a", "b"].into(), ..rows_at("/rows") }, Mapping::default());
    pointed(&named, r#"{"rows":[[1,"x"],[2,"y"]]}"#, "[8,9]", "a=1,2 b='x','y' -> prediction=8,9");
}

#[test]
fn outputs_take_the_names_of_the_settings() {
    let named = Mapping { names: vec!["no", "yes"].into(), ..Mapping::default() };
    let naming = format(Mapping::default(), named);
    let two = r#"{"instances":[[1],[2]]}"#;
    pointed(&naming, two, r#"{"predictions":[[0.1,0.9],[0.8,0.2]]}"#, "[0]=1,2 -> no=0.1,0.8 yes=0.9,0.2");
    pointed(&naming, two, r#"{"predictions":[[0.1,"x"],[0.8,"y"]]}"#, "[0]=1,2 -> no=0.1,0.8 yes='x','y'");
    pointed(&naming, r#"{"instances":[[1]]}"#, r#"{"predictions":[0.1,0.9]}"#, "[0]=1 -> no=0.1 yes=0.9");
    pointed(&naming, two, r#"{"predictions":[5,6]}"#, "[0]=1,2 -> prediction=5,6");
    pointed(
        &naming,
        two,
        r#"{"outputs":{"p":[[0.1,0.9],[0.8,0.2]]}}"#,
        "[0]=1,2 -> p[0]=0.1,0.8 p[1]=0.9,0.2",
    );
}

#[test]
fn what_a_pointer_does_not_find_has_its_reason() {
    let naming = format(rows_at("/rows"), rows_at("/results"));
    let absent = mapped(&naming, r#"{"row":[]}"#, "{}").unwrap_err();
    assert_eq!(absent, DecodeFailure::MissingField("format.request.rows".into()));
    assert_eq!(mapped(&naming, r#"{"rows":[]}"#, "{}").unwrap_err(), DecodeFailure::NoRows);
    let decoded = mapped(&naming, r#"{"rows":[{"a":1}]}"#, "{}").unwrap();
    assert_eq!(decoded.notes.response_undecoded, Some("missing_field"));
}

#[test]
fn ids_and_times_are_found_in_either_message() {
    let of = |id: &str, time: &str, request: &str, response: &str| {
        let format = Format { id: Some(pointer(id)), time: Some(pointer(time)), ..Format::default() };
        let naming = Naming { format: Some(Arc::new(format)), ..Naming::default() };
        let route = route(Protocol::Configured);
        let asked = decode_request(&raw(&route, request.as_bytes()), &naming).unwrap();
        let answered = decode_response(&raw(&route, response.as_bytes()), 200, &naming);
        let decoded = join(asked, Some(answered), &naming).unwrap();
        (decoded.body_id, decoded.event_time.map(|time| time.to_rfc3339()))
    };
    let noon = Some("2026-01-31T12:00:00+00:00".to_owned());
    assert_eq!(
        of("/id", "/t", r#"{"a":1,"id":"q","t":"2026-01-31T13:00:00+01:00"}"#, r#"{"id":"r"}"#),
        (Some("q".into()), noon.clone())
    );
    assert_eq!(of("/id", "/t", r#"{"a":1}"#, r#"{"id":7,"t":1769860800}"#), (Some("7".into()), noon.clone()));
    assert_eq!(of("/id", "/t", r#"{"a":1,"t":1769860800000}"#, "{}"), (None, noon));
    assert_eq!(of("/id", "/t", r#"{"a":1,"t":"yesterday","id":{}}"#, r#"{"t":1e300}"#), (None, None));
}

#[test]
fn a_forced_protocol_goes_before_the_path() {
    let format = Format { protocol: Some(Protocol::SeldonV1), ..Format::default() };
    let naming = Naming { format: Some(Arc::new(format)), ..names(&["a"]) };
    let decoded = mapped(&naming, r#"{"data":{"ndarray":[[1]]}}"#, r#"{"data":{"ndarray":[[2]]}}"#).unwrap();
    assert_eq!(show(&decoded.batch.features), "a=1");
    assert!(Protocol::try_from("seldon_v1".to_owned()).is_ok());
    let unknown = Protocol::try_from("open_inference_grpc".to_owned()).unwrap_err();
    assert!(unknown.contains("free_json"), "{unknown}");
}

#[test]
fn names_are_bounded() {
    let key = "k".repeat(2000);
    for body in [
        format!(r#"{{"{key}":[1,2]}}"#),
        format!(r#"{{"{key}":{{"a":1}}}}"#),
        format!(r#"{{"instances":[{{"{key}":1}}]}}"#),
        format!(r#"{{"inputs":[{{"name":"{key}","shape":[1],"datatype":"FP32","data":[1]}}]}}"#),
    ] {
        let failure = decode_bytes(Protocol::Configured, body.as_bytes(), b"{}", &[]).unwrap_err();
        assert_eq!(failure.reason(), "too_large", "{failure}");
        assert!(!failure.to_string().contains("kkk"));
    }
}
