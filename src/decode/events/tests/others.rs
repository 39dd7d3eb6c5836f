//! driftline's own formats, plain lines, brokers, and what no message may do.

use super::*;

#[test]
fn own_predictions_and_labels_stand_beside_each_other() {
    let body = r#"{"model":"m","id":"p1","features":{"a":1},"outputs":{"y":2}}
        {"model":"m","id":"p1","label":3,"time":"2026-11-21T10:00:00Z"}
        {"model":"m","key":42,"label":"x","time":1795303063}
        {"model":"m","features":7}
        {"model":"m","id":"p1","label":[1]}
        {"model":"m","id":"p1","label":1,"lable":2}
        {"model":"m","key":"k","label":1}
        {"model":"m","id":"p1","row":-1,"label":1}
        {"neither":1}"#;
    let events = read(&[], body.as_bytes(), None).unwrap();
    assert!(matches!(&events.events[0], Event::Rows(rows) if rows.id.as_deref() == Some("p1")));
    let at = DateTime::from_timestamp(1_795_303_063, 0).unwrap();
    let expected = [(by_id("p1", None), json!(3)), (LabelTarget::Key { key: "42".into(), at }, json!("x"))];
    assert_eq!(labels(&events.events), expected);
    let refused: Vec<_> = events.refused.iter().map(|refused| (refused.index, refused.reason)).collect();
    assert_eq!(
        refused,
        [
            (3, "bad_prediction"),
            (4, "bad_label"),
            (5, "bad_label"),
            (6, "bad_label"),
            (7, "bad_label"),
            (8, "unknown_format")
        ]
    );
    assert_eq!(events.refused[0].problem, "`features` is neither an object nor an array of objects");
    // Where the format is known, the whole body is its reader's.
    let hint = Some(EventFormat::Predictions);
    assert_eq!(reasons(&[], r#"[{"model":"m","features":{"a":1}},{"id":1}]"#, hint), [(1, "bad_prediction")]);
}

#[test]
fn labels_say_what_is_wrong_with_them() {
    for (item, problem) in [
        ("7", "the item is not a JSON object"),
        (r#"{"id":"a"}"#, "`label` has to be a number, a truth value or text"),
        (r#"{"id":"a","label":null}"#, "`label` has to be a number, a truth value or text"),
        (r#"{"label":1}"#, "`id` and `key` are both absent"),
        (r#"{"id":"a","key":"b","label":1}"#, "`id` and `key` exclude each other"),
        (r#"{"id":7,"label":1}"#, "`id` is not text"),
        (r#"{"id":"","label":1}"#, "`id` is empty, longer than 256 bytes or not printable"),
        (r#"{"model":7,"id":"a","label":1}"#, "`model` is not text"),
        (
            r#"{"key":"a","row":1,"time":"2026-01-01T00:00:00Z","label":1}"#,
            "`row` goes with `id`, not with `key`",
        ),
        (r#"{"id":"a","label":1,"time":"x"}"#, "`time` is neither an RFC 3339 time nor seconds since 1970"),
    ] {
        assert_eq!(parse_label(item.as_bytes()).unwrap_err(), problem, "{item}");
    }
    let label = parse_label(br#"{"model":"m","id":"a","row":3,"label":true}"#).unwrap();
    assert_eq!((label.target, label.value), (by_id("a", Some(3)), json!(true)));
}

#[test]
fn lines_with_both_sides_are_exchanges() {
    let body = r#"{"request":{"instances":[[1]]},"response":{"predictions":[2]},"id":"a","model":"m","time":"2026-11-21T10:00:00Z"}
        {"request":"{\"inputs\":[]}","response":"[1]","databricks_request_id":"d1","client_request_id":"c1","timestamp_ms":1795303063000,"status_code":200}
        {"request":{},"path":"/v2/models/iris/versions/2/infer","request_id":"r"}
        {"response":{}}
        {"request":null}"#;
    let events = read(&[], body.as_bytes(), None).unwrap();
    let [
        Event::Both { request, response },
        Event::Both { request: table, response: answer },
        Event::Side(side),
    ] = &events.events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&request.body[..], &response.body[..]),
        (&br#"{"instances":[[1]]}"#[..], &br#"{"predictions":[2]}"#[..])
    );
    assert_eq!((request.model.as_deref(), request.id.as_deref()), (Some("m"), Some("a")));
    assert_eq!((&table.body[..], answer.status), (&br#"{"inputs":[]}"#[..], Some(200)));
    assert_eq!((table.id.as_deref(), &table.other_ids[..]), (Some("c1"), &["d1".to_owned()][..]));
    assert_eq!((side.model.as_deref(), side.route.version.as_deref()), (Some("iris"), Some("2")));
    let refused: Vec<_> = events.refused.iter().map(|refused| (refused.index, refused.reason)).collect();
    assert_eq!(refused, [(3, "no_pair_id"), (4, "missing_field")]);
}

#[test]
fn changes_of_a_table_are_labels() {
    let columns = LabelColumns {
        id: None,
        key: Some("customer".into()),
        label: "churned".into(),
        time: Some("known_at".into()),
        ..LabelColumns::default()
    };
    let hint = || Some(EventFormat::Debezium(Arc::new(columns.clone())));
    let change = |op: &str, after: &str| {
        format!(
            r#"{{"schema":{{}},"payload":{{"before":null,"after":{after},"source":{{"ts_ms":1}},"op":"{op}","ts_ms":2}}}}"#
        )
    };
    let row = r#"{"customer":17,"churned":true,"known_at":1795303063000}"#;
    let at = DateTime::from_timestamp(1_795_303_063, 0).unwrap();
    let expected = [(LabelTarget::Key { key: "17".into(), at }, json!(true))];
    for op in ["c", "r", "u"] {
        assert_eq!(labels(&read_all(&[], change(op, row), hint())), expected, "{op}");
    }
    assert_eq!(labels(&read_all(&[], row, hint())), expected, "without its envelope");
    for nothing in
        [change("d", "null"), change("t", "null"), "  ".to_owned(), change("u", r#"{"churned":null}"#)]
    {
        assert_eq!(read_all(&[], &nothing, hint()), [], "{nothing}");
    }
    for (bad, reason) in [
        (change("x", row), "unknown_operation"),
        (change("c", "null"), "missing_field"),
        (change("c", "{}"), "missing_field"),
        (change("c", r#"{"churned":true}"#), "label_without_id"),
        (change("c", r#"{"customer":1,"churned":[]}"#), "unusable_label"),
    ] {
        assert_eq!(reasons(&[], &bad, hint()), [(0, reason)], "{bad}");
    }
    // Without a hint the columns have their usual names, and the time is that of the change.
    let usual = read_all(&[], change("c", r#"{"id":"p1","label":2,"model":"m"}"#), None);
    let [Event::Label(label)] = &usual[..] else { panic!("{usual:?}") };
    assert_eq!((label.model.as_deref(), label.time.unwrap().timestamp_millis()), (Some("m"), 1));
}

#[test]
fn messages_of_a_topic_are_sides_of_a_pair() {
    let sides = [EventFormat::Requests, EventFormat::Responses].map(|hint| {
        let pairs = [("key", "0.pipe.rid"), ("x-request-id", "rid"), ("mlserver-model", "iris")];
        let mut events = read_all(&pairs, b"\0\0\0\0\x07\0\n\x04iris", Some(hint));
        let Some(Event::Side(side)) = events.pop() else { panic!() };
        side
    });
    assert_eq!((&sides[0].pair, sides[0].side), (&sides[1].pair, Side::Request));
    assert_eq!(sides[0].body, b"\0\0\0\0\x06\n\x04iris");
    assert_eq!((sides[0].id.as_deref(), sides[0].model.as_deref()), (Some("rid"), Some("iris")));
    let json = read_all(&[("key", "k")], gzip(br#"{"inputs":[]}"#), Some(EventFormat::Requests));
    assert!(matches!(&json[..], [Event::Side(side)] if side.body == br#"{"inputs":[]}"#));
    assert_eq!(reasons(&[], "{}", Some(EventFormat::Requests)), [(0, "no_pair_id")]);
}

#[test]
fn a_schema_registry_is_needed_unless_the_rest_is_json() {
    assert_eq!(reasons(&[], b"\0\0\0\0\x07\x02\x04avro", None), [(0, "needs_schema_registry")]);
    let label = br#"{"model":"m","id":"p","label":1}"#;
    for prefix in [&b"\0\0\0\0\x07"[..], b"\0\0\0\0\x07\0"] {
        assert_eq!(labels(&read_all(&[], [prefix, label].concat(), None)).len(), 1);
    }
}

#[test]
fn events_of_unknown_types_are_told_by_their_data() {
    let pairs = with(&KSERVE, &[("ce-type", "com.example.outcome")]);
    let events = read_all(&pairs, r#"{"model":"m","id":"p","label":1}"#, None);
    assert_eq!(labels(&events), [(by_id("p", None), json!(1))]);
    assert_eq!(reasons(&pairs, "{}", None), [(0, "unknown_type")]);
    assert_eq!(reasons(&pairs, "text", None), [(0, "unknown_type")]);
    let event = r#"{"specversion":"1.0","type":"x","id":"1","source":"s","data":{"specversion":"1.0","type":"a.request","id":"1"}}"#;
    assert_eq!(reasons(&[], event, None), [(0, "unknown_type")]);
}

#[test]
fn a_message_that_is_nothing_is_refused_as_a_whole() {
    for body in ["", "  ", "oops", "{\"a\":", "\u{feff}", "[{}\n{}]"] {
        assert_eq!(read(&[], body.as_bytes(), None).unwrap_err().reason(), "not_json", "{body}");
    }
    let many = format!("[{}{{}}]", "{},".repeat(10_000));
    assert_eq!(read(&[], many.as_bytes(), None).unwrap_err().reason(), "too_large");
    assert_eq!(read(&[], "{}\n".repeat(10_001).as_bytes(), None).unwrap_err().reason(), "too_large");
    assert_eq!(reasons(&[], "[1]", None), [(0, "not_an_object")]);
    let deep = format!("{{\"request\":{}", "[".repeat(500_000));
    assert_eq!(read(&[], deep.as_bytes(), None).unwrap_err().reason(), "not_json");
    let deep = format!("{{\"id\":\"a\",\"request\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(read_all(&[], &deep, None).len(), 1, "left to the decoder of the body");
    let deep = format!("{{\"id\":\"a\",\"label\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(reasons(&[], &deep, None), [(0, "bad_label")]);
}

#[test]
fn every_format_has_a_name() {
    for name in EventFormat::NAMES {
        assert!(name.parse::<EventFormat>().is_ok(), "{name}");
    }
    assert!("kafka".parse::<EventFormat>().unwrap_err().contains("cloudevents, azure"));
}

fn any_hint() -> impl Strategy<Value = Option<EventFormat>> {
    (0..=EventFormat::NAMES.len()).prop_map(|at| EventFormat::NAMES.get(at).map(|name| name.parse().unwrap()))
}

const VALID: [&str; 12] = [
    r#"{"specversion":"1.0","id":"e1","source":"s","type":"x.request","data":{"instances":[[1]]}}"#,
    r#"{"specversion":"1.0","id":"1","type":"azureml.inference.model_inputs","data":[{"a":1}],"correlationid":"c"}"#,
    r#"{"id":"57-12","modelid":"m__isvc-8","data":"CgNhYmM=","kind":"request","status":"","metadata":{}}"#,
    r#"{"id":"k1","reqType":"a.response","bytes":"e30=","metadata":{"X-Request-Id":["r"]},"namespace":"n"}"#,
    r#"{"captureData":{"endpointInput":{"data":"1,2","encoding":"CSV"}},"eventMetadata":{"eventId":"e"}}"#,
    r#"{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"e"}}"#,
    r#"{"meta_data":{"bento_name":"c"},"columns":[{"name":"a","role":"feature"}]}"#,
    r#"{"a":1.0,"timestamp":"2026-11-21T23:17:43.4","request_id":"7","trace_id":"9"}"#,
    r#"{"model":"m","id":"p1","features":{"a":1},"outputs":{"y":2}}"#,
    r#"{"model":"m","key":"k","label":1,"time":"2026-11-21T10:00:00Z"}"#,
    r#"{"truth":{"data":{"tensor":{"shape":[1,2],"values":[0,1]}}},"request":{"meta":{"puid":"p"}}}"#,
    r#"{"payload":{"op":"c","after":{"id":"p","label":1},"ts_ms":1}}"#,
];

proptest! {
    #[test]
    fn any_bytes_and_headers_are_read_or_refused(
        names in proptest::collection::vec(("ce-[a-z]{0,6}|content-[a-z]{4,8}|key|[a-z-]{1,8}", "\\PC{0,20}"), 0..6),
        kind in prop_oneof![Just(None), Just(Some("x.request")), Just(Some("azureml.inference.inputs")), Just(Some("x.feedback"))],
        body in proptest::collection::vec(any::<u8>(), 0..200),
        hint in any_hint(),
    ) {
        let mut pairs: Vec<(String, String)> = names;
        pairs.extend(kind.map(|kind| ("ce-type".to_owned(), kind.to_owned())));
        if let Ok(events) = read(&pairs, &body, hint.as_ref()) {
            prop_assert!(events.events.len() <= body.len() + 1);
        }
    }

    #[test]
    fn changed_messages_are_read_or_refused(
        lines in proptest::collection::vec(0..VALID.len(), 1..4),
        at in any::<prop::sample::Index>(),
        change in prop_oneof![
            Just(String::new()), Just("null".into()), Just("{".into()), Just("]".into()), Just("\"".into()), "\\PC{0,6}",
        ],
        cut in 0..12_usize,
        hint in any_hint(),
    ) {
        let text = lines.iter().map(|line| VALID[*line]).collect::<Vec<_>>().join("\n");
        let mut bytes = text.into_bytes();
        let start = at.index(bytes.len());
        let end = (start + cut).min(bytes.len());
        bytes.splice(start..end, change.into_bytes());
        let _read_or_refused = read(&[], &bytes, hint.as_ref());
    }

    #[test]
    fn a_good_line_survives_any_neighbour(line in "[^\\n\\r]{1,40}", before in any::<bool>()) {
        let good = VALID[9];
        let body = if before { format!("{line}\n{good}") } else { format!("{good}\n{line}") };
        let kind = headers(&[("content-type", "application/x-ndjson")]);
        let events = read(&kind, body.as_bytes(), None).unwrap();
        prop_assert_eq!(labels(&events.events).len(), 1);
    }
}
