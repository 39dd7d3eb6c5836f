//! Open Inference's binary tensor data over HTTP: a JSON document, and behind it the bytes of its tensors.

use super::datatype::Datatype;
use super::json::Node;
use super::tensor::{Elements, Meaning, Tensor};
use super::{DecodeFailure, MAX_COLUMNS, Naming};

/// The two halves of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Halves<'b> {
    /// The document.
    pub(super) json: &'b [u8],
    /// What stands behind it.
    pub(super) tail: &'b [u8],
}

/// Splits a body where its header says, which counts bytes of the inflated document.
pub(super) fn split_at<'b>(body: &'b [u8], header: &str) -> Result<Halves<'b>, DecodeFailure> {
    let length = header.parse::<usize>().ok();
    let (json, tail) = length
        .and_then(|length| body.split_at_checked(length))
        .ok_or_else(|| DecodeFailure::MissingField("inference-header-content-length".to_owned()))?;
    Ok(Halves { json, tail })
}

/// Splits a body behind its first JSON value, for loggers that lose the header; absent when nothing stands there.
pub(super) fn split_behind_value(body: &[u8]) -> Option<Halves<'_>> {
    let (json, tail) = body.split_at_checked(end_of_object(body)?)?;
    (!tail.is_empty()).then_some(Halves { json, tail })
}

/// Where the object at the start of `bytes` ends, by its brackets; whether it is JSON is for the parser to say.
fn end_of_object(bytes: &[u8]) -> Option<usize> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if bytes.get(start) != Some(&b'{') {
        return None;
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// What is left of the bytes behind a document, and how they go to its tensors.
#[derive(Debug)]
pub(super) struct Tail<'b> {
    rest: &'b [u8],
    /// Bytes for the one tensor that does not say how many it has.
    unsized_bytes: Option<usize>,
}

impl<'b> Tail<'b> {
    /// For the tensors of one message; `tensors` are all of them.
    pub(super) fn new(bytes: &'b [u8], tensors: &[Node]) -> Self {
        let mut left = Some(bytes.len());
        let mut without_size = 0;
        for tensor in tensors {
            match place(tensor) {
                Place::Behind(Some(size)) => left = left.and_then(|left| left.checked_sub(size)),
                Place::Behind(None) => without_size += 1,
                Place::Here | Place::SharedMemory => {}
            }
        }
        let unsized_bytes = left.filter(|_| without_size == 1 && !bytes.is_empty());
        Self { rest: bytes, unsized_bytes }
    }

    /// The bytes of the next tensor; absent when they are not there.
    pub(super) fn take(&mut self, size: Option<usize>) -> Option<&'b [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(size.or(self.unsized_bytes)?) else {
            // What comes after it cannot be told apart either.
            self.rest = &[];
            return None;
        };
        self.rest = rest;
        Some(bytes)
    }

    /// Whether every byte belonged to a tensor.
    pub(super) fn is_spent(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Where the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the document.
    Here,
    /// Behind it, as so many bytes, or all that nobody else claims.
    Behind(Option<usize>),
    /// Where nobody on the wire sees them.
    SharedMemory,
}

/// Where the elements of `tensor` are.
pub(super) fn place(tensor: &Node) -> Place {
    let parameters = tensor.get("parameters").unwrap_or(&Node::Null);
    if tensor.get_set("data").is_some() {
        Place::Here
    } else if parameters.get_set("shared_memory_region").is_some() {
        Place::SharedMemory
    } else {
        match parameters.get_set("binary_data_size") {
            Some(Node::Number(size)) => Place::Behind(whole(*size).or(Some(usize::MAX))),
            Some(_) => Place::Behind(Some(usize::MAX)),
            None => Place::Behind(None),
        }
    }
}

/// Whether any tensor of a document says that its bytes stand behind it.
pub(super) fn claims_bytes(root: &Node) -> bool {
    ["inputs", "outputs"].iter().any(|member| {
        matches!(root.get(member), Some(Node::List(tensors))
            if tensors.iter().any(|tensor| matches!(place(tensor), Place::Behind(_))))
    })
}

/// A whole number from 0 up.
pub(super) fn whole(size: f64) -> Option<usize> {
    let fits = size >= 0.0 && size <= f64::from(u32::MAX) && size.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the line above")]
    fits.then_some(size as usize)
}

/// A request without any document: one row of the model's only input, whose type and shape only the model knows.
///
/// With names for as many columns as the body has numbers of four or eight bytes, these are taken as floats unless
/// one of them is NaN or denormal, as integers would be.
pub(super) fn raw_request<'b>(body: &'b [u8], naming: &Naming) -> Result<Tensor<'b>, DecodeFailure> {
    let width = naming.features.len();
    if !(1..=MAX_COLUMNS).contains(&width) {
        return Err(DecodeFailure::NeedsMetadata);
    }
    let datatype = [Datatype::Fp32, Datatype::Fp64]
        .into_iter()
        .find(|datatype| datatype.size().and_then(|size| size.checked_mul(width)) == Some(body.len()))
        .ok_or(DecodeFailure::NeedsMetadata)?;
    let smallest = if datatype == Datatype::Fp32 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
    let mut plausible = true;
    datatype.each(body, 0, 1, width, |number| {
        plausible &= number == 0.0 || number.abs() >= smallest;
    });
    if !plausible {
        return Err(DecodeFailure::NeedsMetadata);
    }
    Ok(Tensor::new("input", vec![1, width], Elements::Packed(datatype, body), Meaning::Plain))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_says_where_the_document_ends() {
        let halves = Halves { json: b"{}", tail: b"\x01\x02" };
        assert_eq!(split_at(b"{}\x01\x02", "2"), Ok(halves));
        assert_eq!(split_at(b"{}", "2").map(|halves| halves.tail.len()), Ok(0));
        for bad in ["5", "-1", "", "two", "99999999999999999999"] {
            assert_eq!(split_at(b"{}\x01\x02", bad).unwrap_err().reason(), "missing_field", "{bad}");
        }
    }

    #[test]
    fn without_the_header_the_brackets_say_it() {
        let split = |body: &'static [u8]| split_behind_value(body).map(|halves| (halves.json, halves.tail));
        assert_eq!(split(b" {\"a\":[1,{}]}\x00}"), Some((&b" {\"a\":[1,{}]}"[..], &b"\x00}"[..])));
        let tricky = br#"{"}\"\\":"]"}x"#;
        assert_eq!(split(tricky), Some((&tricky[..tricky.len() - 1], &b"x"[..])));
        for none in [&b"{}"[..], b"{\"a\":1", b"[1]x", b"", b"  ", b"{\"a}"] {
            assert_eq!(split_behind_value(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_raw_request_is_read_only_where_the_names_tell() {
        let naming = |width: usize| Naming {
            features: (0..width).map(|j| format!("f{j}")).collect(),
            ..Naming::default()
        };
        let floats: Vec<u8> = [1.0_f32, 0.0, -3.5, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(raw_request(&floats, &naming(4)).map(|tensor| tensor.shape), Ok(vec![1, 4]));
        let doubles: Vec<u8> = [1.0_f64, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(raw_request(&doubles, &naming(2)).map(|tensor| tensor.shape), Ok(vec![1, 2]));
        // Sixteen bytes are four of four and two of eight; the names say which.
        let integers: Vec<u8> = [1_i32, 2, 3, 4].iter().flat_map(|v| v.to_le_bytes()).collect();
        let negative: Vec<u8> = [-1_i32, 2, 3, 4].iter().flat_map(|v| v.to_le_bytes()).collect();
        for (body, width) in [(&floats, 0), (&floats, 3), (&integers, 4), (&negative, 4), (&Vec::new(), 4)] {
            let outcome = raw_request(body, &naming(width)).map(|tensor| tensor.shape);
            assert_eq!(outcome, Err(DecodeFailure::NeedsMetadata), "{width} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn a_document_and_its_tail_come_apart(
            value in crate::decode::json::tests::any_json(),
            tail in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            let json = serde_json::json!({ "value": value }).to_string();
            let body = [json.as_bytes(), &tail].concat();
            let halves = split_behind_value(&body);
            prop_assert_eq!(halves, Some(Halves { json: json.as_bytes(), tail: &tail }));
        }
    }
}
