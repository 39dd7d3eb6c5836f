//! One message in JSON or text, read in the protocol that settings, path, headers or its own body tell.

use super::delimited::{self, Header};
use super::json::{self, Document, Node};
use super::side::{RequestSide, ResponseSide};
use super::sniff::{self, Shape};
use super::{
    DecodeFailure, Headers, MAX_ROWS, Naming, Notes, Protocol, Side, document, examples, free, generate,
    kserve_v1, mlflow, open_inference, openai, parse, seldon, unwrap_event,
};

/// Reads a request.
pub(super) fn request(
    protocol: Protocol,
    headers: &Headers,
    body: &[u8],
    naming: &Naming,
) -> Result<RequestSide, DecodeFailure> {
    let (document, tail) = match content(Side::Request, protocol, headers, body)? {
        Content::Json(document, tail) => (document, tail),
        Content::Lines(lines) => {
            let mut notes = Notes { nonfinite_tokens: lines.nonfinite, ..Notes::default() };
            let part = free::lines(&lines.root, Side::Request, naming, &mut notes)?;
            return Ok(RequestSide { parts: vec![part], notes, ..RequestSide::default() });
        }
        Content::Csv => {
            let header = match protocol {
                Protocol::Mlflow => Header::Present,
                Protocol::SageMaker => Header::Absent,
                _ => Header::Told,
            };
            let mut notes = Notes::default();
            let names = naming.positional(Side::Request);
            let part = delimited::request(body, header, names, &mut notes)?;
            return Ok(RequestSide { parts: vec![part], notes, ..RequestSide::default() });
        }
    };
    let (event_id, root) = unwrap_event(&document.root);
    let mut side = match request_shape(protocol, root) {
        _ if protocol == Protocol::OpenInferenceStream => generate::request(root, naming)?,
        Shape::OpenInference => open_inference::request(root, tail, naming)?,
        Shape::KserveV1 => kserve_v1::request(root, naming)?,
        Shape::Examples => examples::request(root, naming)?,
        Shape::Mlflow => mlflow::request(root, naming)?,
        Shape::Seldon => seldon::request(root, naming)?,
        Shape::Text => openai::request(root)?,
        Shape::Free => free::request(root, naming)?,
    };
    let client_id = open_inference::text(root, "client_request_id");
    side.body_id = pointed_id(root, naming).or(side.body_id).or(client_id).or(event_id);
    side.event_time = pointed_time(root, naming);
    side.notes.nonfinite_tokens += document.nonfinite;
    Ok(side)
}

/// Reads an answer.
pub(super) fn response(
    protocol: Protocol,
    headers: &Headers,
    body: &[u8],
    naming: &Naming,
) -> Result<ResponseSide, DecodeFailure> {
    if protocol == Protocol::OpenInferenceStream {
        return generate::response(body);
    }
    let (document, tail) = match content(Side::Response, protocol, headers, body)? {
        Content::Json(document, tail) => (document, tail),
        Content::Lines(lines) => {
            let mut notes = Notes { nonfinite_tokens: lines.nonfinite, ..Notes::default() };
            let part = free::lines(&lines.root, Side::Response, naming, &mut notes)?;
            return Ok(ResponseSide { parts: vec![part], notes, ..ResponseSide::default() });
        }
        Content::Csv => {
            let mut notes = Notes::default();
            let names = naming.positional(Side::Response);
            let part = delimited::response(body, names, &mut notes)?;
            return Ok(ResponseSide { parts: vec![part], notes, ..ResponseSide::default() });
        }
    };
    let (_, root) = unwrap_event(&document.root);
    let mut side = match response_shape(protocol, root) {
        Shape::OpenInference => open_inference::response(root, tail)?,
        Shape::KserveV1 | Shape::Mlflow => kserve_v1::response(root)?,
        Shape::Examples => examples::response(root)?,
        Shape::Seldon => seldon::response(root, naming)?,
        Shape::Text => openai::response(root)?,
        Shape::Free => free::response(root, naming)?,
    };
    if protocol == Protocol::Vertex {
        let of = |name: &str| open_inference::text(root, name);
        side.model = of("modelDisplayName").or_else(|| of("model"));
        side.model_version = of("modelVersionId").or_else(|| of("deployedModelId"));
    }
    side.body_id = pointed_id(root, naming).or(side.body_id);
    side.event_time = pointed_time(root, naming);
    side.notes.nonfinite_tokens += document.nonfinite;
    Ok(side)
}

fn pointed_id(root: &Node, naming: &Naming) -> Option<String> {
    free::id(root, naming.format.as_ref()?.id.as_ref()?)
}

fn pointed_time(root: &Node, naming: &Naming) -> Option<chrono::DateTime<chrono::Utc>> {
    free::time(root, naming.format.as_ref()?.time.as_ref()?)
}

/// How a request is read: paths with one format tell it, under the others the body does.
fn request_shape(protocol: Protocol, root: &Node) -> Shape {
    match protocol {
        Protocol::KserveV1 | Protocol::Vertex => Shape::KserveV1,
        Protocol::TensorflowExamples => Shape::Examples,
        Protocol::OpenInference => Shape::OpenInference,
        Protocol::Mlflow => match sniff::request(root) {
            Shape::Text => Shape::Text,
            _ => Shape::Mlflow,
        },
        Protocol::SeldonV1 => Shape::Seldon,
        Protocol::OpenAi => Shape::Text,
        Protocol::FreeJson => Shape::Free,
        Protocol::AzureScore if root.get_set("input_data").is_some() => Shape::Mlflow,
        _ => sniff::request(root),
    }
}

/// How an answer is read; a bare list is what `MLflow` models on Azure, and servers of one's own, answer with.
fn response_shape(protocol: Protocol, root: &Node) -> Shape {
    match protocol {
        Protocol::KserveV1 | Protocol::Vertex => Shape::KserveV1,
        Protocol::TensorflowExamples => Shape::Examples,
        Protocol::OpenInference => Shape::OpenInference,
        Protocol::SeldonV1 => Shape::Seldon,
        Protocol::OpenAi => Shape::Text,
        Protocol::FreeJson => Shape::Free,
        _ => sniff::response(root),
    }
}

/// What a body is before it is looked into.
enum Content<'b> {
    /// A document, and the bytes of tensors behind it.
    Json(Document, &'b [u8]),
    /// A document per line, as one array.
    Lines(Document),
    Csv,
}

fn content<'b>(
    side: Side,
    protocol: Protocol,
    headers: &Headers,
    whole: &'b [u8],
) -> Result<Content<'b>, DecodeFailure> {
    let json = || document(side, headers, whole).map(|(document, tail)| Content::Json(document, tail));
    let kind = headers.get("content-type").unwrap_or("").to_ascii_lowercase();
    let body = whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(whole).trim_ascii();
    // Paths whose format the path tells are JSON, whatever the header says: loggers and clients mislabel it.
    let tells = matches!(
        protocol,
        Protocol::Invocations
            | Protocol::Mlflow
            | Protocol::SageMaker
            | Protocol::TorchServe
            | Protocol::AzureScore
            | Protocol::Configured
    );
    if !tells {
        return json();
    }
    if body.starts_with(b"PAR1") {
        return Err(DecodeFailure::UnsupportedFormat("a Parquet body"));
    }
    let looks_like_json = matches!(body.first(), Some(b'{' | b'['));
    let by_line = ["jsonlines", "ndjson", "jsonl"].iter().any(|name| kind.contains(name));
    if by_line && looks_like_json {
        return lines(side, body).map(Content::Lines);
    }
    if looks_like_json {
        return match json() {
            // Several documents, one per line, under no or another content type.
            Err(failure @ DecodeFailure::NotJson { .. }) if body.contains(&b'\n') => {
                lines(side, body).map(Content::Lines).map_err(|_| failure)
            }
            read => read,
        };
    }
    let unreadable = [
        ("parquet", "a Parquet body"),
        ("libsvm", "a libsvm body"),
        ("recordio", "a RecordIO body"),
        ("npy", "a NumPy body"),
        ("multipart", "a multipart body"),
        ("image/", "an image"),
        ("event-stream", "a stream of server-sent events"),
    ];
    if let Some((_, name)) = unreadable.iter().find(|(part, _)| kind.contains(part)) {
        return Err(DecodeFailure::UnsupportedFormat(name));
    }
    let csv = kind.contains("csv")
        || (matches!(protocol, Protocol::Invocations | Protocol::Mlflow | Protocol::SageMaker)
            && !kind.contains("json")
            && !body.is_empty());
    if csv {
        return Ok(Content::Csv);
    }
    match json() {
        Err(DecodeFailure::NotJson { .. }) if protocol == Protocol::TorchServe => {
            Err(DecodeFailure::UnsupportedFormat("a body that is not JSON"))
        }
        read => read,
    }
}

/// JSON, one document per line.
fn lines(side: Side, body: &[u8]) -> Result<Document, DecodeFailure> {
    let mut nodes = Vec::new();
    let mut nonfinite = 0;
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let budget = json::Budget::new();
    for line in lines {
        if nodes.len() >= MAX_ROWS {
            return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
        }
        let parsed = parse(side, line)?;
        // What a document takes is bounded by its length, roughly.
        if !budget.take(line.len().saturating_mul(8)) {
            return Err(DecodeFailure::TooLarge { what: "values", limit: super::MAX_CELLS });
        }
        nonfinite += parsed.nonfinite;
        nodes.push(parsed.root);
    }
    Ok(Document { root: Node::List(nodes), nonfinite })
}
