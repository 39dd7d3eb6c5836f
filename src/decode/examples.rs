//! `TensorFlow` Serving's `:classify` and `:regress`: `examples` with a `context`, and `results`.

use super::columns::members;
use super::json::Node;
use super::kserve_v1::{self, PREDICTION};
use super::side::{Part, RequestSide, ResponseSide};
use super::table::Table;
use super::{DecodeFailure, Naming};
use crate::model::Value;

/// Reads the examples of a request; the features of `context` are those of every example.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let Some(Node::List(examples)) = root.get_set("examples") else {
        if root.get_set("instances").is_some() || root.get_set("inputs").is_some() {
            return kserve_v1::request(root, naming);
        }
        return Err(DecodeFailure::MissingField("examples".to_owned()));
    };
    let context = root.get_set("context").and_then(members).unwrap_or_default();
    let mut table = Table::default();
    for (at, example) in examples.iter().enumerate() {
        let features =
            members(example).ok_or_else(|| DecodeFailure::MissingField(format!("examples[{at}]")))?;
        let row = table.add_row()?;
        for (name, value) in context.iter().chain(features) {
            kserve_v1::set_named(&mut table, row, name, value)?;
        }
    }
    Ok(RequestSide { parts: vec![Part::new(table)], ..RequestSide::default() })
}

/// Reads the results of an answer: a number per example, or a list of label and score; the documentation calls them
/// `result`, the server `results`.
pub(super) fn response(root: &Node) -> Result<ResponseSide, DecodeFailure> {
    let Some(results) = root.get_set("results").or_else(|| root.get_set("result")) else {
        return kserve_v1::response(root);
    };
    let is_classes = |node: &Node| classes(node).is_some();
    let parts = match results {
        Node::List(examples) if !examples.is_empty() && examples.iter().all(is_classes) => {
            vec![classified(examples)?]
        }
        results => kserve_v1::predictions(results)?,
    };
    Ok(ResponseSide { parts, ..ResponseSide::default() })
}

/// Labels with their scores, in the order of the model.
fn classes(node: &Node) -> Option<Vec<(&str, f64)>> {
    let Node::List(pairs) = node else { return None };
    pairs.iter().map(class).collect::<Option<Vec<_>>>().filter(|classes| !classes.is_empty())
}

fn class(node: &Node) -> Option<(&str, f64)> {
    let Node::List(pair) = node else { return None };
    match pair.as_slice() {
        [Node::Text(label), Node::Number(score)] => Some((label, *score)),
        _ => None,
    }
}

/// The label of the highest score as `prediction`, and `score[label]` of each; without labels `score[j]`.
fn classified(examples: &[Node]) -> Result<Part, DecodeFailure> {
    let mut table = Table::default();
    for example in examples {
        let row = table.add_row()?;
        let classes = classes(example).unwrap_or_default();
        let labelled = classes.iter().all(|(label, _)| !label.is_empty());
        let best = classes.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((label, _)) = best.filter(|_| labelled) {
            table.set(row, PREDICTION, Value::Text((*label).to_owned()))?;
        }
        for (j, (label, score)) in classes.iter().enumerate() {
            let name = if labelled { format!("score[{label}]") } else { format!("score[{j}]") };
            table.set(row, &name, Value::Number(*score))?;
        }
    }
    Ok(Part::new(table))
}
