//! The best classes of an Open Inference V2 output, `value:index[:label]`, as columns.

use crate::model::{Column, Value};

/// One element of a classified output.
struct Class<'t> {
    value: f64,
    index: f64,
    label: Option<&'t str>,
}

/// Reads `value:index[:label]`; where the request did not ask for classes, only with Triton's six decimals.
fn class(text: &str, asked: bool) -> Option<Class<'_>> {
    let mut fields = text.splitn(3, ':');
    let (value, index) = (fields.next()?, fields.next()?);
    let decimal = asked || value.rsplit_once('.').is_some_and(|(_, fraction)| fraction.len() == 6);
    let whole = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    if !(decimal && whole) {
        return None;
    }
    Some(Class { value: value.parse().ok()?, index: index.parse().ok()?, label: fields.next() })
}

/// The name without its `[j]`, and the place among the best classes, from 1.
fn rank(name: &str) -> (&str, usize) {
    name.strip_suffix(']')
        .and_then(|front| front.rsplit_once('['))
        .and_then(|(front, j)| Some((front, j.parse::<usize>().ok()?.checked_add(1)?)))
        .unwrap_or((name, 1))
}

/// `name.top1_value`, `name.top1_index` and, where there are labels, `name.top1_label`; absent when the column is
/// something else.
fn split(column: &Column, asked: bool) -> Option<Vec<Column>> {
    let (name, rank) = rank(&column.name);
    let named = |what: &str| Column {
        name: format!("{name}.top{rank}_{what}").into(),
        values: Vec::with_capacity(column.values.len()),
    };
    let (mut values, mut indexes, mut labels) = (named("value"), named("index"), named("label"));
    for value in &column.values {
        let Value::Text(text) = value else { return None };
        let class = class(text, asked)?;
        values.values.push(Value::Number(class.value));
        indexes.values.push(Value::Number(class.index));
        labels.values.push(class.label.map_or(Value::Missing, |label| Value::Text(label.to_owned())));
    }
    let mut columns = vec![indexes, values];
    if labels.values.iter().any(|label| *label != Value::Missing) {
        columns.push(labels);
    }
    Some(columns)
}

fn split_columns(columns: Vec<Column>, asked: impl Fn(&str) -> Option<bool>) -> Vec<Column> {
    let mut all = Vec::with_capacity(columns.len());
    for column in columns {
        let (name, _) = rank(&column.name);
        match asked(name).filter(|_| !column.values.is_empty()).and_then(|asked| split(&column, asked)) {
            Some(columns) => all.extend(columns),
            None => all.push(column),
        }
    }
    all
}

/// Splits the outputs that `classified` names.
pub(super) fn split_asked(columns: Vec<Column>, classified: &[String]) -> Vec<Column> {
    if classified.is_empty() {
        return columns;
    }
    split_columns(columns, |name| classified.iter().any(|asked| asked == name).then_some(true))
}

/// Splits every column of texts that can be nothing else.
pub(super) fn split_evident(columns: Vec<Column>) -> Vec<Column> {
    split_columns(columns, |_| Some(false))
}
