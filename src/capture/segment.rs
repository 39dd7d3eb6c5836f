//! The file of some rows: Parquet with typed columns, whose footer says which of them make up which feature or output.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::CaptureError;
use super::columns::{Holds, Part, RowColumn};
use super::rows::{Rows, prefix};
use crate::frames::{Cells, Texts, Typed, read_typed, said_of_columns, write_typed};
use crate::model::{Name, Role};

/// The only format there is.
const FORMAT: u32 = 1;

/// The column with the id of the row.
const ROW_ID: &str = "row_id";
/// The column with the time of the prediction.
const EVENT_TIME: &str = "event_time";
/// The column with the version that answered.
const MODEL_VERSION: &str = "model_version";
/// The column with the number of a row in another file.
const ROW: &str = "row";
/// The column with a label that is no scalar, as JSON.
const LABEL_JSON: &str = "label_json";

/// Which columns of the file make up which feature or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSchema {
    /// Of this description.
    pub format: u32,
    /// Features and outputs, by name.
    pub columns: Vec<ColumnSchema>,
}

/// A feature or an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSchema {
    /// Which of both.
    pub role: Role,
    /// Its name.
    pub name: Name,
    /// Its columns in the file; none when it is missing in every row.
    pub parts: Vec<PartSchema>,
}

/// A column of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSchema {
    /// The type of its values.
    pub holds: Holds,
    /// Its name in the file.
    pub column: String,
}

/// Names of columns of a file, no two alike.
struct Names(HashSet<String>);

impl Names {
    fn take(&mut self, wanted: String) -> String {
        let mut name = wanted;
        while !self.0.insert(name.clone()) {
            name.push('\'');
        }
        name
    }
}

/// The bytes of a file of `rows`, and its schema.
pub(super) fn encode(rows: Rows) -> Result<(Vec<u8>, SegmentSchema), CaptureError> {
    let mut names = Names(HashSet::new());
    let mut columns = vec![
        (ROW_ID.to_owned(), Typed { cells: Cells::Texts(rows.ids), missing: None }),
        (EVENT_TIME.to_owned(), Typed { cells: Cells::Times(micros(&rows.times)), missing: None }),
        (MODEL_VERSION.to_owned(), Typed { cells: Cells::Texts(rows.model_versions), missing: None }),
    ];
    let mut schema = SegmentSchema { format: FORMAT, columns: Vec::new() };
    let of_role = |role: Role, columns: Vec<RowColumn>| columns.into_iter().map(move |column| (role, column));
    for (role, column) in of_role(Role::Feature, rows.features).chain(of_role(Role::Output, rows.outputs)) {
        let parts = take_parts(&mut names, &format!("{}.{}", prefix(role), column.name), column.parts);
        let (said, typed): (Vec<PartSchema>, Vec<(String, Typed)>) = parts.into_iter().unzip();
        columns.extend(typed);
        schema.columns.push(ColumnSchema { role, name: column.name, parts: said });
    }
    Ok((write_typed(columns, &said(&schema)?)?, schema))
}

/// The parts of a column under their names in the file: the first under that of the column, any other with its type.
fn take_parts(names: &mut Names, name: &str, parts: Vec<Part>) -> Vec<(PartSchema, (String, Typed))> {
    let taken = |(at, Part { holds, typed }): (usize, Part)| {
        let wanted = if at == 0 { name.to_owned() } else { format!("{name} ({})", holds.as_str()) };
        let column = names.take(wanted);
        (PartSchema { holds, column: column.clone() }, (column, typed))
    };
    parts.into_iter().enumerate().map(taken).collect()
}

fn said(schema: &SegmentSchema) -> Result<String, CaptureError> {
    serde_json::to_string(schema).map_err(|error| CaptureError::Content {
        uri: "(to be written)".to_owned(),
        problem: error.to_string(),
    })
}

fn micros(times: &[DateTime<Utc>]) -> Vec<i64> {
    times.iter().map(DateTime::timestamp_micros).collect()
}

/// What is to be read of a file of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    /// No features and outputs.
    pub(super) only_ids: bool,
}

/// The rows in the file that `uri` names; without labels.
pub(super) fn decode(bytes: &[u8], uri: &str, wanted: Wanted) -> Result<Rows, CaptureError> {
    let path = Path::new(uri);
    let content = |problem: String| CaptureError::Content { uri: uri.to_owned(), problem };
    let mut schema = schema_of(bytes, uri)?;
    if wanted.only_ids {
        schema.columns.clear();
    }
    let fixed = [ROW_ID, EVENT_TIME, MODEL_VERSION];
    let parts = schema.columns.iter().flat_map(|column| &column.parts);
    let names: Vec<&str> = fixed.into_iter().chain(parts.map(|part| part.column.as_str())).collect();
    let mut read = read_typed(bytes, &names, path)?.into_iter();
    let (Some(ids), Some(times), Some(versions)) = (read.next(), read.next(), read.next()) else {
        return Err(content("it has no ids, times or versions".to_owned()));
    };
    let (Cells::Texts(ids), Cells::Times(times), Cells::Texts(model_versions)) =
        (ids.cells, times.cells, versions.cells)
    else {
        return Err(content("ids, times or versions are of another type".to_owned()));
    };
    let time = |micros: i64| {
        DateTime::from_timestamp_micros(micros).ok_or_else(|| content(format!("{micros} is no event time")))
    };
    let times: Vec<DateTime<Utc>> = times.into_iter().map(time).collect::<Result<_, _>>()?;
    let mut rows = Rows { ids, times, model_versions, ..Rows::default() };
    let count = rows.len();
    for ColumnSchema { role, name, parts } in schema.columns {
        let typed = parts.iter().map(|part| part.holds).zip(read.by_ref());
        let parts = typed.map(|(holds, typed)| Part { holds, typed }).collect();
        let column = RowColumn { name, rows: count, parts };
        if role == Role::Output { rows.outputs.push(column) } else { rows.features.push(column) }
    }
    Ok(rows)
}

/// What the footer of the file that `uri` names says of its columns.
pub(super) fn schema_of(bytes: &[u8], uri: &str) -> Result<SegmentSchema, CaptureError> {
    let content = |problem: String| CaptureError::Content { uri: uri.to_owned(), problem };
    let said = said_of_columns(bytes, Path::new(uri))?;
    let schema: SegmentSchema = serde_json::from_str(&said).map_err(|error| content(error.to_string()))?;
    if schema.format != FORMAT {
        return Err(content(format!("it has format {}, this build reads {FORMAT}", schema.format)));
    }
    Ok(schema)
}

/// Labels of some rows of another file, by their numbers there.
pub(super) type Labels = Vec<(usize, Json)>;

/// The bytes of a file of labels.
pub(super) fn encode_labels(labels: &Labels) -> Result<(Vec<u8>, SegmentSchema), CaptureError> {
    let mut scalars = super::columns::Filling::default();
    let (mut rows, mut texts, mut no_text) = (Vec::new(), Texts::default(), Vec::new());
    for (at, (row, label)) in labels.iter().enumerate() {
        rows.push(i64::try_from(*row).unwrap_or(i64::MAX));
        if let Json::Object(_) | Json::Array(_) = label {
            texts.push(&label.to_string());
            no_text.push(false);
        } else {
            scalars.set(at, &crate::store::captured::value(label));
            texts.push("");
            no_text.push(true);
        }
    }
    let column = scalars.finish("label".into(), labels.len());
    let mut columns = vec![(ROW.to_owned(), Typed { cells: Cells::Integers(rows), missing: None })];
    let parts = take_parts(&mut Names(HashSet::new()), "label", column.parts);
    let (parts, typed): (Vec<PartSchema>, Vec<(String, Typed)>) = parts.into_iter().unzip();
    columns.extend(typed);
    columns.push((LABEL_JSON.to_owned(), Typed { cells: Cells::Texts(texts), missing: Some(no_text) }));
    let columns_said = vec![ColumnSchema { role: Role::Output, name: "label".into(), parts }];
    let schema = SegmentSchema { format: FORMAT, columns: columns_said };
    Ok((write_typed(columns, &said(&schema)?)?, schema))
}

/// The labels in the file that `uri` names.
pub(super) fn decode_labels(bytes: &[u8], uri: &str) -> Result<Labels, CaptureError> {
    let content = |problem: String| CaptureError::Content { uri: uri.to_owned(), problem };
    let schema = schema_of(bytes, uri)?;
    let parts: Vec<&PartSchema> = schema.columns.iter().flat_map(|column| &column.parts).collect();
    let names: Vec<&str> =
        [ROW, LABEL_JSON].into_iter().chain(parts.iter().map(|part| part.column.as_str())).collect();
    let mut read = read_typed(bytes, &names, Path::new(uri))?.into_iter();
    let (Some(numbers), Some(objects)) = (read.next(), read.next()) else {
        return Err(content("it has no numbers of rows".to_owned()));
    };
    let (Cells::Integers(numbers), Cells::Texts(texts)) = (numbers.cells, &objects.cells) else {
        return Err(content("numbers of rows or labels are of another type".to_owned()));
    };
    let parts = parts.iter().zip(read).map(|(part, typed)| Part { holds: part.holds, typed }).collect();
    let scalars = RowColumn { name: "label".into(), rows: numbers.len(), parts };
    let label = |(at, row): (usize, i64)| {
        let row = usize::try_from(row).map_err(|_| content(format!("{row} is no number of a row")))?;
        let label = if objects.is_missing(at) {
            crate::store::captured::stored(&scalars.value(at))
        } else {
            serde_json::from_str(texts.get(at)).map_err(|error| content(error.to_string()))?
        };
        Ok((row, label))
    };
    numbers.into_iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::capture::rows::Columns;
    use crate::model::Value;
    use crate::store::captured::stored;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            2 => Just(Value::Missing),
            4 => any::<f64>().prop_map(Value::Number),
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(5e-324)].prop_map(Value::Number),
            1 => any::<bool>().prop_map(Value::Bool),
            2 => "\\PC{0,12}".prop_map(Value::Text),
            1 => Just(Value::Opaque),
        ]
    }

    /// As bits, so that NaN and the sign of zero count.
    fn shown(value: &Value) -> String {
        match value {
            Value::Number(number) if number.is_nan() => "NaN".to_owned(),
            Value::Number(number) => format!("{:x}", number.to_bits()),
            other => format!("{other:?}"),
        }
    }

    fn encoded(rows: &[Map<String, Json>]) -> Vec<u8> {
        let (mut columns, mut made) = (Columns::default(), Rows::default());
        for (at, row) in rows.iter().enumerate() {
            columns.push(row, &Map::new());
            made.ids.push(&format!("r{at}"));
            made.times.push(DateTime::from_timestamp_micros(1_000_001 * i64::try_from(at).unwrap()).unwrap());
            made.model_versions.push("");
        }
        (made.features, made.outputs) = columns.finish();
        encode(made).unwrap().0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_value_comes_back_as_it_was(
            rows in prop::collection::vec(prop::collection::btree_map("[a-c.' ()]{1,4}", value(), 0..5), 1..40),
        ) {
            let maps: Vec<Map<String, Json>> = rows
                .iter()
                .map(|row| row.iter().map(|(name, value)| (name.clone(), stored(value))).collect())
                .collect();
            let bytes = encoded(&maps);
            prop_assert_eq!(&encoded(&maps), &bytes, "the same rows give the same bytes");
            let read = decode(&bytes, "x.parquet", Wanted::default()).unwrap();
            prop_assert_eq!(read.len(), rows.len());
            for (at, row) in rows.iter().enumerate() {
                for column in &read.features {
                    let expected = row.get(column.name.as_str()).unwrap_or(&Value::Missing);
                    prop_assert_eq!(shown(&column.value(at)), shown(expected), "{} row {}", column.name, at);
                }
                prop_assert!(row.keys().all(|name| read.feature(name).is_some()));
            }
        }

        #[test]
        fn damage_is_an_error_and_no_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let row = |number: i32| Map::from_iter([("x".to_owned(), json!(number)), ("y".to_owned(), json!("a"))]);
            let mut bytes = encoded(&(0..20).map(row).collect::<Vec<_>>());
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Err(error) = decode(&bytes, "x.parquet", Wanted::default()) {
                prop_assert!(error.to_string().contains("x.parquet"), "{error}");
            }
        }
    }

    #[test]
    fn labels_come_back_with_the_numbers_of_their_rows() {
        let labels: Labels =
            vec![(0, json!(1.5)), (3, json!(true)), (4, json!("a")), (9, json!({"y": 1})), (10, Json::Null)];
        let (bytes, schema) = encode_labels(&labels).unwrap();
        assert_eq!(schema.columns[0].parts.len(), 3);
        assert_eq!(decode_labels(&bytes, "l.parquet").unwrap(), labels);
        assert!(decode_labels(b"PAR1", "l.parquet").unwrap_err().to_string().contains("l.parquet"));
    }
}
