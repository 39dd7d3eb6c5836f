//! Open Inference V2 over gRPC: `ModelInferRequest` and `ModelInferResponse`, alike in KServe, Triton and MLServer.

use crate::decode::classification::split_evident;
use crate::decode::columns::check_size;
use crate::decode::datatype::Datatype;
use crate::decode::protobuf::{Field, Fields, Malformed, Wire, each_fixed32, each_fixed64, each_varint};
use crate::decode::side::{Part, RequestSide, ResponseSide};
use crate::decode::tensor::{Elements, Meaning, Tensor};
use crate::decode::{DecodeFailure, Naming, Side};

/// Dimensions that a shape may have.
const MAX_DIMENSIONS: usize = 16;

/// Reads the inputs of a `ModelInferRequest`.
pub(super) fn request(message: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let message = Message::parse(message, REQUEST).map_err(|Malformed| malformed(Side::Request))?;
    let mut side = RequestSide {
        body_id: owned(message.id),
        model: owned(message.model_name),
        model_version: owned(message.model_version),
        classified: message.classified.iter().map(|name| (*name).to_owned()).collect(),
        ..RequestSide::default()
    };
    let naming = (message.tensors.len() == 1).then_some(naming);
    for (at, elements) in message.elements().into_iter().enumerate() {
        match elements {
            Source::SharedMemory => side.notes.unobservable += 1,
            Source::Nowhere => return Err(DecodeFailure::MissingField(format!("inputs[{at}].contents"))),
            Source::Here(tensor) => side.parts.push(tensor.part(naming, || format!("inputs[{at}]"))?),
        }
    }
    if side.parts.is_empty() && side.notes.unobservable > 0 {
        return Err(DecodeFailure::UnsupportedFormat("tensor data in shared memory"));
    }
    check_size(&side.parts)?;
    Ok(side)
}

/// Reads the outputs of a `ModelInferResponse`; those that cannot be read are noted.
pub(super) fn response(message: &[u8]) -> Result<ResponseSide, DecodeFailure> {
    let message = Message::parse(message, RESPONSE).map_err(|Malformed| malformed(Side::Response))?;
    let mut side = ResponseSide {
        body_id: owned(message.id),
        model: owned(message.model_name),
        model_version: owned(message.model_version),
        ..ResponseSide::default()
    };
    for (at, elements) in message.elements().into_iter().enumerate() {
        match elements {
            Source::SharedMemory => side.notes.unobservable += 1,
            Source::Nowhere => side.notes.row_mismatch += 1,
            Source::Here(tensor) => match tensor.part(None, || format!("outputs[{at}]")) {
                Ok(part) => side.parts.push(Part { columns: split_evident(part.columns), ..part }),
                Err(_) => side.notes.row_mismatch += 1,
            },
        }
    }
    check_size(&side.parts)?;
    Ok(side)
}

fn malformed(side: Side) -> DecodeFailure {
    DecodeFailure::Malformed { side, format: "a message of Open Inference V2" }
}

fn owned(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Where the two messages differ.
#[derive(Clone, Copy)]
struct Schema {
    tensors: u32,
    raw: u32,
    requested_outputs: Option<u32>,
}

const REQUEST: Schema = Schema { tensors: 5, raw: 7, requested_outputs: Some(6) };
const RESPONSE: Schema = Schema { tensors: 5, raw: 6, requested_outputs: None };

#[derive(Default)]
struct Message<'b> {
    model_name: &'b str,
    model_version: &'b str,
    id: &'b str,
    content_type: &'b str,
    tensors: Vec<Parsed<'b>>,
    raw: Vec<&'b [u8]>,
    classified: Vec<&'b str>,
}

/// A tensor before it is known where its elements are.
#[derive(Default)]
struct Parsed<'b> {
    name: &'b str,
    datatype: Option<Datatype>,
    shape: Vec<usize>,
    content_type: &'b str,
    shared_memory: bool,
    contents: Option<Elements<'b>>,
}

/// Where the elements of a tensor are.
enum Source<'b> {
    Here(Tensor<'b>),
    SharedMemory,
    Nowhere,
}

impl<'b> Message<'b> {
    fn parse(bytes: &'b [u8], schema: Schema) -> Result<Self, Malformed> {
        let mut message = Self::default();
        for field in Fields::new(bytes) {
            let Field { number, wire } = field?;
            match number {
                1 => message.model_name = wire.text()?,
                2 => message.model_version = wire.text()?,
                3 => message.id = wire.text()?,
                4 => {
                    if let ("content_type", Parameter::Text(text)) = parameter(wire.bytes()?)? {
                        message.content_type = text;
                    }
                }
                number if number == schema.tensors => message.tensors.push(Parsed::parse(wire.bytes()?)?),
                number if number == schema.raw => message.raw.push(wire.bytes()?),
                number if Some(number) == schema.requested_outputs => {
                    message.classified.extend(classified(wire.bytes()?)?);
                }
                _ => {}
            }
        }
        Ok(message)
    }

    /// The tensors with their elements.
    ///
    /// Raw contents belong, in order, to the tensors that have neither typed contents nor shared memory; Triton answers
    /// with an empty one for those in shared memory too.
    fn elements(self) -> Vec<Source<'b>> {
        let one_each = self.raw.len() == self.tensors.len();
        let mut raw = self.raw.into_iter();
        let content_type = self.content_type;
        let mut sources = Vec::with_capacity(self.tensors.len());
        for tensor in self.tensors {
            let needs_raw = tensor.contents.is_none() && !tensor.shared_memory;
            let bytes = if needs_raw || one_each { raw.next() } else { None };
            let elements = match (tensor.contents, bytes) {
                _ if tensor.shared_memory => {
                    sources.push(Source::SharedMemory);
                    continue;
                }
                (Some(contents), _) => contents,
                (None, Some(bytes)) => Elements::raw(tensor.datatype, bytes),
                // Of a tensor without elements nothing is sent.
                (None, None) if tensor.shape.contains(&0) => Elements::Numbers(Vec::new()),
                (None, None) => {
                    sources.push(Source::Nowhere);
                    continue;
                }
            };
            // What a tensor says of itself goes before what its message says.
            let hint = if tensor.content_type.is_empty() { content_type } else { tensor.content_type };
            let meaning = Meaning::of(tensor.datatype, hint);
            sources.push(Source::Here(Tensor::new(tensor.name, tensor.shape, elements, meaning)));
        }
        sources
    }
}

impl<'b> Parsed<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, Malformed> {
        let mut tensor = Self::default();
        let mut shape_fits = true;
        for field in Fields::new(bytes) {
            let Field { number, wire } = field?;
            match number {
                1 => tensor.name = wire.text()?,
                2 => tensor.datatype = Datatype::named(wire.text()?),
                3 => each_varint(wire, |size| match usize::try_from(size.cast_signed()) {
                    Ok(size) if tensor.shape.len() < MAX_DIMENSIONS => tensor.shape.push(size),
                    _ => shape_fits = false,
                })?,
                4 => match parameter(wire.bytes()?)? {
                    ("content_type", Parameter::Text(text)) => tensor.content_type = text,
                    ("shared_memory_region", _) => tensor.shared_memory = true,
                    _ => {}
                },
                5 => contents(wire.bytes()?, &mut tensor.contents)?,
                _ => {}
            }
        }
        if shape_fits { Ok(tensor) } else { Err(Malformed) }
    }
}

/// Reads typed contents, of which one kind is set; an empty message sets none.
fn contents<'b>(bytes: &'b [u8], elements: &mut Option<Elements<'b>>) -> Result<(), Malformed> {
    for field in Fields::new(bytes) {
        let Field { number, wire } = field?;
        match (number, wire) {
            (1..=8, Wire::Bytes([])) if number != 8 => {}
            // The usual case: one packed field, which is what raw contents look like.
            (6, Wire::Bytes(packed)) if elements.is_none() && packed.len().is_multiple_of(4) => {
                *elements = Some(Elements::Packed(Datatype::Fp32, packed));
            }
            (7, Wire::Bytes(packed)) if elements.is_none() && packed.len().is_multiple_of(8) => {
                *elements = Some(Elements::Packed(Datatype::Fp64, packed));
            }
            (1, wire) => {
                let numbers = numbers(elements)?;
                each_varint(wire, |value| numbers.push(f64::from(u8::from(value != 0))))?;
            }
            (2, wire) => {
                let numbers = numbers(elements)?;
                // An int32 is written as the int64 that it is.
                each_varint(wire, |value| numbers.push(value.cast_signed() as f64))?;
            }
            (3, wire) => {
                let numbers = numbers(elements)?;
                each_varint(wire, |value| numbers.push(value.cast_signed() as f64))?;
            }
            (4 | 5, wire) => {
                let numbers = numbers(elements)?;
                each_varint(wire, |value| numbers.push(value as f64))?;
            }
            (6, wire) => {
                let numbers = numbers(elements)?;
                each_fixed32(wire, |bits| numbers.push(f64::from(f32::from_bits(bits))))?;
            }
            (7, wire) => {
                let numbers = numbers(elements)?;
                each_fixed64(wire, |bits| numbers.push(f64::from_bits(bits)))?;
            }
            (8, wire) => match elements.get_or_insert_with(|| Elements::Texts(Vec::new())) {
                Elements::Texts(texts) => texts.push(wire.bytes()?),
                _ => return Err(Malformed),
            },
            _ => {}
        }
    }
    Ok(())
}

/// The numbers so far, one by one.
fn numbers<'e>(elements: &'e mut Option<Elements<'_>>) -> Result<&'e mut Vec<f64>, Malformed> {
    if let Some(Elements::Packed(datatype, bytes)) = elements {
        let mut numbers = Vec::new();
        datatype.each(bytes, 0, 1, usize::MAX, |number| numbers.push(number));
        *elements = Some(Elements::Numbers(numbers));
    }
    match elements.get_or_insert_with(|| Elements::Numbers(Vec::new())) {
        Elements::Numbers(numbers) => Ok(numbers),
        _ => Err(Malformed),
    }
}

/// The value of a parameter, as far as one is needed.
enum Parameter<'b> {
    Text(&'b str),
    Bool(bool),
    Other,
}

/// Name and value of a `map<string, InferParameter>` entry.
fn parameter(entry: &[u8]) -> Result<(&str, Parameter<'_>), Malformed> {
    let (mut name, mut value) = ("", Parameter::Other);
    for field in Fields::new(entry) {
        let Field { number, wire } = field?;
        match number {
            1 => name = wire.text()?,
            2 => {
                for field in Fields::new(wire.bytes()?) {
                    let Field { number, wire } = field?;
                    value = match number {
                        1 => Parameter::Bool(wire.varint()? != 0),
                        3 => Parameter::Text(wire.text()?),
                        _ => Parameter::Other,
                    };
                }
            }
            _ => {}
        }
    }
    Ok((name, value))
}

/// The name of a requested output when classes are asked of it.
fn classified(output: &[u8]) -> Result<Option<&str>, Malformed> {
    let (mut name, mut asked) = ("", false);
    for field in Fields::new(output) {
        let Field { number, wire } = field?;
        match number {
            1 => name = wire.text()?,
            2 => asked |= parameter(wire.bytes()?)?.0 == "classification",
            _ => {}
        }
    }
    Ok(asked.then_some(name))
}

/// Whether a response is Triton's mark that a request will have no more of them.
pub(super) fn is_final_mark(message: &[u8]) -> bool {
    let mut marked = false;
    for field in Fields::new(message) {
        match field {
            Ok(Field { number: 4, wire: Wire::Bytes(entry) }) => {
                marked |= matches!(parameter(entry), Ok(("triton_final_response", Parameter::Bool(true))));
            }
            Ok(Field { number: 5 | 6, .. }) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    marked
}
