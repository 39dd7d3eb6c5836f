//! A learned schema as a piece of the settings, with what was seen beside each column, for somebody to approve.

use std::fmt::Write;

use super::{Declared, Holds, Learned, LearnedColumn};
use crate::model::{ModelName, Role};
use crate::profile::format_number;

/// Values of a column that are shown.
const SHOWN: usize = 6;

/// The `models:` entry of what was learned; only comments say what is not certain.
///
/// # Arguments
///
/// * `declared`: what the model server says of itself, as far as it does.
pub fn settings_fragment(model: &ModelName, learned: &Learned, declared: &[Declared]) -> String {
    let mut text = String::new();
    // Writing into a `String` cannot fail.
    let _always_ok = write(&mut text, model, learned, declared);
    text
}

fn write(text: &mut String, model: &ModelName, learned: &Learned, declared: &[Declared]) -> std::fmt::Result {
    let Learned { predictions, rows, left_out, .. } = learned;
    writeln!(
        text,
        "# What {predictions} predictions of {rows} rows had. Look it over, then put it into the settings;"
    )?;
    writeln!(text, "# from then on a column that is new, gone or of another kind is a finding.")?;
    if *left_out > 0 {
        writeln!(text, "# Too many columns: some were left out {left_out} times.")?;
    }
    for tensor in declared {
        let Declared { name, datatype, shape, .. } = tensor;
        let (role, columns) = (tensor.role.as_str(), tensor.columns());
        let width = columns.map_or_else(|| "an unknown number of".to_owned(), |columns| columns.to_string());
        writeln!(
            text,
            "# The model server declares {role} {}: {datatype} {shape:?}, {width} columns.",
            scalar(name)
        )?;
    }
    writeln!(text, "models:\n  - name: {}", scalar(model.as_str()))?;
    let unnamed = unnamed_vector(learned);
    if let Some((base, width)) = unnamed {
        writeln!(
            text,
            "    # The inputs came as {width} columns of `{}` without names. Name them in this order:",
            one_line(base)
        )?;
        writeln!(
            text,
            "    # features: [{}]",
            (1..=width.min(SHOWN)).map(|at| format!("name_{at}")).collect::<Vec<_>>().join(", ")
        )?;
    }
    if learned.columns.is_empty() {
        return writeln!(text, "    schema: []");
    }
    writeln!(text, "    schema:")?;
    let expected = learned.expected();
    for column in &learned.columns {
        let Some(known) =
            expected.iter().find(|known| known.role == column.role && known.name == column.name)
        else {
            writeln!(text, "      # {} was always missing", scalar(&column.name))?;
            continue;
        };
        let role = if column.role == Role::Output { ", role: output" } else { "" };
        let optional = if known.optional { ", optional: true" } else { "" };
        write!(
            text,
            "      - {{name: {}{role}, kind: {}{optional}}}",
            scalar(&column.name),
            known.kind.as_str()
        )?;
        writeln!(text, "  # {}", remarks(column))?;
    }
    Ok(())
}

fn remarks(column: &LearnedColumn) -> String {
    let mut remarks = Vec::new();
    let is_name = column.kind == Some(Holds::Categorical);
    if let Some((least, greatest)) = column.range.filter(|_| !is_name) {
        remarks.push(format!("{} to {}", format_number(least), format_number(greatest)));
    }
    match &column.distinct {
        Some(values) if is_name || column.maybe_categorical => {
            let shown: Vec<String> = values.iter().take(SHOWN).map(|value| one_line(value)).collect();
            let more = if values.len() > SHOWN { ", …" } else { "" };
            remarks.push(format!("{} values: {}{more}", values.len(), shown.join(", ")));
        }
        None if is_name => remarks.push("many values".to_owned()),
        _ => {}
    }
    let percent = |share: f64| format_number((share * 1000.0).round() / 10.0);
    if column.missing_share > 0.0 {
        remarks.push(format!("{} % missing", percent(column.missing_share)));
    }
    if column.other_kinds_share > 0.0 {
        remarks.push(format!("{} % of another kind", percent(column.other_kinds_share)));
    }
    if column.maybe_categorical {
        remarks.push("few whole numbers: perhaps categorical".to_owned());
    }
    if remarks.is_empty() { format!("{} rows", column.rows) } else { remarks.join("; ") }
}

/// The vector that all inputs are elements of, and how many they are.
fn unnamed_vector(learned: &Learned) -> Option<(&str, usize)> {
    let features: Vec<&LearnedColumn> =
        learned.columns.iter().filter(|column| column.role == Role::Feature).collect();
    let base = |column: &LearnedColumn| -> Option<usize> { column.name.strip_suffix(']')?.rfind('[') };
    let first = features.first()?;
    let vector = &first.name[..base(first)?];
    let all = features.iter().all(|column| base(column).is_some_and(|end| column.name[..end] == *vector));
    (all && features.len() > 1).then_some((vector, features.len()))
}

/// A text as YAML: always quoted, as JSON is YAML but for characters that nobody can see.
fn scalar(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut escaped = String::with_capacity(quoted.len());
    for c in quoted.chars() {
        if is_invisible(c) {
            // Writing into a `String` cannot fail.
            let _always_ok = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A text for a comment, which ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_invisible(c) { ' ' } else { c }).collect()
}

/// Characters that YAML does not allow as they are, or that end a line.
fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
