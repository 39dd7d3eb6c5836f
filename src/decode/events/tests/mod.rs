//! Messages of every kind decode to the events that they hold.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::decode::{DecodeFailure, Protocol};
use crate::model::{Batch, ModelName, Value};

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the calls are shorter")]
fn read_all(pairs: &[(&str, &str)], body: impl AsRef<[u8]>, hint: Option<EventFormat>) -> Vec<Event> {
    let events = read(&headers(pairs), body.as_ref(), hint.as_ref()).unwrap();
    assert_eq!(events.refused, []);
    events.events
}

#[track_caller]
fn one_side(pairs: &[(&str, &str)], body: impl AsRef<[u8]>) -> SideEvent {
    match read_all(pairs, body, None).as_slice() {
        [Event::Side(side)] => side.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the calls are shorter")]
fn reasons(
    pairs: &[(&str, &str)],
    body: impl AsRef<[u8]>,
    hint: Option<EventFormat>,
) -> Vec<(usize, &'static str)> {
    let events = read(&headers(pairs), body.as_ref(), hint.as_ref()).unwrap();
    events.refused.iter().map(|refused| (refused.index, refused.reason)).collect()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn labels(events: &[Event]) -> Vec<(LabelTarget, Json)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Label(label) => Some((label.target.clone(), label.value.clone())),
            _ => None,
        })
        .collect()
}

fn by_id(id: &str, row: Option<usize>) -> LabelTarget {
    LabelTarget::Id { id: id.into(), row }
}

const KSERVE: [(&str, &str); 12] = [
    ("content-type", "application/json"),
    ("ce-specversion", "1.0"),
    ("ce-id", "0009174a-24a8"),
    ("ce-type", "org.kubeflow.serving.inference.request"),
    ("ce-source", "iris-predictor-00001"),
    ("ce-time", "2026-11-21T10:00:00Z"),
    ("ce-inferenceservicename", "iris"),
    ("ce-namespace", "default"),
    ("ce-component", "predictor"),
    ("ce-endpoint", ""),
    ("ce-metadata", r#"{"X-Request-Id":["rid-1"],"Authorization":["secret"]}"#),
    ("ce-annotations", r#"{"k":"v"}"#),
];

fn with<'a>(pairs: &[(&'a str, &'a str)], changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = pairs.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    kept.chain(changed).copied().collect()
}

#[test]
fn binary_events_of_kserve_are_two_sides_of_one_pair() {
    let request = one_side(&KSERVE, r#"{"instances":[[6.8,2.8]]}"#);
    assert_eq!((request.side, request.model.as_deref()), (Side::Request, Some("iris")));
    assert_eq!(request.headers.any_id(), Some("rid-1"));
    assert_eq!(request.headers.get("ce-id"), Some("0009174a-24a8"));
    assert_eq!(request.headers.get("content-type"), Some("application/json"));
    assert_eq!(request.time.unwrap().to_rfc3339(), "2026-11-21T10:00:00+00:00");
    assert!(!format!("{request:?}").contains("secret"));

    let changed = [("ce-type", "org.kubeflow.serving.inference.response"), ("statuscode", "200")];
    let response = one_side(&with(&KSERVE, &changed), r#"{"predictions":[1]}"#);
    assert_eq!((response.side, &response.pair), (Side::Response, &request.pair));
    // The logger writes the type of the request there.
    assert_eq!(response.headers.get("content-type"), None);
    for (name, value) in [("ce-id", "other"), ("ce-component", "transformer"), ("ce-namespace", "b")] {
        assert_ne!(one_side(&with(&KSERVE, &[(name, value)]), "{}").pair, request.pair, "{name}");
    }
    let failed = one_side(&with(&KSERVE, &[changed[0], ("ce-statuscode", "503")]), "oops");
    assert_eq!(failed.status, Some(503));
    let own = one_side(&with(&KSERVE, &[("ce-type", "io.kserve.inference.response")]), "{}");
    assert_eq!(own.side, Side::Response);
}

#[test]
fn carriers_spell_attributes_in_their_own_way() {
    for prefix in ["ce_", "cloudevents:", "cloudevents_"] {
        let renamed: Vec<(String, &str)> =
            KSERVE.iter().map(|(name, value)| (name.replace("ce-", prefix), *value)).collect();
        let renamed: Vec<(&str, &str)> =
            renamed.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(one_side(&renamed, "{}").pair, one_side(&KSERVE, "{}").pair, "{prefix}");
    }
    // NATS has the type of the data among the attributes.
    let nats = with(&KSERVE, &[("content-type", "x/y"), ("ce-datacontenttype", "text/csv")]);
    assert_eq!(one_side(&nats, "1,2").headers.get("content-type"), Some("text/csv"));
}

#[test]
fn structured_events_hold_json_text_or_base64() {
    let event = |data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"e1","source":"s","type":"org.kubeflow.serving.inference.request",
                "time":"2026-11-21T10:00:00Z","inferenceservicename":"iris",{data}}}"#
        )
    };
    let kind = [("content-type", "application/cloudevents+json; charset=utf-8")];
    for (data, expected) in [
        (r#""data":{"instances":[[NaN, 1]]}"#, r#"{"instances":[[NaN, 1]]}"#),
        (r#""datacontenttype":"text/csv","data":"1,2\n""#, "1,2\n"),
        (r#""datacontenttype":"application/json","data":"text""#, "\"text\""),
        (r#""data_base64":"eyJhIjoxfQ==""#, r#"{"a":1}"#),
    ] {
        for pairs in [&kind[..], &[]] {
            let side = one_side(pairs, event(data));
            assert_eq!(String::from_utf8(side.body).unwrap(), expected);
            assert_eq!(side.model.as_deref(), Some("iris"));
        }
    }
    assert_eq!(reasons(&kind, event(r#""data_base64":"*""#), None), [(0, "bad_encoding")]);
}

#[test]
fn a_bad_event_of_a_batch_leaves_its_neighbours() {
    let event = |id: &str, rest: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"x.request","data":{{}}{rest}}}"#)
    };
    let batch = format!(
        "[{},{},7,{},{{}},{}]",
        event("a", ""),
        event("", ""),
        event("c", r#","time":"yesterday""#),
        event("d", "")
    );
    let kind = headers(&[("content-type", "application/cloudevents-batch+json")]);
    let events = read(&kind, batch.as_bytes(), None).unwrap();
    let pairs: Vec<_> = events
        .events
        .iter()
        .map(|event| match event {
            Event::Side(side) => side.pair.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pairs, ["|||a", "|||d"]);
    let refused: Vec<_> = events.refused.iter().map(|refused| (refused.index, refused.reason)).collect();
    assert_eq!(refused, [(1, "no_pair_id"), (2, "not_an_object"), (3, "bad_time"), (4, "unknown_format")]);
}

#[test]
fn seldon_events_pair_by_request_and_node() {
    let pairs = [
        ("ce-specversion", "1.0"),
        ("ce-id", "fresh-1"),
        ("ce-type", "io.seldon.serving.inference.request"),
        ("ce-requestid", "puid-1"),
        ("ce-modelid", "classifier"),
        ("ce-inferenceservicename", "deployment"),
    ];
    let request = one_side(&pairs, r#"{"data":{"ndarray":[[1,2]]}}"#);
    let changed = [("ce-id", "fresh-2"), ("ce-type", "io.seldon.serving.inference.response")];
    let response = one_side(&with(&pairs, &changed), r#"{"data":{"ndarray":[[1]]}}"#);
    assert_eq!(request.pair, response.pair);
    assert_eq!((request.model.as_deref(), request.id.as_deref()), (Some("classifier"), Some("puid-1")));
    assert_eq!(request.headers.get("seldon-puid"), Some("puid-1"));
    let other_node = one_side(&with(&pairs, &[("ce-modelid", "scaler")]), "{}");
    assert_ne!(other_node.pair, request.pair);
    assert_eq!(reasons(&with(&pairs, &[("ce-requestid", "")]), "{}", None), [(0, "no_pair_id")]);
    let feedback = with(&pairs, &[("ce-type", "io.seldon.serving.feedback")]);
    let events = read_all(&feedback, r#"{"truth":{"data":{"ndarray":[[1]]}},"reward":1}"#, None);
    assert_eq!(labels(&events), [(by_id("puid-1", None), json!(1))]);
}

#[test]
fn gzip_is_seen_by_its_first_bytes_and_bounded() {
    let body = br#"{"instances":[[1]]}"#;
    assert_eq!(one_side(&KSERVE, gzip(body)).body, body);
    let told = with(&KSERVE, &[("content-encoding", "gzip")]);
    assert_eq!(one_side(&told, gzip(body)).body, body);
    // A proxy may have undone it and kept the header.
    assert_eq!(one_side(&told, body).body, body);
    let bomb = gzip(&vec![b' '; MAX_INFLATED + 1]);
    assert_eq!(
        read(&headers(&KSERVE), &bomb, None),
        Err(DecodeFailure::TooLarge { what: "bytes", limit: MAX_INFLATED })
    );
    let broken = &gzip(&vec![b'7'; 1000])[..20];
    let told = headers(&[("content-encoding", "gzip")]);
    assert_eq!(read(&told, broken, None), Err(DecodeFailure::Damaged(Side::Request)));
    // Without the header it could be anything.
    assert_eq!(read(&[], broken, None).unwrap_err().reason(), "not_json");
    let zstd = zstd::encode_all(&body[..], 1).unwrap();
    assert_eq!(one_side(&with(&KSERVE, &[("content-encoding", "zstd")]), zstd).body, body);
    let unknown = headers(&[("content-encoding", "snappy")]);
    assert_eq!(read(&unknown, body, None), Err(DecodeFailure::UnsupportedEncoding(Side::Request)));
    // Many small bombs are one large one.
    let record = STANDARD.encode(gzip(&vec![b' '; MAX_INFLATED / 2]));
    let record = format!(r#"{{"id":"1","reqType":"request","bytes":"{record}"}}"#);
    let bombs = reasons(&[], format!("[{record},{record},{record}]"), None);
    assert_eq!(bombs, [(2, "too_large")]);
}

#[test]
fn azure_frames_and_bodies_are_sides() {
    let line = |kind: &str, rest: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"e-{kind}","type":"azureml.inference.{kind}","datacontenttype":"application/json",
            "source":"/subscriptions/s/onlineEndpoints/credit/deployments/blue","time":"2026-03-05T18:16:25Z",
            "correlationid":"c1","xrequestid":"x1","modelversion":"4",{rest}}}"#
        )
    };
    let inputs = one_side(&[], line("model_inputs", r#""data":[{"age":54},{"age":NaN}]"#).replace('\n', " "));
    assert_eq!(String::from_utf8(inputs.body).unwrap(), r#"{"instances":[{"age":54},{"age":NaN}]}"#);
    assert_eq!((inputs.side, inputs.route.protocol), (Side::Request, Protocol::KserveV1));
    assert_eq!((inputs.model.as_deref(), inputs.id.as_deref()), (Some("credit"), Some("c1")));
    assert_eq!((inputs.other_ids, inputs.route.version), (vec!["x1".to_owned()], Some("4".to_owned())));
    let outputs = one_side(&[], line("outputs", r#""data":{"y":1}"#));
    assert_eq!(String::from_utf8(outputs.body).unwrap(), r#"{"predictions":[{"y":1}]}"#);
    assert_eq!((outputs.side, &outputs.pair), (Side::Response, &inputs.pair));
    let request =
        one_side(&[], line("request", r#""data":{"input_data":[[1]]},"path":"/score","method":"POST""#));
    assert_eq!((request.side, request.route.protocol), (Side::Request, Protocol::AzureScore));
    assert_ne!(request.pair, inputs.pair);
    let blob = line("request", r#""datainblob":"true","data":"https://x""#);
    assert_eq!(reasons(&[], blob, None), [(0, "data_in_blob")]);
    assert_eq!(reasons(&[], line("drafts", r#""data":[]"#), None), [(0, "unknown_collection")]);

    // The SDK's own headers, which are no conforming attributes.
    let sdk = [
        ("trace-id", "t1"),
        ("ce-time", "1709662585"),
        ("ce-type", "azureml.inference.model_outputs"),
        ("ce-collect-data-type", "pandas.core.frame.DataFrame"),
        ("ce-agent", "azureml-ai-monitoring/1.0.0"),
        ("ce-x-request-id", "r9"),
        ("ce-model-version", "7"),
    ];
    let side = one_side(&sdk, r#"[{"y":0.5}]"#);
    assert_eq!((side.id.as_deref(), side.route.version.as_deref()), (Some("r9"), Some("7")));
    assert_eq!(side.time.unwrap().timestamp(), 1_709_662_585);
    assert_eq!(one_side(&with(&sdk, &[("ce-x-request-id", "")]), "[{}]").id.as_deref(), Some("t1"));
}

#[test]
fn model_mesh_messages_get_their_frame_back() {
    let post = |kind: &str, rest: &str| {
        format!(
            r#"{{"id":"57-12","modelid":"mnist__isvc-8a1b","vModelId":null,"kind":"{kind}","metadata":{{}},{rest}}}"#
        )
    };
    let request =
        one_side(&[("driftline-peer", "10.0.0.7")], post("request", r#""data":"CgNhYmM=","status":"""#));
    assert_eq!(request.body, b"\0\0\0\0\x05\n\x03abc");
    assert_eq!(
        (request.model.as_deref(), request.route.protocol),
        (Some("mnist"), Protocol::OpenInferenceGrpc)
    );
    let answer = post("response", r#""data":"CgA=","status":"OK""#);
    let response = one_side(&[("driftline-peer", "10.0.0.7")], &answer);
    assert_eq!((&response.pair, response.status), (&request.pair, Some(200)));
    assert_ne!(one_side(&[("driftline-peer", "10.0.0.8")], &answer).pair, request.pair);
    let failed = one_side(&[], post("response", r#""data":"","status":"UNAVAILABLE""#));
    assert_eq!(failed.status, Some(500));
    assert_eq!(reasons(&[], post("request", r#""data":"","status":"""#), None), [(0, "empty_data")]);
    assert_eq!(reasons(&[], post("other", r#""data":"CgA=""#), None), [(0, "unknown_type")]);
}

#[test]
fn kserve_records_are_one_object_or_many() {
    let record = |kind: &str, body: &str| {
        format!(
            r#"{{"url":{{"Scheme":"s3","Host":"b"}},"bytes":"{}","contentType":"application/json","reqType":"{kind}",
            "id":"k1","sourceUri":{{}},"inferenceService":"iris","namespace":"n","component":"predictor","endpoint":"",
            "metadata":{{"X-Request-Id":["rid"]}},"annotations":null,"certName":"","tlsSkipVerify":false,
            "occurrenceTime":"2026-11-21T10:00:00.5Z"}}"#,
            STANDARD.encode(body)
        )
    };
    let request = one_side(&[], record("org.kubeflow.serving.inference.request", "{}"));
    assert_eq!((request.model.as_deref(), request.headers.any_id()), (Some("iris"), Some("rid")));
    assert_eq!(request.time.unwrap().timestamp_subsec_millis(), 500);
    let both = format!("[{},{}]", record("request", "{}"), record("response", "[]"));
    let events = read_all(&[], both, None);
    assert!(
        matches!(&events[..], [Event::Side(a), Event::Side(b)] if a.pair == b.pair && b.side == Side::Response)
    );
    // In CSV and Parquet every column is text.
    let flat = json!({"id": "k1", "reqType": "request", "bytes": "e30=", "metadata": "{\"X-Request-Id\":[\"rid\"]}"});
    assert_eq!(one_side(&[], flat.to_string()).headers.any_id(), Some("rid"));
    assert_eq!(reasons(&[], record("feedback", ""), None), [(0, "unknown_type")]);
}

#[test]
fn sagemaker_captures_have_one_side_or_two() {
    let line = |captured: &str, meta: &str| {
        format!(
            r#"{{"captureData":{{{captured}}},"eventMetadata":{{{meta}"inferenceTime":"2026-02-14T17:25:49Z"}},"eventVersion":"0"}}"#
        )
    };
    let input = r#""endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"69,0\n","encoding":"CSV"}"#;
    let output = r#""endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":"MC41","encoding":"BASE64"}"#;
    let meta = r#""eventId":"e1","customAttributes":["x"],"#;
    let events = read_all(&[], line(&format!("{input},{output}"), meta), None);
    let [Event::Both { request, response }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&request.body[..], &response.body[..]), (&b"69,0\n"[..], &b"0.5"[..]));
    assert_eq!(request.headers.get("content-type"), Some("text/csv"));
    assert_eq!((request.id.as_deref(), request.route.protocol), (Some("e1"), Protocol::Invocations));
    let named = one_side(&[], line(output, r#""eventId":"e1","inferenceId":"i1","#));
    assert_eq!((named.side, named.id.as_deref()), (Side::Response, Some("i1")));
    assert_eq!(named.other_ids, ["e1"]);
    let json = r#""endpointInput":{"data":"{\"instances\":[]}","encoding":"JSON"}"#;
    assert_eq!(one_side(&[], line(json, meta)).body, br#"{"instances":[]}"#);
    let lines = [
        line(input, meta),
        "{\"captureData\":".to_owned(),
        line("", meta),
        line(input, ""),
        line(&input.replace("CSV", "XML"), meta),
        line(output, meta),
    ]
    .join("\n");
    let expected = [(1, "not_an_object"), (2, "missing_field"), (3, "no_pair_id"), (4, "unknown_encoding")];
    assert_eq!(reasons(&[], &lines, Some(EventFormat::SageMaker)), expected);
    assert_eq!(read(&[], lines.as_bytes(), None).unwrap().events.len(), 2);
}

#[test]
fn sagemaker_ground_truth_is_labels() {
    let line = |data: &str, encoding: &str| {
        json!({"groundTruthData": {"data": data, "encoding": encoding}, "eventMetadata": {"eventId": "e1"}, "eventVersion": "0"})
            .to_string()
    };
    for (data, encoding, expected) in [
        ("1", "CSV", vec![(by_id("e1", None), json!(1.0))]),
        ("yes", "CSV", vec![(by_id("e1", None), json!("yes"))]),
        ("\"a,\"\"b\"", "CSV", vec![(by_id("e1", None), json!("a,\"b"))]),
        ("1\n0.5\n", "CSV", vec![(by_id("e1", Some(0)), json!(1.0)), (by_id("e1", Some(1)), json!(0.5))]),
        ("true", "JSON", vec![(by_id("e1", None), json!(true))]),
        ("[1,\"b\"]", "JSON", vec![(by_id("e1", Some(0)), json!(1)), (by_id("e1", Some(1)), json!("b"))]),
        ("MQ==", "BASE64", vec![(by_id("e1", None), json!(1.0))]),
    ] {
        assert_eq!(labels(&read_all(&[], line(data, encoding), None)), expected, "{data}");
    }
    for bad in [line("1,2", "CSV"), line("", "CSV"), line("{}", "JSON"), line("[]", "JSON")] {
        assert_eq!(reasons(&[], bad, None), [(0, "unusable_label")]);
    }
}

fn column(batch: &Batch, name: &str) -> Vec<Value> {
    batch.features.iter().chain(&batch.outputs).find(|c| c.name == name).unwrap().values.clone()
}

#[test]
fn the_captured_monitor_log_is_one_prediction_of_two_rows() {
    let log = include_bytes!("../../../../tests/fixtures/captures/bentoml-1.4-monitor.jsonl");
    let events = read_all(&[], log, None);
    let [Event::Rows(rows)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((rows.model.as_str(), rows.id.as_deref()), ("Clf", Some("12191656672822735707")));
    assert_eq!(rows.time.unwrap().to_rfc3339(), "2026-11-21T23:17:43.465718+00:00");
    assert_eq!(column(&rows.batch, "a"), [Value::Number(1.0), Value::Number(3.0)]);
    assert_eq!(column(&rows.batch, "b"), [Value::Number(2.0), Value::Number(4.0)]);
    assert_eq!(column(&rows.batch, "pred"), vec![Value::Text("yes".into()); 2]);
    assert_eq!((rows.batch.features.len(), rows.batch.outputs.len()), (2, 1));
    // The header of the answer had the same id in hexadecimal.
    assert_eq!(u64::from_str_radix("a9317726571eb35b", 16).unwrap().to_string(), rows.id.clone().unwrap());
}

#[test]
fn monitor_logs_have_targets_zones_and_schemas_of_their_own() {
    let schema = br#"{"columns":[{"name":"a","role":"feature"},{"name":"y","role":"target"},{"name":"z","role":"target"}]}"#;
    let log = MonitorLog {
        model: Some(ModelName::parse("m").unwrap()),
        schema: Some(MonitorSchema::parse(schema).unwrap()),
        utc_offset_seconds: 3600,
    };
    let hint = || Some(EventFormat::BentoMl(Arc::new(log.clone())));
    let lines = r#"{"a":1,"y":5,"timestamp":"2026-11-21T01:00:00","request_id":"7"}
        {"a":2,"y":6,"z":"c","timestamp":"2026-11-21T01:00:00","request_id":"7"}
        {"a":3,"timestamp":"2026-11-21T01:00:00.5","request_id":8}"#;
    let events = read_all(&[], lines, hint());
    let times: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Rows(rows) => Some((rows.time.unwrap().to_rfc3339(), rows.batch.rows, rows.id.clone())),
            _ => None,
        })
        .collect();
    let id = |id: &str| Some(id.to_owned());
    assert_eq!(
        times,
        [
            ("2026-11-21T00:00:00+00:00".into(), 2, id("7")),
            ("2026-11-21T00:00:00.500+00:00".into(), 1, id("8"))
        ]
    );
    let expected = [(by_id("7", Some(0)), json!(5)), (by_id("7", Some(1)), json!({"y": 6, "z": "c"}))];
    assert_eq!(labels(&events), expected);
    let bad = r#"{"a":1,"timestamp":"noon"}
        {"a":1,"request_id":"9"}
        {oops}"#;
    assert_eq!(reasons(&[], bad, hint()), [(0, "bad_time"), (2, "not_an_object")]);
    assert_eq!(reasons(&[], lines, Some(EventFormat::BentoMl(Arc::default())))[0].1, "needs_schema");
    for wrong in ["[]", "{}", r#"{"columns":[{"name":"a"}]}"#, r#"{"columns":[{"role":"feature"}]}"#] {
        assert!(MonitorSchema::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn feedback_is_labels_by_puid_or_a_labelled_prediction() {
    let truth = r#""truth":{"data":{"ndarray":[[1],[0]]}}"#;
    let meta = r#""response":{"meta":{"puid":"p1"},"data":{"ndarray":[[0.1],[0.2]]}}"#;
    let two = [(by_id("p1", Some(0)), json!(1)), (by_id("p1", Some(1)), json!(0))];
    assert_eq!(labels(&read_all(&[], format!("{{{meta},{truth}}}"), None)), two);
    let by_header = labels_of_feedback(Some("p2"), format!("{{{meta},{truth}}}").as_bytes()).unwrap();
    assert_eq!(by_header[0].target, by_id("p2", Some(0)));

    let whole = r#"{"request":{"data":{"ndarray":[[1,2]]}},"response":{"data":{"ndarray":[[0.9]]}},
        "truth":{"data":{"names":["no","yes"],"tensor":{"shape":[1,2],"values":[0,1]}}},"reward":1}"#;
    let events = read_all(&[], whole, None);
    let [Event::Both { request, response }, Event::Label(label)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(request.body, br#"{"data":{"ndarray":[[1,2]]}}"#);
    assert_eq!((request.route.protocol, &request.pair), (Protocol::SeldonV1, &response.pair));
    assert_eq!(label.target, by_id(request.id.as_ref().unwrap(), None));
    assert_eq!(label.value, json!({"no": 0, "yes": 1}));
    assert_eq!(read_all(&[], whole, None), events, "the same bytes are the same prediction");

    assert_eq!(labels_of_feedback(None, whole.as_bytes()), Err("label_without_id"));

    for (body, reason) in [
        (r#"{"truth":{"data":{"ndarray":[]}},"reward":1}"#, "no_truth"),
        (r#"{"truth":{},"reward":1}"#, "no_truth"),
        (r#"{"truth":{"data":{"ndarray":[[1]]}}}"#, "label_without_id"),
        (r#"{"truth":{"data":{"tensor":{"shape":[1,2],"values":[1]}}}}"#, "shape_mismatch"),
        ("[]", "not_an_object"),
    ] {
        assert_eq!(labels_of_feedback(None, body.as_bytes()), Err(reason), "{body}");
    }
    for (truth, expected) in [
        (r#"{"strData":"cat"}"#, json!("cat")),
        (r#"{"jsonData":7}"#, json!(7)),
        (r#"{"data":{"tensor":{"shape":[1],"values":[3]}}}"#, json!(3)),
        (r#"{"data":{"ndarray":["x"]}}"#, json!("x")),
        (r#"{"data":{"ndarray":[[0,1]]}}"#, json!({"t:0": 0, "t:1": 1})),
    ] {
        let given = labels_of_feedback(Some("p"), format!(r#"{{"truth":{truth}}}"#).as_bytes()).unwrap();
        assert_eq!((&given[0].target, &given[0].value), (&by_id("p", None), &expected), "{truth}");
    }
}

mod others;
