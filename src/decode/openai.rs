//! Text in, text out (the `OpenAI` API, Triton's `generate`): sizes and settings as numbers, never a text.

use super::DecodeFailure;
use super::json::Node;
use super::open_inference::text;
use super::side::{Part, RequestSide, ResponseSide};
use super::table::{Items, Table};
use crate::model::Value;

/// Numbers of a request that are columns under their own name.
const SETTINGS: [&str; 8] = [
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "presence_penalty",
    "frequency_penalty",
    "stream",
];

/// Why a model stopped; anything else is not passed on, as it could be a text.
const REASONS: [&str; 8] = [
    "stop",
    "length",
    "tool_calls",
    "function_call",
    "content_filter",
    "eos_token",
    "stop_sequence",
    "abort",
];

/// Reads the size and the settings of a request: always one row.
pub(super) fn request(root: &Node) -> Result<RequestSide, DecodeFailure> {
    let mut table = Table::default();
    let row = table.add_row()?;
    if let Some(messages) = root.get_set("messages").and_then(Node::list_len) {
        table.set(row, "messages", Value::Number(messages as f64))?;
    }
    let texts = ["messages", "prompt", "input", "text_input"].iter().filter_map(|name| root.get_set(name));
    let mut asked = false;
    let mut chars = 0;
    for node in texts {
        asked = true;
        chars += prompt_chars(node);
    }
    if !asked {
        return Err(DecodeFailure::MissingField("messages".to_owned()));
    }
    table.set(row, "prompt_chars", Value::Number(chars as f64))?;
    if let Some(inputs) = root.get_set("input").and_then(Node::list_len) {
        table.set(row, "inputs", Value::Number(inputs as f64))?;
    }
    for name in SETTINGS {
        // Triton has them one level down.
        let parameters = root.get_set("parameters").unwrap_or(&Node::Null);
        match root.get_set(name).or_else(|| parameters.get_set(name)) {
            Some(Node::Number(number)) => table.set(row, name, Value::Number(*number))?,
            Some(Node::Bool(value)) => table.set(row, name, Value::Bool(*value))?,
            _ => {}
        }
    }
    Ok(RequestSide { parts: vec![Part::new(table)], model: text(root, "model"), ..RequestSide::default() })
}

/// Reads the usage of an answer, and why the model stopped.
pub(super) fn response(root: &Node) -> Result<ResponseSide, DecodeFailure> {
    let mut table = Table::default();
    let row = table.add_row()?;
    let choices = root.get_set("choices");
    if let Some(count) = choices.and_then(Node::list_len) {
        table.set(row, "choices", Value::Number(count as f64))?;
    }
    if let Some(Node::List(choices)) = choices
        && let Some(reason) = choices.first().and_then(|choice| choice.get_set("finish_reason"))
    {
        let known = reason.text().filter(|reason| REASONS.contains(reason));
        table.set(
            row,
            "finish_reason",
            known.map_or(Value::Opaque, |reason| Value::Text(reason.to_owned())),
        )?;
    }
    let usage = root.get_set("usage").unwrap_or(&Node::Null);
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        if let Some(Node::Number(number)) = usage.get_set(name) {
            table.set(row, name, Value::Number(*number))?;
        }
    }
    let details = usage.get_set("prompt_tokens_details").unwrap_or(&Node::Null);
    if let Some(Node::Number(number)) = details.get_set("cached_tokens") {
        table.set(row, "cached_tokens", Value::Number(*number))?;
    }
    if let Some(Node::List(vectors)) = root.get_set("data") {
        table.set(row, "embeddings", Value::Number(vectors.len() as f64))?;
    }
    if let Some(Node::Text(text)) = root.get_set("text_output") {
        table.set(row, "completion_chars", Value::Number(text.chars().count() as f64))?;
    }
    let model = text(root, "model").or_else(|| text(root, "model_name"));
    Ok(ResponseSide {
        parts: vec![Part::new(table)],
        body_id: text(root, "id"),
        model_version: text(root, "model_version").or_else(|| model.clone()),
        model,
        ..ResponseSide::default()
    })
}

/// Characters of the texts of a prompt: a text, a list of them, or messages whose content is one or the other.
fn prompt_chars(node: &Node) -> usize {
    match node {
        Node::Text(text) => text.chars().count(),
        Node::Object(_) => node.get("content").or_else(|| node.get("text")).map_or(0, prompt_chars),
        node => match Items::of(node) {
            Some(Items::Nodes(nodes)) => nodes.iter().map(prompt_chars).sum(),
            _ => 0,
        },
    }
}
