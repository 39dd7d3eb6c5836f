//! TensorFlow Serving's `PredictRequest` and `PredictResponse`, and the `TensorProto` in them.

use crate::decode::columns::check_size;
use crate::decode::datatype::{Datatype, brain, half};
use crate::decode::protobuf::{Field, Fields, Malformed, Wire, each_fixed32, each_fixed64, each_varint};
use crate::decode::side::{RequestSide, ResponseSide};
use crate::decode::tensor::{Elements, Meaning, Tensor, product};
use crate::decode::{DecodeFailure, Naming, Side};

/// Dimensions that a tensor may have; TensorFlow's own limit.
const MAX_DIMENSIONS: usize = 254;

/// Reads the inputs of a `PredictRequest`.
pub(super) fn request(message: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let (spec, inputs) = predict(message, 1, 2).map_err(|Malformed| malformed(Side::Request))?;
    let mut side = RequestSide { model: spec.name, model_version: spec.version, ..RequestSide::default() };
    let naming = (inputs.len() == 1).then_some(naming);
    for input in inputs {
        let place = format!("inputs.{}", input.name);
        side.parts.push(input.part(naming, || place)?);
    }
    check_size(&side.parts)?;
    Ok(side)
}

/// Reads the outputs of a `PredictResponse`; those that cannot be read are noted.
pub(super) fn response(message: &[u8]) -> Result<ResponseSide, DecodeFailure> {
    let (spec, outputs) = predict(message, 2, 1).map_err(|Malformed| malformed(Side::Response))?;
    let mut side = ResponseSide { model: spec.name, model_version: spec.version, ..ResponseSide::default() };
    for output in outputs {
        match output.part(None, String::new) {
            Ok(part) => side.parts.push(part),
            Err(_) => side.notes.row_mismatch += 1,
        }
    }
    check_size(&side.parts)?;
    Ok(side)
}

fn malformed(side: Side) -> DecodeFailure {
    DecodeFailure::Malformed { side, format: "a message of TensorFlow Serving" }
}

#[derive(Default)]
struct ModelSpec {
    name: Option<String>,
    version: Option<String>,
}

/// A `ModelSpec` and a `map<string, TensorProto>`, whose field numbers the two messages have swapped.
fn predict(message: &[u8], spec_at: u32, tensors_at: u32) -> Result<(ModelSpec, Vec<Tensor<'_>>), Malformed> {
    let (mut spec, mut tensors) = (ModelSpec::default(), Vec::new());
    for field in Fields::new(message) {
        let Field { number, wire } = field?;
        if number == spec_at {
            spec = model_spec(wire.bytes()?)?;
        } else if number == tensors_at {
            let (mut name, mut tensor) = ("", &[][..]);
            for field in Fields::new(wire.bytes()?) {
                match field? {
                    Field { number: 1, wire } => name = wire.text()?,
                    Field { number: 2, wire } => tensor = wire.bytes()?,
                    _ => {}
                }
            }
            tensors.push(tensor_proto(name, tensor)?);
        }
    }
    Ok((spec, tensors))
}

fn model_spec(message: &[u8]) -> Result<ModelSpec, Malformed> {
    let mut spec = ModelSpec::default();
    for field in Fields::new(message) {
        match field? {
            Field { number: 1, wire } => spec.name = Some(wire.text()?.to_owned()),
            Field { number: 2, wire } => {
                // An `Int64Value`; one without its field is zero.
                let mut version = 0;
                for field in Fields::new(wire.bytes()?) {
                    if let Field { number: 1, wire } = field? {
                        version = wire.varint()?.cast_signed();
                    }
                }
                spec.version = Some(version.to_string());
            }
            Field { number: 4, wire } => spec.version = Some(wire.text()?.to_owned()),
            _ => {}
        }
    }
    Ok(spec)
}

/// `tensorflow.DataType` as far as its elements are numbers, truth values or text.
fn datatype(number: u64) -> Option<Datatype> {
    Some(match number {
        1 => Datatype::Fp32,
        2 => Datatype::Fp64,
        3 | 13 => Datatype::Int32,
        4 | 12 => Datatype::Uint8,
        5 | 15 => Datatype::Int16,
        6 | 11 => Datatype::Int8,
        7 => Datatype::Bytes,
        9 => Datatype::Int64,
        10 => Datatype::Bool,
        14 => Datatype::Bf16,
        16 | 17 => Datatype::Uint16,
        19 => Datatype::Fp16,
        22 => Datatype::Uint32,
        23 => Datatype::Uint64,
        _ => return None,
    })
}

/// A `TensorProto`: raw content, or a list of values of which the last stands for all that are missing.
pub(super) fn tensor_proto<'b>(name: &'b str, message: &'b [u8]) -> Result<Tensor<'b>, Malformed> {
    let (mut dtype, mut shape, mut content) = (None, Vec::new(), None);
    let mut texts = Vec::new();
    let mut values = Vec::new();
    for field in Fields::new(message) {
        let Field { number, wire } = field?;
        match number {
            1 => dtype = datatype(wire.varint()?),
            2 => shape = tensor_shape(wire.bytes()?)?,
            4 => content = Some(wire.bytes()?).filter(|content| !content.is_empty()),
            8 => texts.push(wire.bytes()?),
            5 | 6 | 7 | 10 | 11 | 13 | 16 | 17 => values.push((number, wire)),
            _ => {}
        }
    }
    let elements = match (dtype, content) {
        (None, _) => Elements::Unknown,
        (Some(Datatype::Bytes), Some(content)) => {
            Elements::Texts(packed_texts(content, product(&shape).unwrap_or(usize::MAX))?)
        }
        (Some(dtype), Some(content)) => Elements::Packed(dtype, content),
        // What has no values at all is zero, or empty.
        (Some(Datatype::Bytes), None) => Elements::Texts(if texts.is_empty() { vec![&[]] } else { texts }),
        (Some(dtype), None) => numbers(dtype, &values, &shape)?,
    };
    let meaning = Meaning::of(dtype, "");
    let is_content = content.is_some();
    let mut tensor = Tensor::new(name, shape, elements, meaning);
    if tensor.shape.contains(&0) && !is_content && dtype.is_some() {
        tensor.elements = Elements::Numbers(Vec::new());
    }
    tensor.repeats_last = !is_content;
    Ok(tensor)
}

/// The values of a list, whichever of the typed fields they stand in.
fn numbers<'b>(
    dtype: Datatype,
    values: &[(u32, Wire<'b>)],
    shape: &[usize],
) -> Result<Elements<'b>, Malformed> {
    // The usual case: one packed list with every value.
    if let [(5 | 6, Wire::Bytes(packed))] = values
        && let Some(size) = dtype.size()
        && matches!(dtype, Datatype::Fp32 | Datatype::Fp64)
        && product(shape).and_then(|count| count.checked_mul(size)) == Some(packed.len())
    {
        return Ok(Elements::Packed(dtype, packed));
    }
    let mut numbers = Vec::new();
    for (number, wire) in values {
        match number {
            5 => each_fixed32(*wire, |bits| numbers.push(f64::from(f32::from_bits(bits))))?,
            6 => each_fixed64(*wire, |bits| numbers.push(f64::from_bits(bits)))?,
            13 => each_varint(*wire, |value| {
                let bits = u16::try_from(value & 0xffff).unwrap_or_default();
                numbers.push(if dtype == Datatype::Bf16 { brain(bits) } else { half(bits) });
            })?,
            16 | 17 => each_varint(*wire, |value| numbers.push(value as f64))?,
            _ => each_varint(*wire, |value| numbers.push(value.cast_signed() as f64))?,
        }
    }
    if numbers.is_empty() {
        numbers.push(0.0);
    }
    Ok(Elements::Numbers(numbers))
}

/// Texts as raw content: all lengths as varints, then all bytes.
fn packed_texts(content: &[u8], count: usize) -> Result<Vec<&[u8]>, Malformed> {
    // Every text has a length of at least one byte.
    if count > content.len() {
        return Err(Malformed);
    }
    let mut lengths = Vec::with_capacity(count);
    let mut rest = content;
    for _ in 0..count {
        lengths.push(usize::try_from(crate::decode::protobuf::varint(&mut rest)?).map_err(|_| Malformed)?);
    }
    lengths
        .into_iter()
        .map(|length| {
            let (text, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            rest = after;
            Ok(text)
        })
        .collect()
}

fn tensor_shape(message: &[u8]) -> Result<Vec<usize>, Malformed> {
    let mut shape = Vec::new();
    for field in Fields::new(message) {
        if let Field { number: 2, wire } = field? {
            let mut size = 0;
            for field in Fields::new(wire.bytes()?) {
                if let Field { number: 1, wire } = field? {
                    size = wire.varint()?.cast_signed();
                }
            }
            if shape.len() == MAX_DIMENSIONS {
                return Err(Malformed);
            }
            shape.push(usize::try_from(size).map_err(|_| Malformed)?);
        }
    }
    Ok(shape)
}
