//! The formats beside KServe V1 and Open Inference V2, each rule as a line in a table.

use super::tests::{check, names, raw, route, show};
use super::*;

/// Decodes with content types; the answer may be empty.
fn typed(
    protocol: Protocol,
    kinds: [&'static str; 2],
    request: &[u8],
    response: &[u8],
    naming: &Naming,
) -> Result<Decoded, DecodeFailure> {
    let headers = |kind: &'static str| Headers::pick([("content-type", kind.as_bytes())]);
    let route = route(protocol);
    let (asked, answered) = (headers(kinds[0]), headers(kinds[1]));
    let request = decode_request(&RawSide { headers: &asked, ..raw(&route, request) }, naming)?;
    let response = decode_response(&RawSide { headers: &answered, ..raw(&route, response) }, 200, naming);
    join(request, Some(response), naming)
}

#[track_caller]
fn decoded(protocol: Protocol, request: &str, response: &str) -> Decoded {
    typed(protocol, ["", ""], request.as_bytes(), response.as_bytes(), &Naming::default()).unwrap()
}

#[track_caller]
fn undecodable(protocol: Protocol, kind: &'static str, request: &[u8]) -> DecodeFailure {
    typed(protocol, [kind, ""], request, b"{}", &Naming::default()).unwrap_err()
}

#[test]
fn tensorflow_classify_and_regress() {
    let classify = r#"{"signature_name":"c","context":{"site":3},"examples":[{"image":{"b64":"aGk="},"caption":"sea"},{"image":{"b64":"aG8="},"caption":"dune","site":4}]}"#;
    let features = "site=3,4 image=#,# caption='sea','dune'";
    // The documentation says `result`, the server `results`.
    for field in ["result", "results"] {
        let answer = format!(r#"{{"{field}":[[["cat",0.9],["dog",0.1]],[["cat",0.2],["dog",0.8]]]}}"#);
        check(
            Protocol::TensorflowExamples,
            classify,
            &answer,
            &[],
            features,
            "prediction='cat','dog' score[cat]=0.9,0.2 score[dog]=0.1,0.8",
        );
        let answer = format!(r#"{{"{field}":[3.5,4.0]}}"#);
        check(Protocol::TensorflowExamples, classify, &answer, &[], features, "prediction=3.5,4");
    }
    let unlabelled = r#"{"results":[[["",0.9],["",0.1]]]}"#;
    let one = r#"{"examples":[{"x":1}]}"#;
    check(Protocol::TensorflowExamples, one, unlabelled, &[], "x=1", "score[0]=0.9 score[1]=0.1");
    let failure = undecodable(Protocol::TensorflowExamples, "", br#"{"examples":["x"]}"#);
    assert_eq!(failure, DecodeFailure::MissingField("examples[0]".into()));
}

#[test]
fn kserve_batcher_fields_are_no_outputs() {
    let answer = r#"{"message":"","batchId":"7c1f","predictions":[1,2]}"#;
    check(Protocol::KserveV1, r#"{"instances":[[1],[2]]}"#, answer, &[], "[0]=1,2", "prediction=1,2");
}

#[test]
fn a_single_vector_per_row_takes_the_names_of_the_columns() {
    let request = r#"{"instances":[{"features":[1.5,16]},{"features":[2.5,17]}]}"#;
    let answer = r#"{"predictions":[{"score":0.1},{"score":0.2}]}"#;
    check(
        Protocol::Invocations,
        request,
        answer,
        &["age", "income"],
        "age=1.5,2.5 income=16,17",
        "score=0.1,0.2",
    );
    check(
        Protocol::Invocations,
        request,
        answer,
        &[],
        "features[0]=1.5,2.5 features[1]=16,17",
        "score=0.1,0.2",
    );
}

#[test]
fn mlflow_bodies() {
    let answer = r#"{"predictions":[0,2]}"#;
    let m = |request: &str, features: &[&str], expected: &str| {
        for protocol in [Protocol::Invocations, Protocol::Mlflow] {
            check(protocol, request, answer, features, expected, "prediction=0,2");
        }
    };
    m(
        r#"{"dataframe_split":{"columns":["a (cm)","b"],"index":[7,8],"data":[[5.1,"u"],[6.7,null]]},"params":{"t":1}}"#,
        &[],
        "a (cm)=5.1,6.7 b='u',_",
    );
    m(r#"{"dataframe_split":{"data":[[1,2],[3,4]]}}"#, &[], "0=1,3 1=2,4");
    m(r#"{"dataframe_split":{"data":[[1,2],[3,4]]}}"#, &["a", "b"], "a=1,3 b=2,4");
    m(r#"{"dataframe_split":{"columns":[0,1],"data":[[1,2],[3,4]]}}"#, &["a", "b"], "0=1,3 1=2,4");
    m(r#"{"dataframe_split":{"columns":["a"],"data":[1,2]}}"#, &[], "a=1,2");
    m(
        r#"{"dataframe_records":[{"a":1,"b":[1,2]},{"a":2,"c":true}]}"#,
        &[],
        "a=1,2 b[0]=1,_ b[1]=2,_ c=_,true",
    );
    m(r#"{"instances":[[1,2],[3,4]],"params":{"t":1}}"#, &["a", "b"], "a=1,3 b=2,4");
    m(r#"{"instances":[{"a":1},{"a":2}]}"#, &[], "a=1,2");
    m(r#"{"inputs":{"a":[5.1,6.7],"b":["u","v"]}}"#, &[], "a=5.1,6.7 b='u','v'");
    m(r#"{"inputs":[{"a":1},{"a":2}]}"#, &[], "a=1,2");
    m(r#"{"inputs":[[1,2],[3,4]]}"#, &[], "[0]=1,3 [1]=2,4");
    check(
        Protocol::Mlflow,
        r#"{"inputs":{"a":1,"b":"u"}}"#,
        r#"{"predictions":[{"score":NaN,"label":"a"}]}"#,
        &[],
        "a=1 b='u'",
        "score=NaN label='a'",
    );
    let id = decoded(
        Protocol::Invocations,
        r#"{"client_request_id":"q7","dataframe_split":{"columns":["a"],"data":[[1]]}}"#,
        r#"{"predictions":[1]}"#,
    );
    assert_eq!(id.body_id.as_deref(), Some("q7"));
    for (request, field) in [
        (r#"{"dataframe_split":{"columns":["a"]}}"#, "dataframe_split.data"),
        (r#"{"dataframe_split":{"columns":[["a"]],"data":[[1]]}}"#, "dataframe_split.columns"),
        (r#"{"dataframe_records":{"a":[1]}}"#, "dataframe_records"),
    ] {
        let failure = undecodable(Protocol::Invocations, "", request.as_bytes());
        assert_eq!(failure, DecodeFailure::MissingField(field.into()), "{request}");
    }
}

#[test]
fn mlflow_csv_has_a_header() {
    let csv = |kind: &'static str, request: &str| {
        let answer = br#"{"predictions":[1,2]}"#;
        let decoded =
            typed(Protocol::Invocations, [kind, ""], request.as_bytes(), answer, &Naming::default()).unwrap();
        assert_eq!(show(&decoded.batch.outputs), "prediction=1,2");
        show(&decoded.batch.features)
    };
    for kind in ["text/csv", "", "text/csv; charset=utf-8"] {
        assert_eq!(csv(kind, "x,c\n1.0,u\n2.0,v\n"), "x=1,2 c='u','v'");
        assert_eq!(csv(kind, ",x,c\n0,1.0,u\n1,2.0,v\n"), "x=1,2 c='u','v'");
    }
}

#[test]
fn parquet_and_other_binary_bodies_are_counted_as_unsupported() {
    let cases: [(Protocol, &'static str, &[u8]); 7] = [
        (Protocol::Invocations, "application/vnd.apache.parquet", b"PAR1\x15\x04"),
        (Protocol::Invocations, "", b"PAR1\x15\x04"),
        (Protocol::SageMaker, "application/x-recordio-protobuf", b"\x0a#"),
        (Protocol::SageMaker, "text/libsvm", b"1 1:0.5"),
        (Protocol::SageMaker, "application/x-npy", b"\x93NUMPY"),
        (Protocol::TorchServe, "application/octet-stream", b"\x89PNG"),
        (Protocol::TorchServe, "multipart/form-data; boundary=x", b"--x\r\n"),
    ];
    for (protocol, kind, body) in cases {
        assert_eq!(undecodable(protocol, kind, body).reason(), "unsupported_format", "{kind}");
    }
}

#[test]
fn sagemaker_csv_takes_names_from_the_settings() {
    let naming = names(&["age", "sex", "city"]);
    let csv = |request: &str, answer: &str| {
        let kinds = ["text/csv", "text/csv; charset=utf-8"];
        let decoded =
            typed(Protocol::SageMaker, kinds, request.as_bytes(), answer.as_bytes(), &naming).unwrap();
        format!("{} -> {}", show(&decoded.batch.features), show(&decoded.batch.outputs))
    };
    assert_eq!(csv("69,0,x\n", "0.025"), "age=69 sex=0 city='x' -> prediction=0.025");
    assert_eq!(
        csv("69,0,x\n70,1,y\n", "0.025\n0.5\n"),
        "age=69,70 sex=0,1 city='x','y' -> prediction=0.025,0.5"
    );
    assert_eq!(csv("69,0,x", "0.1,0.9"), "age=69 sex=0 city='x' -> prediction[0]=0.1 prediction[1]=0.9");
    assert_eq!(
        csv("69,0,x\n70,1,y", "0,0.9\n1,0.8"),
        "age=69,70 sex=0,1 city='x','y' -> prediction[0]=0,1 prediction[1]=0.9,0.8"
    );
    // Without a header the first line is a row, though it may be all text.
    let texts =
        typed(Protocol::SageMaker, ["text/csv", ""], b"a,b\nc,d", b"1\n2", &Naming::default()).unwrap();
    assert_eq!(show(&texts.batch.features), "[0]='a','c' [1]='b','d'");
}

#[test]
fn one_line_of_n_predictions_is_n_rows() {
    let naming = names(&["a", "b"]);
    let decoded =
        typed(Protocol::Invocations, ["text/csv", "text/csv"], b"1,2\n3,4\n5,6\n", b"0.1,0.2,0.3", &naming);
    let decoded = decoded.unwrap();
    assert_eq!((decoded.batch.rows, show(&decoded.batch.outputs).as_str()), (3, "prediction=0.1,0.2,0.3"));
    // One row with as many outputs, and an answer on its own.
    let one =
        typed(Protocol::Invocations, ["text/csv", "text/csv"], b"1,2", b"0.1,0.2,0.3", &naming).unwrap();
    assert_eq!(show(&one.batch.outputs), "prediction[0]=0.1 prediction[1]=0.2 prediction[2]=0.3");
    let route = route(Protocol::Invocations);
    let alone = decode_response(&raw(&route, b"0.1,0.2"), 200, &naming).unwrap().alone().unwrap();
    assert_eq!(
        (alone.batch.rows, show(&alone.batch.outputs).as_str()),
        (1, "prediction[0]=0.1 prediction[1]=0.2")
    );
}

#[test]
fn sagemaker_json_lines() {
    let request = b"{\"features\":[1.5,16]}\n{\"features\":[2.5,NaN]}\n";
    let answer = b"{\"score\":0.1,\"predicted_label\":\"a\"}\n{\"score\":0.2,\"predicted_label\":\"b\"}";
    for kind in ["application/jsonlines", "application/x-ndjson", "", "application/json"] {
        let decoded =
            typed(Protocol::SageMaker, [kind, kind], request, answer, &names(&["age", "income"])).unwrap();
        assert_eq!(show(&decoded.batch.features), "age=1.5,2.5 income=16,NaN");
        assert_eq!(show(&decoded.batch.outputs), "score=0.1,0.2 predicted_label='a','b'");
        assert_eq!(decoded.notes.nonfinite_tokens, 1);
    }
    let mixed = b"[1,2]\n[3,4]";
    let decoded =
        typed(Protocol::SageMaker, ["application/jsonlines", ""], mixed, b"[5]\n[6]", &Naming::default())
            .unwrap();
    assert_eq!(show(&decoded.batch.features), "[0]=1,3 [1]=2,4");
    assert_eq!(show(&decoded.batch.outputs), "prediction=5,6");
    let broken = undecodable(Protocol::SageMaker, "application/jsonlines", b"{\"a\":1}\n{\"a\":");
    assert_eq!(broken.reason(), "not_json");
}

#[test]
fn seldon_messages() {
    let s = |request: &str, response: &str, features: &[&str], expected: &str, outputs: &str| {
        for protocol in [Protocol::SeldonV1, Protocol::Configured] {
            check(protocol, request, response, features, expected, outputs);
        }
    };
    s(
        r#"{"data":{"names":["a","b"],"ndarray":[[1,2],[3,4]]}}"#,
        r#"{"data":{"names":["pos","neg"],"ndarray":[[3,-3],[7,-7]]},"meta":{}}"#,
        &[],
        "a=1,3 b=2,4",
        "pos=3,7 neg=-3,-7",
    );
    s(
        r#"{"data":{"names":["a","b"],"tensor":{"shape":[2,2],"values":[1,2,3,4]}},"meta":{"puid":"p1"}}"#,
        r#"{"data":{"names":["t:0","t:1"],"tensor":{"shape":[2,2],"values":[3,-3,7,-7]}},"meta":{"puid":"p1"}}"#,
        &[],
        "a=1,3 b=2,4",
        "t:0=3,7 t:1=-3,-7",
    );
    // Names may be absent or empty, values of any kind.
    s(
        r#"{"data":{"ndarray":[[1,"x"],[null,"y"]]}}"#,
        r#"{"data":{"names":[],"ndarray":[["no"],["yes"]]}}"#,
        &["n", "c"],
        "n=1,_ c='x','y'",
        "prediction='no','yes'",
    );
    s(
        r#"{"data":{"ndarray":[[1,2]]}}"#,
        r#"{"data":{"ndarray":[[0.1,0.9]]}}"#,
        &[],
        "[0]=1 [1]=2",
        "prediction[0]=0.1 prediction[1]=0.9",
    );
    s(
        r#"{"data":{"names":["a","b"],"ndarray":[1,2]}}"#,
        r#"{"data":{"ndarray":[9]}}"#,
        &[],
        "a=1 b=2",
        "prediction=9",
    );
    s(r#"{"jsonData":{"x":1,"y":{"z":"u"}}}"#, r#"{"jsonData":{"got":2}}"#, &[], "x=1 y.z='u'", "got=2");
    s(r#"{"strData":"secret"}"#, r#"{"binData":"aGk="}"#, &[], "strData=#", "binData=#");
    let failure = undecodable(Protocol::SeldonV1, "", br#"{"data":{"tensor":{"shape":[3],"values":[1,2]}}}"#);
    assert_eq!(failure, DecodeFailure::ShapeMismatch("data.tensor".into()));
    assert_eq!(undecodable(Protocol::SeldonV1, "", b"{}"), DecodeFailure::MissingField("data".into()));
}

#[test]
fn seldon_names_the_prediction_and_the_version() {
    let request = r#"{"data":{"ndarray":[[1]]}}"#;
    let version = |meta: &str| {
        let decoded =
            decoded(Protocol::SeldonV1, request, &format!(r#"{{"data":{{"ndarray":[[1]]}},"meta":{meta}}}"#));
        (decoded.body_id, decoded.model_version)
    };
    assert_eq!(
        version(r#"{"puid":"p1","requestPath":{"clf":"seldonio/clf:1.2"}}"#),
        (Some("p1".into()), Some("seldonio/clf:1.2".into()))
    );
    // With several nodes none is the one that answered.
    assert_eq!(version(r#"{"requestPath":{"a":"x:1","b":"y:2"}}"#), (None, None));
    assert_eq!(version("{}"), (None, None));
}

#[test]
fn azure_and_vertex() {
    let split = r#"{"input_data":{"columns":["a","b"],"index":[0,1],"data":[[1,"u"],[2,"v"]]},"params":{}}"#;
    check(
        Protocol::AzureScore,
        split,
        "[11055.97,4503.07]",
        &[],
        "a=1,2 b='u','v'",
        "prediction=11055.97,4503.07",
    );
    check(
        Protocol::AzureScore,
        r#"{"data":[[1,2],[3,4]]}"#,
        r#"{"result":[3,7]}"#,
        &["a", "b"],
        "a=1,3 b=2,4",
        "result=3,7",
    );
    let vertex = decoded(
        Protocol::Vertex,
        r#"{"instances":[[1,2]],"parameters":{"t":1}}"#,
        r#"{"predictions":[1.9],"deployedModelId":"402","model":"projects/p/models/8","modelDisplayName":"cal","modelVersionId":"1"}"#,
    );
    assert_eq!(show(&vertex.batch.outputs), "prediction=1.9");
    assert_eq!(vertex.model_version.as_deref(), Some("1"));
    let older =
        decoded(Protocol::Vertex, r#"{"instances":[1]}"#, r#"{"predictions":[1],"deployedModelId":"402"}"#);
    assert_eq!(older.model_version.as_deref(), Some("402"));
}

#[test]
fn torchserve_takes_envelopes_and_free_json() {
    let t = |request: &str, response: &str, features: &str, outputs: &str| {
        check(Protocol::TorchServe, request, response, &[], features, outputs);
    };
    t(r#"{"instances":[{"data":1}]}"#, r#"{"predictions":[7]}"#, "data=1", "prediction=7");
    t(
        r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#,
        r#"{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[7]}]}"#,
        "x[0]=1 x[1]=2",
        "y=7",
    );
    t(r#"{"age":30,"city":"x"}"#, r#"{"tabby":0.9,"tiger":0.1}"#, "age=30 city='x'", "tabby=0.9 tiger=0.1");
    t("[[1,2],[3,4]]", "[5,6]", "[0]=1,3 [1]=2,4", "prediction=5,6");
}

#[test]
fn openai_gives_sizes_and_never_text() {
    let request = r#"{"model":"qwen","messages":[{"role":"system","content":"Be brief."},
        {"role":"user","content":[{"type":"text","text":"SECRET 1"},{"type":"image_url","image_url":{"url":"SECRET 2"}}]}],
        "max_tokens":64,"temperature":0.5,"stream":false,"user":"SECRET 3"}"#;
    let answer = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"qwen-2","choices":[{"index":0,"message":
        {"role":"assistant","content":"SECRET 4"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8}}}"#;
    for protocol in [Protocol::OpenAi, Protocol::Invocations] {
        check(
            protocol,
            request,
            answer,
            &[],
            "messages=2 prompt_chars=17 max_tokens=64 temperature=0.5 stream=false",
            "choices=1 finish_reason='stop' prompt_tokens=12 completion_tokens=3 total_tokens=15 cached_tokens=8",
        );
    }
    let exchange = decoded(Protocol::OpenAi, request, answer);
    assert_eq!(exchange.body_id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(exchange.model_version.as_deref(), Some("qwen-2"));
    assert!(!format!("{exchange:?}").contains("SECRET"));
    let odd = r#"{"choices":[{"finish_reason":"SECRET"}]}"#;
    let prompts = r#"{"prompt":["abc","de"]}"#;
    check(Protocol::OpenAi, prompts, odd, &[], "prompt_chars=5", "choices=1 finish_reason=#");
    let vectors =
        r#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    check(
        Protocol::OpenAi,
        r#"{"input":["abc","de"]}"#,
        vectors,
        &[],
        "prompt_chars=5 inputs=2",
        "prompt_tokens=2 total_tokens=2 embeddings=1",
    );
    let triton = r#"{"text_input":"abcd","parameters":{"max_tokens":9}}"#;
    check(
        Protocol::OpenInferenceStream,
        triton,
        r#"{"model_name":"m","model_version":"1","text_output":"xyz"}"#,
        &[],
        "prompt_chars=4 max_tokens=9",
        "completion_chars=3",
    );
}

#[test]
fn classification_strings_are_value_index_and_label() {
    let request = |parameters: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","shape":[2,1],"datatype":"FP32","data":[1,2]}}],"outputs":[{{"name":"score","parameters":{parameters}}}]}}"#
        )
    };
    let answer = |shape: &str, data: &str| {
        format!(r#"{{"outputs":[{{"name":"score","datatype":"BYTES","shape":{shape},"data":{data}}}]}}"#)
    };
    let check = |parameters: &str, shape: &str, data: &str, expected: &str| {
        check(Protocol::OpenInference, &request(parameters), &answer(shape, data), &[], "x=1,2", expected);
    };
    check(
        r#"{"classification":1}"#,
        "[2,1]",
        r#"["10.200000:0","-17.199999:0"]"#,
        "score.top1_index=0,0 score.top1_value=10.2,-17.199999",
    );
    check(
        r#"{"classification":2}"#,
        "[2,2]",
        r#"["0.900000:1:cat","0.100000:0:a:b","0.800000:0:dog","0.200000:1:cat"]"#,
        "score.top1_index=1,0 score.top1_value=0.9,0.8 score.top1_label='cat','dog' \
         score.top2_index=0,1 score.top2_value=0.1,0.2 score.top2_label='a:b','cat'",
    );
    // Whole numbers are told from other texts by the request only.
    check(
        r#"{"classification":1}"#,
        "[2,1]",
        r#"["5:0","7:1"]"#,
        "score.top1_index=0,1 score.top1_value=5,7",
    );
    check("{}", "[2,1]", r#"["5:0","7:1"]"#, "score='5:0','7:1'");
    check("{}", "[2,1]", r#"["10.200000:0","no"]"#, "score='10.200000:0','no'");
}
