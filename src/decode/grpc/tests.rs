//! TensorFlow Serving, Seldon and TorchServe over gRPC, rule by rule.

use proptest::prelude::*;

use crate::decode::binary_tests::{columns, frame, request, response};
use crate::decode::protobuf::tests::Writer;
use crate::decode::{DecodeFailure, Naming, Protocol, join};

const TF: Protocol = Protocol::TensorflowGrpc;
const SELDON: Protocol = Protocol::SeldonGrpc;
const TORCH: Protocol = Protocol::TorchServeGrpc;

fn shape(sizes: &[u64]) -> Writer {
    let dim = |size: &u64| Writer::default().varint(1, *size);
    sizes.iter().map(dim).fold(Writer::default(), |shape, dim| shape.message(2, dim))
}

/// A `TensorProto` without values.
fn tensor(dtype: u64, sizes: &[u64]) -> Writer {
    Writer::default().varint(1, dtype).message(2, shape(sizes))
}

fn entry(name: &str, tensor: Writer) -> Writer {
    Writer::default().bytes(1, name).message(2, tensor)
}

fn model_spec() -> Writer {
    Writer::default().bytes(1, "half_plus_two").message(2, Writer::default().varint(1, 123))
}

/// Columns of a `PredictRequest` with one tensor, or the reason why there are none; the same for a `PredictResponse`.
#[track_caller]
fn check(tensor: Writer, expected: &str) {
    let message = Writer::default().message(1, model_spec()).message(2, entry("x", tensor.clone()));
    match request(TF, &[], &frame(&message.0)) {
        Ok(side) => {
            assert_eq!(side.model.as_deref(), Some("half_plus_two"));
            assert_eq!(side.model_version.as_deref(), Some("123"));
            assert_eq!(columns(side.parts), expected);
        }
        Err(failure) => assert_eq!(failure.reason(), expected, "{failure}"),
    }
    let message = Writer::default().message(2, model_spec()).message(1, entry("x", tensor));
    match response(TF, &[], &frame(&message.0)) {
        Ok(side) if side.notes.row_mismatch > 0 => {
            assert!(["shape_mismatch", "too_large"].contains(&expected), "{expected}");
        }
        Ok(side) => assert_eq!(columns(side.parts), expected),
        Err(failure) => assert_eq!(failure.reason(), expected, "{failure}"),
    }
}

fn le<const N: usize>(bytes: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    bytes.into_iter().flatten().collect()
}

#[test]
fn tensor_content_is_raw() {
    check(tensor(1, &[2]).bytes(4, le([1.5_f32, -2.0].map(f32::to_le_bytes))), "x=1.5,-2");
    check(tensor(2, &[1, 2]).bytes(4, le([1.5_f64, -2.0].map(f64::to_le_bytes))), "x[0]=1.5 x[1]=-2");
    check(tensor(3, &[2]).bytes(4, le([7_i32, -7].map(i32::to_le_bytes))), "x=7,-7");
    check(tensor(9, &[2]).bytes(4, le([7_i64, -7].map(i64::to_le_bytes))), "x=7,-7");
    check(tensor(10, &[2]).bytes(4, [1, 0]), "x=true,false");
    check(tensor(19, &[2]).bytes(4, le([0x3c00_u16, 0xc000].map(u16::to_le_bytes))), "x=1,-2");
    check(tensor(14, &[2]).bytes(4, le([0x3f80_u16, 0xc000].map(u16::to_le_bytes))), "x=1,-2");
    // Texts: their lengths, then their bytes.
    check(tensor(7, &[2]).bytes(4, b"\x01\x02abb"), "x='a','bb'");
    check(tensor(7, &[2]).bytes(4, b"\x01\x05abb"), "malformed");
    check(tensor(7, &[1 << 40]).bytes(4, b"\x01a"), "malformed");
    check(tensor(1, &[3]).bytes(4, [0; 8]), "shape_mismatch");
    // Complex numbers and handles have rows and nothing that could be compared.
    check(tensor(8, &[2]).bytes(4, [0; 16]), "x=#,#");
}

#[test]
fn the_last_value_of_a_list_stands_for_the_rest() {
    check(tensor(1, &[3]).fixed32(5, 1.5_f32.to_bits()), "x=1.5,1.5,1.5");
    check(tensor(1, &[3]).bytes(5, le([1.0_f32, 2.0, 3.0].map(f32::to_le_bytes))), "x=1,2,3");
    check(tensor(1, &[2, 2]).bytes(5, le([1.0_f32, 2.0].map(f32::to_le_bytes))), "x[0]=1,2 x[1]=2,2");
    check(tensor(2, &[2]).fixed64(6, 0.5_f64.to_bits()), "x=0.5,0.5");
    check(tensor(3, &[3]).packed(7, [5, u64::MAX]), "x=5,-1,-1");
    check(tensor(4, &[1]).varint(7, 200), "x=200");
    check(tensor(9, &[2]).varint(10, u64::MAX).varint(10, 1), "x=-1,1");
    check(tensor(10, &[2]).varint(11, 1), "x=true,true");
    check(tensor(19, &[2]).varint(13, 0x3c00), "x=1,1");
    check(tensor(14, &[2]).varint(13, 0x3f80), "x=1,1");
    check(tensor(22, &[1]).varint(16, 4_000_000_000), "x=4000000000");
    check(tensor(23, &[1]).varint(17, u64::MAX), "x=18446744073709552000");
    check(tensor(7, &[3]).bytes(8, "a").bytes(8, [255]), "x='a',#,#");
    // None at all are zeros.
    check(tensor(1, &[2]), "x=0,0");
    check(tensor(7, &[2]), "x='',''");
    // A scalar is one row, and too many values are no tensor.
    check(tensor(3, &[]).varint(7, 4), "x=4");
    check(tensor(3, &[1]).packed(7, [1, 2]), "shape_mismatch");
    check(tensor(3, &[0]), "x=");
    check(tensor(1, &[u64::MAX]), "malformed");
    // What is repeated is bounded by what may be decoded, not by what the shape says.
    check(tensor(1, &[1 << 20, 1 << 20]), "too_large");
    check(tensor(1, &[90_000, 4000]), "too_large");
    check(tensor(1, &[2, 1 << 30, 1 << 30]), "x=#,#");
}

#[test]
fn what_is_not_a_predict_call_is_refused() {
    assert_eq!(request(TF, &[], b"").unwrap_err().reason(), "malformed");
    let two = [frame(b""), frame(b"")].concat();
    assert_eq!(request(TF, &[], &two).unwrap_err().reason(), "malformed");
    let failed = response(TF, &[("grpc-status", "5")], b"");
    assert_eq!(failed, Err(DecodeFailure::ErrorStatus(5)));
    assert_eq!(response(TF, &[("grpc-status", "what")], b""), Err(DecodeFailure::ErrorStatus(2)));
    let none = request(TF, &[], &frame(b"")).unwrap();
    assert_eq!(join(none, None, &Naming::default()).unwrap_err().reason(), "no_rows");
}

fn value(number: f64) -> Writer {
    Writer::default().fixed64(2, number.to_bits())
}

fn text(text: &str) -> Writer {
    Writer::default().bytes(3, text)
}

fn list(items: impl IntoIterator<Item = Writer>) -> Writer {
    items.into_iter().fold(Writer::default(), |list, item| list.message(1, item))
}

#[test]
fn seldon_messages_are_read_as_their_json() {
    let rows = list([
        Writer::default().message(6, list([value(1.0), text("a")])),
        Writer::default().message(6, list([value(2.0), text("b")])),
    ]);
    let data = Writer::default().bytes(1, "x").bytes(1, "y").message(3, rows);
    let meta = Writer::default().bytes(1, "puid-1");
    let message = Writer::default().message(2, meta.clone()).message(3, data);
    let asked = request(SELDON, &[], &frame(&message.0)).unwrap();
    assert_eq!(asked.body_id.as_deref(), Some("puid-1"));
    assert_eq!(columns(asked.parts.clone()), "x=1,2 y='a','b'");

    let tensor = Writer::default().packed(1, [2, 1]).bytes(2, le([0.25_f64, 0.75].map(f64::to_le_bytes)));
    let path = Writer::default().bytes(1, "classifier").bytes(2, "image:3");
    let answer = Writer::default()
        .message(2, meta.message(4, path))
        .message(3, Writer::default().bytes(1, "p").message(2, tensor));
    let answered = response(SELDON, &[("grpc-status", "0")], &frame(&answer.0)).unwrap();
    assert_eq!(columns(answered.parts.clone()), "p=0.25,0.75");
    let decoded = join(asked, Some(Ok(answered)), &Naming::default()).unwrap();
    assert_eq!((decoded.batch.rows, decoded.model_version.as_deref()), (2, Some("image:3")));

    let failed = Writer::default().message(1, Writer::default().varint(1, 500).varint(4, 1));
    assert_eq!(response(SELDON, &[], &frame(&failed.0)), Err(DecodeFailure::ErrorAnswer));
    let text = request(SELDON, &[], &frame(&Writer::default().bytes(5, "secret").0)).unwrap();
    assert_eq!(columns(text.parts), "strData=#");
}

#[test]
fn torchserve_inputs_are_json_where_they_can() {
    let input = |name: &str, bytes: &[u8]| Writer::default().bytes(1, name).bytes(2, bytes);
    let asked = |inputs: &[Writer]| {
        let message = Writer::default().bytes(1, "m").bytes(2, "1.0");
        let message = inputs.iter().fold(message, |message, input| message.message(3, input.clone()));
        request(TORCH, &[], &frame(&message.0))
    };
    let row = asked(&[input("age", b"41"), input("city", b"\"Oslo\"")]).unwrap();
    assert_eq!((row.model.as_deref(), row.model_version.as_deref()), (Some("m"), Some("1.0")));
    assert_eq!(columns(row.parts), "age=41 city='Oslo'");
    let body = asked(&[input("data", br#"{"instances":[[1,2],[3,4]]}"#)]).unwrap();
    assert_eq!(columns(body.parts), "[0]=1,3 [1]=2,4");
    let image = asked(&[input("image", &[0xff, 0xd8, 0xff])]).unwrap();
    assert_eq!(columns(image.parts), "image=#");

    let answered = |bytes: &[u8]| response(TORCH, &[], &frame(&Writer::default().bytes(1, bytes).0)).unwrap();
    assert_eq!(columns(answered(b"0.5").parts), "prediction=0.5");
    assert_eq!(columns(answered(b"tiger cat").parts), "prediction='tiger cat'");
    assert_eq!(columns(answered(br#"{"predictions":[1,2]}"#).parts), "prediction=1,2");
    assert_eq!(columns(answered(br#"{"cat":0.9,"dog":0.1}"#).parts), "cat=0.9 dog=0.1");
}

#[test]
fn a_message_without_its_frame_is_read() {
    let message =
        Writer::default().message(1, model_spec()).message(2, entry("x", tensor(3, &[1]).varint(7, 4)));
    assert_eq!(columns(request(TF, &[], &message.0).unwrap().parts), "x=4");
}

proptest! {
    #[test]
    fn lists_and_content_are_the_same(numbers in proptest::collection::vec(any::<f32>(), 1..12)) {
        let count = u64::try_from(numbers.len()).unwrap();
        let bytes = le(numbers.iter().map(|number| number.to_le_bytes()));
        let content = tensor(1, &[count]).bytes(4, &bytes);
        let packed = tensor(1, &[count]).bytes(5, &bytes);
        let one_by_one = numbers.iter().fold(tensor(1, &[count]), |all, number| all.fixed32(5, number.to_bits()));
        let read = |tensor: Writer| {
            let message = Writer::default().message(2, entry("x", tensor));
            columns(request(TF, &[], &frame(&message.0)).unwrap().parts)
        };
        let expected = format!("x={}", numbers.iter().map(|n| f64::from(*n).to_string()).collect::<Vec<_>>().join(","));
        prop_assert_eq!(&read(content), &expected);
        prop_assert_eq!(&read(packed), &expected);
        prop_assert_eq!(&read(one_by_one), &expected);
    }

    #[test]
    fn what_ends_early_is_refused_or_less(which in 0_usize..3) {
        let message = Writer::default().message(1, model_spec()).message(2, entry("x", tensor(3, &[2]).packed(7, [1, 2])));
        let protocol = [TF, SELDON, TORCH][which];
        for end in 0..message.0.len() {
            // Reaching the end without a panic is the statement.
            let _outcome = (
                request(protocol, &[], &frame(&message.0[..end])),
                response(protocol, &[], &frame(&message.0[..end])),
            );
        }
    }
}
