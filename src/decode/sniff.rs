//! What a JSON body is, told from its members alone, where neither settings nor path say it.

use super::json::Node;
use super::open_inference::has_tensors;
use super::table::Items;

/// What a JSON body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Named tensors of Open Inference V2.
    OpenInference,
    /// `instances` or `inputs`; `predictions` or `outputs`.
    KserveV1,
    /// `examples`; `result` or `results`.
    Examples,
    /// `dataframe_split`, `dataframe_records`, `input_data`.
    Mlflow,
    /// `data` with an array or a tensor, `jsonData`, `strData`, `binData`.
    Seldon,
    /// `messages`, `prompt`, `text_input`; `choices`, `text_output`.
    Text,
    /// Anything else.
    Free,
}

/// Tells a request.
pub(super) fn request(root: &Node) -> Shape {
    let has = |name: &str| root.get_set(name).is_some();
    if has_tensors(root, "inputs") {
        Shape::OpenInference
    } else if has("dataframe_split") || has("dataframe_records") || has_input_data(root) {
        Shape::Mlflow
    } else if has("instances") || has("inputs") {
        Shape::KserveV1
    } else if has("examples") && matches!(root.get("examples"), Some(Node::List(_))) {
        Shape::Examples
    } else if is_seldon(root) {
        Shape::Seldon
    } else if has_messages(root) || is_text(root, "prompt") || is_text(root, "text_input") {
        Shape::Text
    } else {
        Shape::Free
    }
}

/// Tells an answer.
pub(super) fn response(root: &Node) -> Shape {
    let has = |name: &str| root.get_set(name).is_some();
    if has_tensors(root, "outputs") {
        Shape::OpenInference
    } else if has("predictions") || has("outputs") {
        Shape::KserveV1
    } else if is_seldon(root) {
        Shape::Seldon
    } else if (has("choices") && (has("object") || has("usage"))) || is_text(root, "text_output") {
        Shape::Text
    } else {
        Shape::Free
    }
}

fn is_seldon(root: &Node) -> bool {
    let data = root.get_set("data");
    let in_data = |name: &str| data.and_then(|data| data.get_set(name)).is_some();
    ["ndarray", "tensor", "tftensor"].into_iter().any(in_data)
        || ["jsonData", "strData", "binData"].into_iter().any(|name| root.get_set(name).is_some())
}

/// `input_data` as Azure has it for `MLflow` models; an argument of that name in a server of one's own is free JSON.
fn has_input_data(root: &Node) -> bool {
    root.get_set("input_data")
        .and_then(|data| data.get_set("data"))
        .is_some_and(|data| Items::of(data).is_some())
}

fn has_messages(root: &Node) -> bool {
    matches!(root.get("messages"), Some(Node::List(messages))
        if !messages.is_empty() && messages.iter().all(|message| message.get("role").is_some()))
}

fn is_text(root: &Node, name: &str) -> bool {
    matches!(root.get(name), Some(Node::Text(_)))
}
