//! The same tensors in every binary framing give the same columns, and every rule of the framings has its line.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::protobuf::tests::Writer;
use super::tests::show;
use super::*;

/// A tensor to be written in any framing.
#[derive(Debug, Clone)]
struct Sample {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<u64>,
    elements: Vec<Element>,
}

/// One element: as JSON, as raw bytes, and as what a typed field holds.
#[derive(Debug, Clone)]
struct Element {
    json: String,
    raw: Vec<u8>,
    typed: Typed,
}

#[derive(Debug, Clone)]
enum Typed {
    Varint(u32, u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Vec<u8>),
    /// Half precision has no typed field.
    None,
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        value => format!("{value:?}"),
    }
}

fn signed(value: i64, field: u32, raw: Vec<u8>) -> Element {
    Element { json: value.to_string(), raw, typed: Typed::Varint(field, value.cast_unsigned()) }
}

fn unsigned(value: u64, field: u32, raw: Vec<u8>) -> Element {
    Element { json: value.to_string(), raw, typed: Typed::Varint(field, value) }
}

/// Half precision of a whole number up to 2048, by the definition.
fn half_bits(value: i16) -> u16 {
    let size = value.unsigned_abs();
    let sign = if value < 0 { 0x8000 } else { 0 };
    if size == 0 {
        return sign;
    }
    let exponent = 15 - u16::try_from(size.leading_zeros()).unwrap();
    let fraction = u32::from(size - (1 << exponent)) << 10 >> exponent;
    sign | (exponent + 15) << 10 | u16::try_from(fraction).unwrap()
}

fn any_element(datatype: &'static str) -> BoxedStrategy<Element> {
    match datatype {
        "BOOL" => any::<bool>()
            .prop_map(|value| Element {
                json: value.to_string(),
                raw: vec![u8::from(value)],
                typed: Typed::Varint(1, u64::from(value)),
            })
            .boxed(),
        "INT8" => any::<i8>().prop_map(|v| signed(v.into(), 2, v.to_le_bytes().into())).boxed(),
        "INT16" => any::<i16>().prop_map(|v| signed(v.into(), 2, v.to_le_bytes().into())).boxed(),
        "INT32" => any::<i32>().prop_map(|v| signed(v.into(), 2, v.to_le_bytes().into())).boxed(),
        "INT64" => any::<i64>().prop_map(|v| signed(v, 3, v.to_le_bytes().into())).boxed(),
        "UINT8" => any::<u8>().prop_map(|v| unsigned(v.into(), 4, v.to_le_bytes().into())).boxed(),
        "UINT16" => any::<u16>().prop_map(|v| unsigned(v.into(), 4, v.to_le_bytes().into())).boxed(),
        "UINT32" => any::<u32>().prop_map(|v| unsigned(v.into(), 4, v.to_le_bytes().into())).boxed(),
        "UINT64" => any::<u64>().prop_map(|v| unsigned(v, 5, v.to_le_bytes().into())).boxed(),
        "FP32" => any::<f32>()
            .prop_map(|value| Element {
                json: number(f64::from(value)),
                raw: value.to_le_bytes().into(),
                typed: Typed::Fixed32(value.to_bits()),
            })
            .boxed(),
        "FP64" => any::<f64>()
            .prop_map(|value| Element {
                json: number(value),
                raw: value.to_le_bytes().into(),
                typed: Typed::Fixed64(value.to_bits()),
            })
            .boxed(),
        "FP16" => (-2048_i16..=2048)
            .prop_map(|v| Element {
                json: format!("{v}.0"),
                raw: half_bits(v).to_le_bytes().into(),
                typed: Typed::None,
            })
            .boxed(),
        "BF16" => (-256_i16..=256)
            .prop_map(|v| Element {
                json: format!("{v}.0"),
                raw: f32::from(v).to_le_bytes()[2..].into(),
                typed: Typed::None,
            })
            .boxed(),
        _ => "[a-zäß\"\\\\ ]{0,6}"
            .prop_map(|text: String| Element {
                json: serde_json::Value::from(text.as_str()).to_string(),
                raw: [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat(),
                typed: Typed::Bytes(text.into_bytes()),
            })
            .boxed(),
    }
}

const DATATYPES: [&str; 14] = [
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "BF16", "FP32",
    "FP64", "BYTES",
];

fn any_sample(name: &'static str, rows: u64) -> impl Strategy<Value = Sample> {
    let shape = prop_oneof![
        Just(vec![rows]),
        (1_u64..4).prop_map(move |width| vec![rows, width]),
        (1_u64..4).prop_map(move |width| vec![rows, width, 1]),
    ];
    (shape, proptest::sample::select(&DATATYPES)).prop_flat_map(move |(shape, datatype)| {
        let count = usize::try_from(shape.iter().product::<u64>()).unwrap();
        proptest::collection::vec(any_element(datatype), count).prop_map(move |elements| Sample {
            name,
            datatype,
            shape: shape.clone(),
            elements,
        })
    })
}

fn any_message() -> impl Strategy<Value = Vec<Sample>> {
    (1_u64..4).prop_flat_map(|rows| {
        prop_oneof![
            any_sample("x", rows).prop_map(|one| vec![one]),
            (any_sample("x", rows), any_sample("y", rows), any_sample("z", rows))
                .prop_map(|(x, y, z)| vec![x, y, z]),
        ]
    })
}

fn raw_bytes(sample: &Sample) -> Vec<u8> {
    sample.elements.iter().flat_map(|element| element.raw.clone()).collect()
}

/// A body of the HTTP protocol with the tensors that `binary` says yes to behind the document, and its length.
fn over_http(member: &str, samples: &[Sample], binary: impl Fn(usize) -> bool) -> (Vec<u8>, usize) {
    let mut tail = Vec::new();
    let mut tensors = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        let data = if binary(at) {
            let bytes = raw_bytes(sample);
            tail.extend(&bytes);
            format!(r#""parameters":{{"binary_data_size":{}}}"#, bytes.len())
        } else {
            let elements: Vec<&str> = sample.elements.iter().map(|element| element.json.as_str()).collect();
            format!(r#""data":[{}]"#, elements.join(","))
        };
        let Sample { name, datatype, shape, .. } = sample;
        tensors.push(format!(r#"{{"name":"{name}","datatype":"{datatype}","shape":{shape:?},{data}}}"#));
    }
    let json = format!(r#"{{"id":"b","{member}":[{}]}}"#, tensors.join(","));
    let length = json.len();
    ([json.into_bytes(), tail].concat(), length)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Contents {
    Raw,
    Packed,
    OneByOne,
}

fn typed_contents(sample: &Sample, packed: bool) -> Writer {
    if packed {
        match sample.elements.first().map(|element| &element.typed) {
            Some(Typed::Varint(field, _)) => {
                let values = sample.elements.iter().map(|element| match element.typed {
                    Typed::Varint(_, value) => value,
                    _ => unreachable!(),
                });
                return Writer::default().packed(*field, values);
            }
            Some(Typed::Fixed32(_)) => return Writer::default().bytes(6, raw_bytes(sample)),
            Some(Typed::Fixed64(_)) => return Writer::default().bytes(7, raw_bytes(sample)),
            _ => {}
        }
    }
    sample.elements.iter().fold(Writer::default(), |writer, element| match &element.typed {
        Typed::Varint(field, value) => writer.varint(*field, *value),
        Typed::Fixed32(bits) => writer.fixed32(6, *bits),
        Typed::Fixed64(bits) => writer.fixed64(7, *bits),
        Typed::Bytes(bytes) => writer.bytes(8, bytes),
        Typed::None => writer,
    })
}

fn tensor_message(sample: &Sample) -> Writer {
    Writer::default().bytes(1, sample.name).bytes(2, sample.datatype).packed(3, sample.shape.iter().copied())
}

/// A `ModelInferRequest`, or with `raw_field` 6 a `ModelInferResponse`.
fn over_grpc(samples: &[Sample], raw_field: u32, contents: impl Fn(usize) -> Contents) -> Writer {
    let mut message = Writer::default().bytes(1, "m").bytes(3, "b");
    let mut raw = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        let has_typed = !sample.elements.iter().any(|element| matches!(element.typed, Typed::None));
        let tensor = tensor_message(sample);
        message = message.message(
            5,
            match contents(at) {
                how if how == Contents::Raw || !has_typed => {
                    raw.push(raw_bytes(sample));
                    tensor
                }
                how => tensor.message(5, typed_contents(sample, how == Contents::Packed)),
            },
        );
    }
    raw.iter().fold(message, |message, bytes| message.bytes(raw_field, bytes))
}

pub(super) fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn side<'a>(
    protocol: Protocol,
    headers: &'a Headers,
    body: &'a [u8],
    route: &'a mut Option<Route>,
) -> RawSide<'a> {
    let route = route.insert(Route { protocol, model: Some("m".into()), version: None });
    RawSide { route, headers, body, truncated: false }
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers::pick(pairs.iter().map(|(name, value)| (*name, value.as_bytes())))
}

pub(super) fn request(
    protocol: Protocol,
    pairs: &[(&str, &str)],
    body: &[u8],
) -> Result<RequestSide, DecodeFailure> {
    decode_request(&side(protocol, &headers(pairs), body, &mut None), &Naming::default())
}

pub(super) fn response(
    protocol: Protocol,
    pairs: &[(&str, &str)],
    body: &[u8],
) -> Result<ResponseSide, DecodeFailure> {
    decode_response(&side(protocol, &headers(pairs), body, &mut None), 200, &Naming::default())
}

/// The columns of all parts.
pub(super) fn columns(parts: Vec<Part>) -> String {
    show(&parts.into_iter().flat_map(|part| part.columns).collect::<Vec<_>>())
}

const JSON: Protocol = Protocol::OpenInference;
const GRPC: Protocol = Protocol::OpenInferenceGrpc;
const LENGTH: &str = "Inference-Header-Content-Length";

proptest! {
    #[test]
    fn every_datatype_is_the_same_in_every_framing(samples in any_message(), which in 0_usize..8) {
        let choose = |at: usize| which >> at & 1 == 1;
        let (json, _) = over_http("inputs", &samples, |_| false);
        let expected = columns(request(JSON, &[], &json).unwrap().parts);

        let (body, length) = over_http("inputs", &samples, choose);
        let length = length.to_string();
        let with_length = [(LENGTH, length.as_str())];
        prop_assert_eq!(&columns(request(JSON, &with_length, &body).unwrap().parts), &expected);
        // The header counts the document as it was before compression.
        let packed = gzip(&body);
        let compressed = [(LENGTH, length.as_str()), ("Content-Encoding", "gzip")];
        prop_assert_eq!(&columns(request(JSON, &compressed, &packed).unwrap().parts), &expected);
        // Loggers lose both headers.
        prop_assert_eq!(&columns(request(JSON, &[], &body).unwrap().parts), &expected);
        prop_assert_eq!(&columns(request(JSON, &[], &packed).unwrap().parts), &expected);
        let (answer, length) = over_http("outputs", &samples, choose);
        let side = response(JSON, &[(LENGTH, &length.to_string())], &answer).unwrap();
        prop_assert_eq!(side.notes.each().count(), 0);
        prop_assert_eq!(&columns(side.parts), &expected);

        for contents in [Contents::Raw, Contents::Packed, Contents::OneByOne] {
            let mixed = |at: usize| if choose(at) { Contents::Raw } else { contents };
            let message = frame(&over_grpc(&samples, 7, mixed).0);
            let side = request(GRPC, &[], &message).unwrap();
            prop_assert_eq!(side.body_id.as_deref(), Some("b"));
            prop_assert_eq!(&columns(side.parts), &expected, "{:?}", contents);
            let message = frame(&over_grpc(&samples, 6, mixed).0);
            prop_assert_eq!(&columns(response(GRPC, &[], &message).unwrap().parts), &expected);
        }
    }

    #[test]
    fn what_ends_early_is_refused_or_less(samples in any_message(), which in 0_usize..8) {
        let (body, length) = over_http("inputs", &samples, |at| which >> at & 1 == 1);
        let length = length.to_string();
        for end in 0..body.len() {
            // Reaching the end without a panic is the statement.
            let _outcome = request(JSON, &[(LENGTH, &length)], &body[..end]);
            let _outcome = request(JSON, &[], &body[..end]);
        }
        let message = frame(&over_grpc(&samples, 7, |_| Contents::Packed).0);
        for end in 1..message.len() {
            let outcome = request(GRPC, &[], &message[..end]).map_err(|failure| failure.reason());
            prop_assert_eq!(outcome, Err("malformed"));
            let inner = request(GRPC, &[], &frame(message.get(5..end).unwrap_or_default()));
            prop_assert!(inner.is_err() || inner.is_ok_and(|side| side.parts.len() <= samples.len()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        json in "\\{\"inputs\":\\[\\{\"name\":\"x\",\"shape\":\\[[0-9,]{1,5}\\],\"datatype\":\"(FP32|BYTES|BF16|BOOL)\"(,\"parameters\":\\{\"binary_data_size\":-?[0-9]{1,3}\\})?\\}\\]\\}",
        length in "[0-9]{1,3}",
        protocol in proptest::sample::select(&[
            GRPC,
            Protocol::TensorflowGrpc,
            Protocol::SeldonGrpc,
            Protocol::TorchServeGrpc,
            Protocol::OpenInferenceStream,
        ]),
    ) {
        // Reaching the end without a panic is the statement.
        let body = [json.as_bytes(), &bytes].concat();
        for pairs in [&[][..], &[(LENGTH, length.as_str())]] {
            let _outcome = (request(JSON, pairs, &body), response(JSON, pairs, &body));
            let _outcome = (request(JSON, pairs, &bytes), response(JSON, pairs, &bytes));
        }
        for body in [bytes.clone(), frame(&bytes), [frame(&bytes), frame(&bytes)].concat()] {
            let _outcome = (request(protocol, &[], &body), response(protocol, &[], &body));
        }
    }
}

/// Features of a request over HTTP, or the reason why there are none.
#[track_caller]
fn check_http(json: &str, tail: &[u8], expected: &str, notes: &[(&str, u64)]) {
    let body = [json.as_bytes(), tail].concat();
    let length = json.len().to_string();
    for pairs in [&[(LENGTH, length.as_str())][..], &[]] {
        // Without anything behind it the document is the whole body.
        let outcome = request(JSON, pairs, &body);
        let shown = match &outcome {
            Ok(side) => {
                assert_eq!(side.notes.each().collect::<Vec<_>>(), notes, "{json}");
                columns(side.parts.clone())
            }
            Err(failure) => failure.reason().to_owned(),
        };
        assert_eq!(shown, expected, "{json} with {pairs:?}");
    }
}

#[test]
fn bytes_go_to_tensors_in_the_order_of_the_document() {
    let two = [1.0_f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let x = |rest: &str| format!(r#"{{"name":"x","datatype":"FP32","shape":[2],{rest}}}"#);
    let sized = r#""parameters":{"binary_data_size":8}"#;
    let y = r#"{"name":"y","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}"#;
    let inputs = |all: &[&str]| format!(r#"{{"inputs":[{}]}}"#, all.join(","));
    let both = [&two[..], &[7, 8]].concat();
    check_http(&inputs(&[&x(sized), y]), &both, "x=1,2 y=7,8", &[]);
    check_http(&inputs(&[&x(r#""data":[5,6]"#), y]), &[7, 8], "x=5,6 y=7,8", &[]);
    // A single tensor that says no size has all that nobody else claims.
    let unsized_x = x(r#""parameters":{}"#);
    check_http(&inputs(&[&unsized_x]), &two, "x=1,2", &[]);
    check_http(&inputs(&[y, &unsized_x]), &[&[7, 8], &two[..]].concat(), "y=7,8 x=1,2", &[]);
    check_http(&inputs(&[&unsized_x, &unsized_x]), &[&two[..], &two].concat(), "missing_field", &[]);
    // What is in shared memory takes no bytes.
    let shared = r#"{"name":"s","datatype":"FP32","shape":[2],"parameters":{"shared_memory_region":"r"}}"#;
    check_http(&inputs(&[shared, y]), &[7, 8], "y=7,8", &[("unobservable", 1)]);
    check_http(&inputs(&[shared]), &[], "unsupported_format", &[]);
}

#[test]
fn sizes_are_trusted_for_slicing_and_contradictions_noted() {
    let y = r#"{"name":"y","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}"#;
    let x = |datatype: &str, size: i64| {
        format!(
            r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[2],"parameters":{{"binary_data_size":{size}}}}},{y}]}}"#
        )
    };
    let noted = [("size_mismatch", 1)];
    check_http(&x("FP16", 8), &[0, 0, 0, 0, 0, 0, 0, 0, 7, 8], "y=7,8", &noted);
    check_http(&x("FP16", 4), &[0, 60, 0, 64, 7, 8, 9], "x=1,2 y=7,8", &noted);
    check_http(&x("FP16", -4), &[0, 60, 0, 64, 7, 8], "shape_mismatch", &[]);
    check_http(&x("FP16", 400), &[0, 60, 0, 64, 7, 8], "shape_mismatch", &[]);
    // A type that is not known has rows, though nobody knows what is in them.
    check_http(&x("FP8", 2), &[1, 2, 7, 8], "x=#,# y=7,8", &[]);
    // Lengths of texts that run over the end, or leave something behind.
    check_http(&x("BYTES", 6), &[255, 0, 0, 0, 97, 98, 7, 8], "y=7,8", &noted);
    check_http(&x("BYTES", 10), &[1, 0, 0, 0, 97, 1, 0, 0, 0, 98, 7, 8], "x='a','b' y=7,8", &[]);
    check_http(&x("BYTES", 10), &[1, 0, 0, 0, 255, 1, 0, 0, 0, 98, 7, 8], "x=#,'b' y=7,8", &[]);
}

#[test]
fn large_tensors_are_opaque() {
    let image = r#"{"inputs":[{"name":"image","datatype":"UINT8","shape":[2,2,3],"parameters":{"binary_data_size":12}}]}"#;
    check_http(image, &[9; 12], "image=#,#", &[]);
    let wide = MAX_COLUMNS + 1;
    let json = format!(
        r#"{{"inputs":[{{"name":"wide","datatype":"UINT8","shape":[1,{wide}],"parameters":{{"binary_data_size":{wide}}}}}]}}"#
    );
    check_http(&json, &vec![0; wide], "wide=#", &[]);
}

/// Columns of a `ModelInferRequest` and its notes, or the reason why there are none.
#[track_caller]
fn check_grpc(message: Writer, expected: &str, notes: &[(&str, u64)]) {
    let Writer(message) = message;
    match request(GRPC, &[], &frame(&message)) {
        Ok(side) => {
            assert_eq!(side.notes.each().collect::<Vec<_>>(), notes);
            assert_eq!(columns(side.parts), expected);
        }
        Err(failure) => assert_eq!(failure.reason(), expected, "{failure}"),
    }
}

fn tensor(name: &str, datatype: &str, shape: &[u64]) -> Writer {
    Writer::default().bytes(1, name).bytes(2, datatype).packed(3, shape.iter().copied())
}

fn shared(tensor: Writer) -> Writer {
    let entry =
        Writer::default().bytes(1, "shared_memory_region").message(2, Writer::default().bytes(3, "r"));
    tensor.message(4, entry)
}

#[test]
fn raw_contents_skip_tensors_that_have_others() {
    let typed = || tensor("t", "INT32", &[2]).message(5, Writer::default().packed(2, [1, u64::MAX]));
    let raw = || tensor("r", "UINT8", &[2]);
    let message = || {
        Writer::default().message(5, typed()).message(5, shared(tensor("s", "FP32", &[2]))).message(5, raw())
    };
    let noted = [("unobservable", 1)];
    check_grpc(message().bytes(7, [7, 8]), "t=1,-1 r=7,8", &noted);
    // One entry for each, as Triton answers.
    check_grpc(message().bytes(7, []).bytes(7, []).bytes(7, [7, 8]), "t=1,-1 r=7,8", &noted);
    check_grpc(message(), "missing_field", &[]);
    check_grpc(Writer::default().message(5, shared(raw())), "unsupported_format", &[]);
    // Empty typed contents are none.
    let empty = raw().message(5, Writer::default());
    check_grpc(Writer::default().message(5, empty).bytes(7, [7, 8]), "r=7,8", &[]);
    let packed_nothing = raw().message(5, Writer::default().bytes(4, []));
    check_grpc(Writer::default().message(5, packed_nothing).bytes(7, [7, 8]), "r=7,8", &[]);
}

#[test]
fn shapes_and_contents_that_contradict_each_other_are_refused() {
    let raw = |shape: &[u64]| Writer::default().message(5, tensor("r", "FP32", shape)).bytes(7, [0; 8]);
    check_grpc(raw(&[2]), "r=0,0", &[]);
    check_grpc(raw(&[1, 2]), "r[0]=0 r[1]=0", &[]);
    check_grpc(raw(&[3]), "shape_mismatch", &[]);
    check_grpc(raw(&[u64::MAX]), "malformed", &[]);
    check_grpc(raw(&[1 << 62, 1 << 62]), "shape_mismatch", &[]);
    check_grpc(raw(&[1; 17]), "malformed", &[]);
    let split = Writer::default().fixed32(6, 0).bytes(6, [0; 4]);
    check_grpc(Writer::default().message(5, tensor("r", "FP32", &[2]).message(5, split)), "r=0,0", &[]);
    let mixed = Writer::default().fixed32(6, 0).bytes(8, "a");
    check_grpc(Writer::default().message(5, tensor("r", "FP32", &[2]).message(5, mixed)), "malformed", &[]);
}

#[test]
fn content_types_say_what_texts_are() {
    let hint =
        |text: &str| Writer::default().bytes(1, "content_type").message(2, Writer::default().bytes(3, text));
    let day = |tensor: Writer| tensor.message(5, Writer::default().bytes(8, "1970-01-02"));
    let time = day(tensor("t", "BYTES", &[1]).message(4, hint("datetime")));
    check_grpc(Writer::default().message(5, time), "t=86400", &[]);
    let by_message = Writer::default().message(4, hint("base64")).message(5, day(tensor("t", "BYTES", &[1])));
    check_grpc(by_message, "t=#", &[]);
}

#[test]
fn the_flag_of_a_message_says_whether_it_is_compressed() {
    let message = Writer::default().message(5, tensor("r", "UINT8", &[2])).bytes(7, [7, 8]).0;
    let packed = gzip(&message);
    let compressed = [&[1][..], &u32::try_from(packed.len()).unwrap().to_be_bytes(), &packed].concat();
    let said = [("grpc-encoding", "gzip")];
    assert_eq!(columns(request(GRPC, &said, &compressed).unwrap().parts), "r=7,8");
    assert_eq!(columns(request(GRPC, &said, &frame(&message)).unwrap().parts), "r=7,8");
    let unknown = request(GRPC, &[("grpc-encoding", "snappy")], &compressed).unwrap_err();
    assert_eq!(unknown.reason(), "unsupported_encoding");
    let bomb = gzip(&vec![0; 33 << 20]);
    let bomb = [&[1][..], &u32::try_from(bomb.len()).unwrap().to_be_bytes(), &bomb].concat();
    assert_eq!(request(GRPC, &said, &bomb).unwrap_err().reason(), "inflates_too_far");
    let over_http = request(JSON, &[("content-encoding", "gzip")], &gzip(&vec![b' '; 33 << 20])).unwrap_err();
    assert_eq!(over_http.reason(), "inflates_too_far");
}

#[test]
fn classes_are_split_where_they_are_asked_for() {
    let parameter = Writer::default().bytes(1, "classification").message(2, Writer::default().varint(2, 1));
    let output = Writer::default().bytes(1, "y").message(2, parameter);
    let asked = Writer::default().message(5, tensor("x", "UINT8", &[1, 1])).message(6, output).bytes(7, [1]);
    let asked = request(GRPC, &[], &frame(&asked.0)).unwrap();
    let class = tensor("y", "BYTES", &[1, 1]).message(5, Writer::default().bytes(8, "10:3:cat"));
    let answered = response(GRPC, &[], &frame(&Writer::default().bytes(1, "m").message(5, class).0)).unwrap();
    let decoded = join(asked, Some(Ok(answered)), &Naming::default()).unwrap();
    assert_eq!(show(&decoded.batch.outputs), "y.top1_index=3 y.top1_value=10 y.top1_label='cat'");
}
