//! The secrets, each a token of its own, and the exchanges they are planted in.

use std::collections::BTreeMap;

/// What is said about privacy; the fields below are named after it.
pub(super) const SETTINGS: &str = "
retention: {profiles: 36500d, captured: 36500d}
privacy:
  drop: [name]
  mask: [email, phone, card]
  key_file: privacy.keys
models:
  - name: m
    window: 1m
    lateness: 1s
    min_rows: 1
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: flow
    path: /invocations
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: csv
    path: /csv
    features: [name, customer_id, note, segment]
    format: {protocol: sagemaker}
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: seldon
    path: /api/v1.0/predictions
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: free
    path: /free
    format: {protocol: free_json, request: {rows: /rows}, response: {rows: /results}, id: /request_id}
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: vertex
    path: /v1/projects/p/locations/l/endpoints/e:predict
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: azure
    path: /score
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
  - name: chat
    path: /v1/chat/completions
    training: {task: regression, target: y}
    privacy: {hash: [customer_id]}
";

/// A row of reference data.
pub(super) const REFERENCE: &str = r#"{"segment": "canary-ref", "amount": 1.5, "name": "<<name>>", "customer_id": "<<customer>>", "note": "to <<email>>", "card": "<<card>>", "reply": "call <<phone>>"}"#;

/// Where a case is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Proxy,
    /// The proxy, over HTTP/2.
    Grpc,
    Admin,
}

/// One exchange.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) to: To,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) request: Vec<u8>,
    pub(super) status: u16,
    pub(super) answer: Vec<u8>,
    /// Whether its rows are kept for training.
    pub(super) kept: bool,
}

/// Every secret that was planted, with its place.
#[derive(Debug, Default)]
pub(super) struct Planted {
    secrets: BTreeMap<String, String>,
    drawn: u64,
}

impl Planted {
    /// A number that nobody else has drawn, of 11 digits.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let seed = uuid::Uuid::now_v7().as_u128() ^ u128::from(self.drawn) << 64;
        // The finaliser of SplitMix64.
        let mut x = u64::try_from(seed & u128::from(u64::MAX))
            .unwrap()
            .wrapping_add(u64::try_from(seed >> 64).unwrap());
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        10_000_000_000 + (x ^ x >> 31) % 80_000_000_000
    }

    /// `template` with a new secret at every `<<kind>>`.
    pub(super) fn plant(&mut self, place: &str, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("<<") {
            let (kind, after) = after.split_once(">>").unwrap();
            text.push_str(before);
            let (written, secret) = self.secret(kind);
            text.push_str(&written);
            self.secrets.insert(secret, format!("{kind} {} of {place}", self.drawn));
            rest = after;
        }
        text + rest
    }

    /// A secret as it is written, and the part of it that must be found nowhere.
    fn secret(&mut self, kind: &str) -> (String, String) {
        let number = self.draw();
        match kind {
            "email" => (format!("ann.{number}@mail.example.com"), format!("ann.{number}")),
            "phone" => (format!("+49 {number}"), number.to_string()),
            "card" => {
                let digits = with_check_digit(&format!("4000{number}"));
                (digits.clone(), digits)
            }
            "name" => (format!("Name{number}"), format!("Name{number}")),
            "customer" => (format!("C{number}"), format!("C{number}")),
            "customer_number" => (number.to_string(), number.to_string()),
            other => panic!("there is no secret called {other}"),
        }
    }

    /// Every secret that one of `places` holds, in words.
    pub(super) fn found_in(&self, places: &[(String, Vec<u8>)]) -> Vec<String> {
        assert!(self.secrets.len() > 400, "only {} secrets", self.secrets.len());
        let any: Vec<String> = self.secrets.keys().map(|secret| regex::escape(secret)).collect();
        let any = regex::bytes::Regex::new(&any.join("|")).unwrap();
        let mut found = Vec::new();
        for (place, content) in places {
            for hit in any.find_iter(content) {
                let secret = std::str::from_utf8(hit.as_bytes()).unwrap();
                found.push(format!("{place} holds {secret}, the {}", self.secrets[secret]));
            }
        }
        found.dedup();
        found
    }
}

fn with_check_digit(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(digit - b'0')) {
            (1, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// Headers that hold a secret, whatever the format.
const HEADERS: [(&str, &str); 6] = [
    ("x-request-id", "<<email>>"),
    ("authorization", "Bearer <<name>>"),
    ("cookie", "session=<<name>>"),
    ("ce-id", "<<email>>"),
    ("seldon-puid", "<<card>>"),
    ("x-amzn-sagemaker-inference-id", "<<email>>"),
];

/// A case by templates: name, path, request, status, answer, whether it is kept.
type Template = (&'static str, &'static str, &'static str, u16, &'static str, bool);

const ROWS: &str = r#"{"name": "<<name>>", "customer_id": "<<customer>>", "note": "mail <<email>> or call <<phone>>", "card": <<card>>, "cards": "pay with <<card>>!", "nested": {"name": "<<name>>", "mail": "<<email>>"}, "list": ["<<email>>", "<<phone>>"], "name.first": "<<name>>", "scores.<<email>>": 1, "amount": 2.5, "segment": "canary-row"}"#;

const PROXIED: [Template; 25] = [
    (
        "V1 rows",
        "/v1/models/m:predict?mail=<<email>>&name=<<name>>",
        r#"{"instances": [ROWS, ROWS], "signature_name": "<<name>>", "parameters": {"name": "<<name>>"}}"#,
        200,
        r#"{"predictions": [{"reply": "call <<phone>>", "name": "<<name>>", "y": 1}, {"reply": "<<email>>", "card": <<card>>}], "note": "<<name>>"}"#,
        true,
    ),
    (
        "V1 columns",
        "/v1/models/m/versions/7:predict",
        r#"{"inputs": {"name": ["<<name>>"], "customer_id": [<<customer_number>>], "note": ["<<email>>"], "segment": ["canary-column"], "card": [[<<card>>, <<card>>]], "<<email>>": [1]}}"#,
        200,
        r#"{"outputs": {"reply": ["<<phone>>"], "name": ["<<name>>"], "customer_id": ["<<customer>>"]}}"#,
        true,
    ),
    (
        "V1 scalars",
        "/v1/models/m:predict",
        r#"{"instances": ["write to <<email>>", "call <<phone>>", "<<card>>"]}"#,
        200,
        r#"{"predictions": ["<<email>>", "<<phone>>", <<card>>]}"#,
        true,
    ),
    (
        "V1 in an event",
        "/v1/models/m:predict",
        r#"{"specversion": "1.0", "id": "<<email>>", "source": "<<name>>", "type": "t", "subject": "<<name>>", "data": {"instances": [ROWS]}}"#,
        200,
        r#"{"specversion": "1.0", "id": "<<email>>", "source": "<<name>>", "type": "t", "data": {"predictions": ["<<email>>"]}}"#,
        true,
    ),
    (
        "V2 JSON",
        "/v2/models/m/infer",
        r#"{"id": "<<email>>", "parameters": {"name": "<<name>>", "note": "<<email>>"}, "inputs": [
            {"name": "name", "shape": [2], "datatype": "BYTES", "parameters": {"note": "<<name>>"}, "data": ["<<name>>", "<<name>>"]},
            {"name": "customer_id", "shape": [2, 1], "datatype": "INT64", "data": [[<<customer_number>>], [<<customer_number>>]]},
            {"name": "note", "shape": [2, 2], "datatype": "BYTES", "data": ["<<email>>", "<<phone>>", "<<card>>", "canary"]},
            {"name": "card", "shape": [2], "datatype": "INT64", "data": [<<card>>, <<card>>]},
            {"name": "<<email>>", "shape": [2], "datatype": "FP64", "data": [1, 2]}]}"#,
        200,
        r#"{"model_name": "<<name>>", "model_version": "by <<email>>", "id": "<<email>>", "parameters": {"name": "<<name>>"}, "outputs": [
            {"name": "reply", "shape": [2], "datatype": "BYTES", "data": ["call <<phone>>", "<<email>>"]},
            {"name": "<<email>>", "shape": [2], "datatype": "FP32", "data": [0.5, 0.5]}]}"#,
        true,
    ),
    (
        "MLflow split",
        "/invocations",
        r#"{"dataframe_split": {"columns": ["name", "customer_id", "note", "segment", "card", "<<email>>"], "index": ["<<name>>"], "data": [["<<name>>", "<<customer>>", "<<email>>", "canary-split", <<card>>, 1]]}, "params": {"name": "<<name>>"}}"#,
        200,
        r#"{"predictions": [{"reply": "<<phone>>", "name": "<<name>>"}]}"#,
        true,
    ),
    (
        "MLflow records",
        "/invocations",
        r#"{"dataframe_records": [ROWS, ROWS]}"#,
        200,
        r#"{"predictions": ["<<email>>", "<<phone>>"]}"#,
        true,
    ),
    (
        "MLflow CSV",
        "/invocations",
        "name,customer_id,note,segment\n<<name>>,<<customer>>,<<email>>,canary-csv\n<<name>>,<<customer_number>>,\"<<phone>>, <<card>>\",canary-csv\n",
        200,
        r#"{"predictions": [1, 2]}"#,
        true,
    ),
    (
        "SageMaker CSV",
        "/csv?name=<<name>>",
        "<<name>>,<<customer>>,<<email>>,canary-lines\n<<name>>,<<customer>>,<<phone>>,canary-lines\n",
        200,
        "<<email>>\n<<card>>\n",
        true,
    ),
    (
        "Seldon",
        "/api/v1.0/predictions",
        r#"{"data": {"names": ["name", "customer_id", "note", "card"], "ndarray": [["<<name>>", "<<customer>>", "<<email>>", <<card>>]]}, "meta": {"puid": "<<email>>", "tags": {"name": "<<name>>"}}}"#,
        200,
        r#"{"data": {"names": ["reply", "name"], "ndarray": [["<<phone>>", "<<name>>"]]}, "meta": {"puid": "<<email>>", "requestPath": {"<<name>>": "by <<email>>"}}}"#,
        true,
    ),
    (
        "Seldon JSON",
        "/api/v1.0/predictions",
        r#"{"jsonData": [ROWS], "meta": {"puid": "<<phone>>"}}"#,
        200,
        r#"{"jsonData": {"reply": "<<email>>", "name": "<<name>>"}, "strData": "<<name>>"}"#,
        true,
    ),
    (
        "free JSON",
        "/free",
        r#"{"request_id": "<<email>>", "rows": [{"name": "<<name>>", "customer_id": "<<customer>>", "user": {"name": "<<name>>", "mail": "<<email>>", "customer_id": <<customer_number>>, "segment": "canary-deep"}, "note": "<<phone>>", "card": <<card>>, "cards": ["<<card>>", "<<email>>"]}], "name": "<<name>>"}"#,
        200,
        r#"{"results": [{"reply": "<<email>>", "name": "<<name>>", "more": {"name": "<<name>>", "mail": "<<email>>"}}], "note": "<<name>>"}"#,
        true,
    ),
    (
        "Vertex",
        "/v1/projects/p/locations/l/endpoints/e:predict",
        r#"{"instances": [ROWS], "parameters": {"name": "<<name>>", "mail": "<<email>>"}}"#,
        200,
        r#"{"predictions": [{"reply": "<<phone>>", "name": "<<name>>"}], "deployedModelId": "by <<email>>", "modelDisplayName": "<<name>>"}"#,
        true,
    ),
    (
        "Azure",
        "/score",
        r#"{"input_data": {"columns": ["name", "customer_id", "note", "segment", "card"], "index": ["<<name>>"], "data": [["<<name>>", "<<customer>>", "<<email>>", "canary-azure", <<card>>]]}, "params": {"name": "<<name>>"}}"#,
        200,
        r#"["call <<phone>>"]"#,
        true,
    ),
    (
        "Azure data",
        "/score",
        r#"{"data": [ROWS, ROWS], "method": "<<name>>", "GlobalParameters": {"name": "<<name>>"}}"#,
        200,
        r#"{"result": ["<<email>>", "<<card>>"], "name": "<<name>>"}"#,
        true,
    ),
    (
        "chat",
        "/v1/chat/completions",
        r#"{"model": "by <<email>>", "user": "<<email>>", "messages": [{"role": "user", "name": "<<name>>", "content": "I am <<name>>, <<email>>, <<card>>"}], "stop": ["<<name>>"], "metadata": {"name": "<<name>>"}}"#,
        200,
        r#"{"id": "<<email>>", "object": "chat.completion", "model": "by <<email>>", "choices": [{"index": 0, "finish_reason": "<<name>>", "message": {"role": "assistant", "content": "<<name>>, call <<phone>>"}}], "usage": {"prompt_tokens": 3}}"#,
        true,
    ),
    (
        "chat as a stream of events",
        "/v1/chat/completions",
        r#"{"stream": true, "messages": [{"role": "user", "content": "<<name>> <<email>>"}]}"#,
        200,
        "data: {\"id\": \"<<email>>\", \"object\": \"chat.completion.chunk\", \"choices\": [{\"delta\": {\"content\": \"<<name>> <<phone>>\"}, \"finish_reason\": null}]}\n\n: <<name>>\nevent: <<name>>\nid: <<email>>\ndata: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"stop\"}], \"note\": \"<<card>>\"}\n\ndata: [DONE]\n\n",
        true,
    ),
    ("TorchServe", "/predictions/m", "[ROWS]", 200, r#"[{"reply": "<<email>>", "name": "<<name>>"}]"#, false),
    (
        "an error that repeats its input",
        "/v1/models/m:predict",
        r#"{"instances": [ROWS]}"#,
        400,
        r#"{"error": "cannot use <<name>>, <<email>>, <<card>>", "name": "<<name>>", "customer_id": "<<customer>>"}"#,
        false,
    ),
    (
        "a failure",
        "/v2/models/m/infer",
        r#"{"inputs": "<<name>>"}"#,
        500,
        "<<name>> <<email>> <<customer>>",
        false,
    ),
    (
        "no JSON",
        "/v1/models/m:predict",
        r#"{"instances": [{"name": "<<name>>", "note": "<<email>>""#,
        200,
        "<<name>> <<email>>",
        false,
    ),
    (
        "no prediction",
        "/v1/models/m:predict",
        r#"{"instances": {"name": "<<name>>"}, "<<email>>": 1}"#,
        200,
        r#"{"<<email>>": "<<name>>"}"#,
        false,
    ),
    (
        "an answer that is none",
        "/v1/models/m:predict",
        r#"{"instances": [{"name": "<<name>>", "segment": "canary", "customer_id": "<<customer>>"}]}"#,
        200,
        "<<name>>, <<email>>",
        true,
    ),
    (
        "an unknown model",
        "/v1/models/<<name>>:predict",
        r#"{"instances": ["<<name>>"]}"#,
        200,
        r#"{"predictions": ["<<name>>"]}"#,
        false,
    ),
    ("no model at all", "/users/<<name>>/<<email>>", "<<name>> <<email>>", 404, "<<name>>", false),
];

const PUSHED: [Template; 4] = [
    (
        "predictions",
        "/v1/predictions",
        r#"[{"model": "m", "id": "<<email>>", "time": "2026-01-01T00:00:10Z", "model_version": "by <<email>>", "features": ROWS, "outputs": {"reply": "<<phone>>", "name": "<<name>>"}}]"#,
        200,
        "",
        true,
    ),
    (
        "predictions by line",
        "/v1/predictions",
        "{\"model\": \"m\", \"id\": \"p-canary\", \"time\": \"2026-01-01T00:00:10Z\", \"features\": [ROWS, ROWS]}\n{\"model\": \"m\", \"features\": {\"name\": \"<<name>>\"}, \"<<name>>\": 1}\n",
        200,
        "",
        true,
    ),
    ("predictions for nobody", "/v1/predictions", r#"{"model": "other", "features": ROWS}"#, 400, "", false),
    ("no predictions", "/v1/predictions", r#"{"name": "<<name>>", "note": "<<email>>"#, 400, "", false),
];

/// Every case, with secrets of its own at every place.
pub(super) fn cases(planted: &mut Planted) -> Vec<Case> {
    let proxied = PROXIED.iter().map(|template| (To::Proxy, template));
    let pushed = PUSHED.iter().map(|template| (To::Admin, template));
    let mut cases = Vec::new();
    for (at, (to, (name, path, request, status, answer, kept))) in proxied.chain(pushed).enumerate() {
        let mut plant = |what: &str, template: &str| {
            planted.plant(&format!("{name}, {what}"), &template.replace("ROWS", ROWS))
        };
        let mut headers: Vec<(&str, String)> =
            HEADERS.iter().map(|(header, value)| (*header, plant(header, value))).collect();
        // Every other case is found by its body's id, or by another header's.
        if at % 2 == 1 {
            headers.retain(|(header, _)| *header != "x-request-id");
        }
        if name.ends_with("CSV") {
            headers.push(("content-type", "text/csv".to_owned()));
        }
        cases.push(Case {
            name,
            to,
            path: plant("path", path),
            headers,
            request: plant("request", request).into(),
            status: *status,
            answer: plant("answer", answer).into(),
            kept: *kept,
        });
    }
    cases.push(binary(planted));
    cases.push(grpc(planted));
    cases
}

/// A field of a protocol buffer that has a length: text, bytes or a message.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 128 {
        bytes.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(content);
    bytes
}

/// A message of gRPC: not compressed, its length, itself.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// `ModelInfer` of Open Inference V2: one tensor with typed contents, the others with raw ones.
fn grpc(planted: &mut Planted) -> Case {
    let mut plant = |what: &str, template: &str| planted.plant(&format!("gRPC, {what}"), template);
    let tensor = |name: &str, contents: &[u8]| {
        [field(1, name), field(2, "BYTES"), field(3, [1]), contents.to_vec()].concat()
    };
    let parameter =
        [field(1, plant("parameter", "<<email>>")), field(2, field(3, plant("value", "<<name>>")))].concat();
    let head = [field(1, "m"), field(3, plant("id", "<<email>>")), field(4, &parameter)].concat();
    let typed = field(5, field(8, plant("typed contents", "<<name>>")));
    let request = [head.clone(), field(5, tensor("name", &typed))].concat();
    let mut rest = Vec::new();
    for (name, value) in [("customer_id", "<<customer>>"), ("note", "<<email>>"), ("segment", "canary-grpc")]
    {
        let contents = field(5, field(8, plant(name, value)));
        rest.extend(field(5, tensor(name, &contents)));
    }
    let reply = plant("raw contents", "call <<phone>>");
    let raw = [&u32::try_from(reply.len()).unwrap().to_le_bytes()[..], reply.as_bytes()].concat();
    let answer = [head, field(5, tensor("reply", &[])), field(6, raw)].concat();
    Case {
        name: "gRPC",
        to: To::Grpc,
        path: "/inference.GRPCInferenceService/ModelInfer".to_owned(),
        headers: vec![
            ("content-type", "application/grpc".to_owned()),
            ("x-note", plant("metadata", "<<name>>")),
        ],
        request: framed(&[request, rest].concat()),
        status: 200,
        answer: framed(&answer),
        kept: true,
    }
}

/// Tensors whose data follow the JSON as bytes; every length is under 128, so that all of it is text too.
fn binary(planted: &mut Planted) -> Case {
    let mut tensors = Vec::new();
    let mut tail = String::new();
    for (tensor, value) in [
        ("name", "<<name>>"),
        ("customer_id", "<<customer>>"),
        ("note", "<<email>>"),
        ("segment", "canary-bytes"),
    ] {
        let value = planted.plant(&format!("binary tensors, {tensor}"), value);
        tail.push(char::from(u8::try_from(value.len()).unwrap()));
        tail.push_str("\0\0\0");
        tail.push_str(&value);
        tensors.push(format!(
            r#"{{"name": "{tensor}", "shape": [1], "datatype": "BYTES", "parameters": {{"binary_data_size": {}}}}}"#,
            value.len() + 4
        ));
    }
    let json = planted
        .plant("binary tensors", &format!(r#"{{"id": "<<email>>", "inputs": [{}]}}"#, tensors.join(", ")));
    Case {
        name: "binary tensors",
        to: To::Proxy,
        path: "/v2/models/m/infer".to_owned(),
        headers: vec![("inference-header-content-length", json.len().to_string())],
        request: (json + &tail).into(),
        status: 200,
        answer: planted
            .plant(
                "binary tensors, answer",
                r#"{"model_name": "m", "outputs": [{"name": "reply", "shape": [1], "datatype": "BYTES", "data": ["<<phone>>"]}]}"#,
            )
            .into(),
        kept: true,
    }
}

/// A prediction without secrets.
pub(super) fn harmless() -> Case {
    Case {
        name: "harmless",
        to: To::Proxy,
        path: "/v1/models/m:predict".to_owned(),
        headers: Vec::new(),
        request: r#"{"instances": [{"segment": "canary", "amount": 2}]}"#.into(),
        status: 200,
        answer: r#"{"predictions": [1]}"#.into(),
        kept: true,
    }
}
