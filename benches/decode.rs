//! Decoding an exchange, per format, beside `serde_json::Value` and what one would write on top of it.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use chrono::DateTime;
use driftline::baseline::{BuildOptions, CutOptions, SourceColumn, build};
use driftline::decode::{Headers, Naming, Protocol, RawExchange, Route, decode};
use driftline::model::{Exchange, ModelName, Role, Value as Cell};
use driftline::profile::{Layout, Profile};
use driftline::schema::Seen;
use serde_json::Value;

/// Columns of a row.
const WIDTH: usize = 20;

/// `SplitMix64`: a seeded source of even numbers in (0, 1).
struct Random(u64);

impl Random {
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((bits ^ (bits >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

/// The least time of several runs: what the machine can do, and not what else it did.
fn least(runs: u32, mut work: impl FnMut()) -> Duration {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

/// One exchange in one format.
struct Case {
    name: &'static str,
    protocol: Protocol,
    headers: Vec<(&'static str, String)>,
    request: Vec<u8>,
    response: Vec<u8>,
    /// What one would write: both bodies as `Value`, then its columns.
    plain: fn(&[u8]) -> Vec<Vec<f64>>,
    /// The bodies that it is given; the same rows as JSON where the format is none.
    plain_request: Vec<u8>,
    plain_response: Vec<u8>,
}

/// Numbers with as many digits as a client would send.
fn numbers(rows: usize) -> Vec<Vec<f32>> {
    let mut random = Random(7);
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what is measured")]
    let mut number = || (random.even() * 200.0 - 100.0) as f32;
    (0..rows).map(|_| (0..WIDTH).map(|_| number()).collect()).collect()
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(","))
}

fn columns_of_rows<'v>(rows: impl Iterator<Item = &'v Value>) -> Vec<Vec<f64>> {
    let mut columns = vec![Vec::new(); WIDTH];
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row.as_array().unwrap()) {
            column.push(value.as_f64().unwrap());
        }
    }
    columns
}

fn plain_v1(body: &[u8]) -> Vec<Vec<f64>> {
    let root: Value = serde_json::from_slice(body).unwrap();
    columns_of_rows(root["instances"].as_array().unwrap().iter())
}

fn plain_split(body: &[u8]) -> Vec<Vec<f64>> {
    let root: Value = serde_json::from_slice(body).unwrap();
    columns_of_rows(root["dataframe_split"]["data"].as_array().unwrap().iter())
}

fn plain_v2(body: &[u8]) -> Vec<Vec<f64>> {
    let root: Value = serde_json::from_slice(body).unwrap();
    let mut columns = vec![Vec::new(); WIDTH];
    for (at, value) in root["inputs"][0]["data"].as_array().unwrap().iter().enumerate() {
        columns[at % WIDTH].push(value.as_f64().unwrap());
    }
    columns
}

fn plain_lines(body: &[u8]) -> Vec<Vec<f64>> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    columns_of_rows(rows.iter().map(|row| &row["features"]))
}

/// One length-delimited protobuf field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        out.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(bytes);
    out
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// A tensor of single precision with raw contents, as a request (raw field 7) or an answer (6).
fn model_infer(name: &str, shape: &[usize], raw: &[u8], raw_field: u8) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|size| varint(*size)).collect();
    let tensor = [field(1, name.as_bytes()), field(2, b"FP32"), field(3, &shape)].concat();
    frame(&[field(1, b"m"), field(5, &tensor), field(raw_field, raw)].concat())
}

fn cases(rows: usize) -> Vec<Case> {
    let table = numbers(rows);
    let nested = list(table.iter().map(list));
    let flat = list(table.iter().flatten());
    let raw: Vec<u8> = table.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    let scores: Vec<f32> = table.iter().map(|row| row[0]).collect();
    let raw_scores: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
    let names = list((0..WIDTH).map(|j| format!("\"f{j}\"")));
    let predictions = format!(r#"{{"predictions":{}}}"#, list(&scores)).into_bytes();
    let v2 = |member: &str, shape: &str, data: &str| {
        format!(r#"{{"id":"1","{member}":[{{"name":"x","shape":{shape},"datatype":"FP32",{data}}}]}}"#)
    };
    let (in_shape, out_shape) = (format!("[{rows},{WIDTH}]"), format!("[{rows},1]"));
    let json = v2("inputs", &in_shape, &format!(r#""data":{flat}"#)).into_bytes();
    let json_answer = v2("outputs", &out_shape, &format!(r#""data":{}"#, list(&scores))).into_bytes();
    let sized = |bytes: usize| format!(r#""parameters":{{"binary_data_size":{bytes}}}"#);
    let head = v2("inputs", &in_shape, &sized(raw.len()));
    let head_answer = v2("outputs", &out_shape, &sized(raw_scores.len()));
    let v1 = format!(r#"{{"instances":{nested}}}"#).into_bytes();
    let split = format!(r#"{{"dataframe_split":{{"columns":{names},"data":{nested}}}}}"#).into_bytes();
    let (mut csv, mut lines) = (String::new(), String::new());
    for row in &table {
        let row = list(row);
        writeln!(csv, "{}", &row[1..row.len() - 1]).unwrap();
        writeln!(lines, r#"{{"features":{row}}}"#).unwrap();
    }
    let case = |name, protocol, request: &[u8], response: &[u8], plain: fn(&[u8]) -> Vec<Vec<f64>>| Case {
        name,
        protocol,
        headers: Vec::new(),
        request: request.to_vec(),
        response: response.to_vec(),
        plain,
        plain_request: request.to_vec(),
        plain_response: response.to_vec(),
    };
    let binary = [head.as_bytes(), &raw].concat();
    let binary_answer = [head_answer.as_bytes(), &raw_scores].concat();
    let grpc = model_infer("x", &[rows, WIDTH], &raw, 7);
    let grpc_answer = model_infer("y", &[rows, 1], &raw_scores, 6);
    vec![
        case("V1 rows", Protocol::KserveV1, &v1, &predictions, plain_v1),
        case("V2 JSON", Protocol::OpenInference, &json, &json_answer, plain_v2),
        Case {
            headers: vec![("inference-header-content-length", head.len().to_string())],
            plain_request: json.clone(),
            plain_response: json_answer.clone(),
            ..case("V2 binary", Protocol::OpenInference, &binary, &binary_answer, plain_v2)
        },
        Case {
            plain_request: json.clone(),
            plain_response: json_answer.clone(),
            ..case("V2 gRPC", Protocol::OpenInferenceGrpc, &grpc, &grpc_answer, plain_v2)
        },
        case("MLflow split", Protocol::Mlflow, &split, &predictions, plain_split),
        Case {
            headers: vec![("content-type", "text/csv".to_owned())],
            plain_request: v1.clone(),
            ..case("CSV", Protocol::SageMaker, csv.as_bytes(), &predictions, plain_v1)
        },
        Case {
            headers: vec![("content-type", "application/jsonlines".to_owned())],
            ..case("JSON lines", Protocol::SageMaker, lines.as_bytes(), &predictions, plain_lines)
        },
    ]
}

fn main() {
    if std::env::args().any(|argument| argument == "--count-only") {
        count();
        return;
    }
    println!(
        "decoding an exchange of {WIDTH} numbers per row; the alternative is `serde_json::Value` and its columns,"
    );
    println!("of the same rows as V1 or V2 JSON where the format is not JSON");
    println!(
        "{:<14} {:>5} {:>12} {:>8} {:>14} {:>8} {:>7}",
        "format", "rows", "rows/s", "MB/s", "Value rows/s", "MB/s", "ratio"
    );
    for rows in [1, 100] {
        for case in cases(rows) {
            measure(rows, &case);
        }
    }
    count();
}

/// Columns of the row that is decoded and counted.
const COUNTED: usize = 100;

/// A baseline's columns: normal inputs and a score, with or without principal components.
fn layout(joint: bool) -> Layout {
    let mut random = Random(3);
    let mut normal = || (0..12).map(|_| random.even()).sum::<f64>() - 6.0;
    let names: Vec<String> = (0..COUNTED).map(|j| format!("f{j}")).chain(["score".to_owned()]).collect();
    let columns: Vec<Vec<Cell>> =
        names.iter().map(|_| (0..2_000).map(|_| Cell::Number(normal())).collect()).collect();
    let role = |name: &str| if name == "score" { Role::Output } else { Role::Feature };
    let source: Vec<SourceColumn<'_>> = names
        .iter()
        .zip(&columns)
        .map(|(name, values)| SourceColumn { name, role: role(name), kind: None, values })
        .collect();
    let options = BuildOptions {
        model: ModelName::parse("m").unwrap(),
        source: "bench".to_owned(),
        cut: CutOptions::default(),
        joint,
    };
    build(&source, None, options).unwrap().layout().clone()
}

/// One V2 request of 2 KB, decoded and counted against a baseline as a decode thread does it.
fn count() {
    let mut random = Random(11);
    let row = list((0..COUNTED).map(|_| (0..12).map(|_| random.even()).sum::<f64>() - 6.0));
    let request = format!(
        r#"{{"id":"bench","inputs":[{{"name":"x","shape":[1,{COUNTED}],"datatype":"FP64","data":{row}}}]}}"#
    );
    let response = r#"{"model_name":"m","model_version":"1","id":"bench","outputs":[{"name":"score","shape":[1],"datatype":"FP64","data":[0.25]}]}"#;
    let route = Route { protocol: Protocol::OpenInference, model: Some("m".to_owned()), version: None };
    let headers = Headers::default();
    let raw = RawExchange {
        route: &route,
        request_headers: &headers,
        request: request.as_bytes(),
        request_truncated: false,
        status: 200,
        response_headers: &headers,
        response: response.as_bytes(),
        response_truncated: false,
    };
    let (plain, joint) = (layout(false), layout(true));
    let naming = Naming { features: plain.feature_names().into(), ..Naming::default() };
    let exchange = |n: usize| Exchange {
        id: n.to_string(),
        model: ModelName::parse("m").unwrap(),
        model_version: None,
        event_time: DateTime::UNIX_EPOCH,
        batch: decode(black_box(&raw), &naming).unwrap().batch,
        other_ids: Vec::new(),
    };
    println!("\none V2 JSON request of {} bytes with {COUNTED} numbers, \u{b5}s", request.len());
    println!("{:<42} {:>7}", "work", "\u{b5}s");
    let each = 50_usize;
    let show = |work: &str, time: Duration| {
        println!("{work:<42} {:>7.2}", time.as_secs_f64() * 1e6 / each as f64);
    };
    show(
        "`serde_json::Value`, request and answer",
        least(400, || {
            for _ in 0..each {
                black_box(serde_json::from_slice::<Value>(black_box(request.as_bytes()))).unwrap();
                black_box(serde_json::from_slice::<Value>(black_box(response.as_bytes()))).unwrap();
            }
        }),
    );
    show(
        "decode",
        least(400, || {
            for n in 0..each {
                black_box(exchange(n));
            }
        }),
    );
    for (work, layout) in
        [("decode and count", &plain), ("decode and count, principal components too", &joint)]
    {
        let (mut profile, mut seen) = (Profile::empty(layout), Seen::default());
        let mut n = 0;
        let time = least(400, || {
            for _ in 0..each {
                n += 1;
                let exchange = exchange(n);
                profile.record_exchange(layout, &exchange);
                seen.record(layout, &exchange.batch);
            }
        });
        assert_eq!(profile.rows(), n as u64);
        show(work, time);
    }
}

fn measure(rows: usize, case: &Case) {
    let route = Route { protocol: case.protocol, model: Some("m".to_owned()), version: None };
    let request_headers = Headers::pick(case.headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let response_headers = Headers::default();
    let naming = Naming::default();
    let exchange = RawExchange {
        route: &route,
        request_headers: &request_headers,
        request: &case.request,
        request_truncated: false,
        status: 200,
        response_headers: &response_headers,
        response: &case.response,
        response_truncated: false,
    };
    let decoded = decode(&exchange, &naming).unwrap();
    assert_eq!((decoded.batch.rows, decoded.batch.features.len()), (rows, WIDTH), "{}", case.name);
    assert_eq!(decoded.batch.outputs.len(), 1, "{}: {:?}", case.name, decoded.notes);
    let plain = (case.plain)(&case.plain_request);
    assert_eq!((plain.len(), plain[0].len()), (WIDTH, rows), "{}", case.name);

    // Short runs and many of them: one that nothing else interrupted is the measure.
    let times = if rows == 1 { 100 } else { 3 };
    let ours = least(400, || {
        for _ in 0..times {
            black_box(decode(black_box(&exchange), &naming)).unwrap();
        }
    });
    let theirs = least(400, || {
        for _ in 0..times {
            black_box((case.plain)(black_box(&case.plain_request)));
            black_box(serde_json::from_slice::<Value>(black_box(&case.plain_response))).unwrap();
        }
    });
    let per_second = |time: Duration, amount: usize| (amount * times) as f64 / time.as_secs_f64();
    let bytes = case.request.len() + case.response.len();
    let plain_bytes = case.plain_request.len() + case.plain_response.len();
    println!(
        "{:<14} {:>5} {:>12.0} {:>8.0} {:>14.0} {:>8.0} {:>7.2}",
        case.name,
        rows,
        per_second(ours, rows),
        per_second(ours, bytes) / 1e6,
        per_second(theirs, rows),
        per_second(theirs, plain_bytes) / 1e6,
        theirs.as_secs_f64() / ours.as_secs_f64(),
    );
}
