//! One side of an exchange on its own, and how the two become rows: what one leaves open, the other settles.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::table::Table;
use super::{DecodeFailure, Decoded, MAX_COLUMNS, Naming, Notes, signature, turns};
use crate::model::{Batch, Column, Name, NameList, Value};

/// Columns that have their rows in common: a tensor, a data frame, a list of records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Part {
    /// Number of rows; every column has as many values.
    pub rows: usize,
    /// The columns.
    pub columns: Vec<Column>,
    /// How else the rows can be read, where the body alone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Runs>,
}

/// Runs of rows that may be one row each, with a column per value: `[K]` is K rows of one value or one row of K.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Runs {
    /// Length of each run, in order; together all rows of the part.
    pub lengths: Vec<usize>,
    /// Names of the values of a run, where there is a single column and every run has as many; empty: `name[j]`.
    #[serde(default, skip_serializing_if = "NameList::is_empty")]
    pub names: NameList,
    /// Whether a run is one row where the other side says nothing.
    #[serde(default)]
    pub preferred: bool,
}

impl Part {
    /// The columns of a table, which can be read in one way only.
    pub(crate) fn new(table: Table) -> Self {
        Self { rows: table.rows(), columns: table.finish(), runs: None }
    }

    /// A single column whose rows may also be the values of one row.
    pub(crate) fn vector(name: impl Into<Name>, values: Vec<Value>) -> Self {
        let rows = values.len();
        let runs = (rows > 1).then(|| Runs { lengths: vec![rows], ..Runs::default() });
        Self { rows, columns: vec![Column { name: name.into(), values }], runs }
    }

    /// Says that the rows of a single column may be the values of one row, called `names` where they fit.
    pub(crate) fn may_be_one_row(&mut self, names: Option<&NameList>) {
        if self.rows > 1 {
            self.runs = Some(Runs { lengths: vec![self.rows], ..Runs::default() });
            self.name_runs(names);
        }
    }

    /// Calls the values of runs `names`, where the part is a single column and all runs are as long.
    pub(crate) fn name_runs(&mut self, names: Option<&NameList>) {
        if let (Some(names), Some(runs), [_]) = (names, &mut self.runs, self.columns.as_slice())
            && runs.names.is_empty()
            && runs.lengths.iter().all(|length| *length == names.len())
        {
            runs.names = names.clone();
        }
    }

    /// Number of rows when every run is one.
    fn run_rows(&self) -> Option<usize> {
        self.runs.as_ref().map(|runs| runs.lengths.len())
    }

    /// Whether it can be read as `rows` rows.
    fn reads_as(&self, rows: usize) -> bool {
        self.rows == rows || self.run_rows() == Some(rows)
    }

    /// Number of rows where the other side says nothing.
    fn usual_rows(&self) -> usize {
        match &self.runs {
            Some(runs) if runs.preferred => runs.lengths.len(),
            _ => self.rows,
        }
    }

    /// The columns as `rows` rows; absent when it cannot be read so.
    fn read(self, rows: usize) -> Result<Option<Vec<Column>>, DecodeFailure> {
        if self.rows == rows {
            return Ok(Some(self.columns));
        }
        match self.runs {
            Some(runs) if runs.lengths.len() == rows => fold(self.columns, &runs).map(Some),
            _ => Ok(None),
        }
    }

    /// Calls `visit` with the name and the values of every column, under every name that [`join`] may give them.
    fn visit(&mut self, visit: &mut impl FnMut(&str, &mut [Value])) {
        for column in &mut self.columns {
            visit(&column.name, &mut column.values);
        }
        if let (Some(runs), [column]) = (&self.runs, self.columns.as_mut_slice()) {
            for (name, value) in runs.names.iter().cycle().zip(&mut column.values) {
                visit(name, std::slice::from_mut(value));
            }
        }
    }

    /// Keeps the columns that `keep` says yes to; a value under a name that it says no to becomes missing.
    fn retain(&mut self, keep: &mut impl FnMut(&str) -> bool) {
        self.columns.retain(|column| keep(&column.name));
        if let (Some(runs), [column]) = (&self.runs, self.columns.as_mut_slice()) {
            for (name, value) in runs.names.iter().cycle().zip(&mut column.values) {
                if !keep(name) {
                    *value = Value::Missing;
                }
            }
        }
    }
}

/// One row per run, one column per value of a run.
fn fold(columns: Vec<Column>, runs: &Runs) -> Result<Vec<Column>, DecodeFailure> {
    let mut table = Table::default();
    table.add_rows(runs.lengths.len())?;
    let alone = columns.len() == 1;
    for column in columns {
        // The only column of something without names is called like the first of several.
        let prefix = if column.name == "[0]" { "" } else { &column.name };
        let longest = runs.lengths.iter().copied().filter(|length| *length <= MAX_COLUMNS).max().unwrap_or(0);
        let numbered = signature::numbered(prefix, longest);
        let mut values = column.values.into_iter();
        for (row, &length) in runs.lengths.iter().enumerate() {
            let run = values.by_ref().take(length);
            if length > MAX_COLUMNS {
                run.for_each(drop);
                table.set(row, &column.name, Value::Opaque)?;
                continue;
            }
            let names = if alone && runs.names.len() == length { &runs.names } else { &numbered };
            for (name, value) in names.iter().zip(run) {
                let is_whole = length == 1 && !(alone && runs.names.len() == 1);
                table.set(row, if is_whole { &column.name } else { name }, value)?;
            }
        }
    }
    Ok(table.finish())
}

/// What a client sent: columns of values, and what the body says of the exchange.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RequestSide {
    /// Columns that went into the model.
    pub parts: Vec<Part>,
    /// Outputs of which only the best classes are asked for, as `value:index:label`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classified: Vec<String>,
    /// The id in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_id: Option<String>,
    /// The model that the body names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The version that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// When it happened, as the body says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<DateTime<Utc>>,
    /// The requests of a stream, where there are several; nothing else is set then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<RequestSide>,
    /// What was odd about it.
    #[serde(default)]
    pub notes: Notes,
}

/// What a model server answered: columns of values, and what the body says of the exchange.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ResponseSide {
    /// Columns that came out of the model.
    pub parts: Vec<Part>,
    /// The id in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_id: Option<String>,
    /// The model that the body names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The version that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// When it happened, as the body says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<DateTime<Utc>>,
    /// The answers of a stream, where there are several; nothing else is set then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<ResponseSide>,
    /// What was odd about it.
    #[serde(default)]
    pub notes: Notes,
}

impl RequestSide {
    /// Calls `visit` with the name and the values of every column, under every name that [`join`] may give them.
    pub fn visit_values(&mut self, mut visit: impl FnMut(&str, &mut [Value])) {
        let turns = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        self.parts.iter_mut().chain(turns).for_each(|part| part.visit(&mut visit));
    }

    /// Leaves out what `keep` says no to, under every name that [`join`] may give it.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let turns = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        self.parts.iter_mut().chain(turns).for_each(|part| part.retain(&mut keep));
    }

    /// Number of rows, as far as the request alone tells.
    pub fn rows(&self) -> usize {
        let own = self.parts.first().map_or(0, Part::usual_rows);
        self.turns.iter().map(Self::rows).fold(own, usize::saturating_add)
    }
}

impl ResponseSide {
    /// Calls `visit` with the name and the values of every column, under every name that [`join`] may give them.
    pub fn visit_values(&mut self, mut visit: impl FnMut(&str, &mut [Value])) {
        let turns = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        self.parts.iter_mut().chain(turns).for_each(|part| part.visit(&mut visit));
    }

    /// Leaves out what `keep` says no to, under every name that [`join`] may give it.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let turns = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        self.parts.iter_mut().chain(turns).for_each(|part| part.retain(&mut keep));
    }

    /// The outputs as rows of their own, for an answer whose request is not known.
    ///
    /// # Errors
    ///
    /// [`DecodeFailure`] when there is not one row, or more than are decoded.
    pub fn alone(self) -> Result<Decoded, DecodeFailure> {
        if !self.turns.is_empty() {
            return turns::alone(self);
        }
        let mut notes = self.notes;
        let rows = self.parts.iter().map(Part::usual_rows).find(|rows| *rows > 0);
        let rows = rows.ok_or(DecodeFailure::NoRows)?;
        let (outputs, left_out) = read_parts(self.parts, rows)?;
        notes.row_mismatch += left_out;
        Ok(Decoded {
            batch: Batch { rows, features: Vec::new(), outputs },
            body_id: self.body_id,
            model_version: self.model_version,
            event_time: self.event_time,
            notes,
        })
    }
}

/// Joins the two sides of an exchange.
///
/// An answer that could not be read leaves `outputs` empty and a note; the features are kept. Without an answer there
/// are only features.
///
/// # Errors
///
/// [`DecodeFailure`] says why there are no rows: no prediction was made, the inputs contradict each other, or there is
/// not one row.
pub fn join(
    request: RequestSide,
    response: Option<Result<ResponseSide, DecodeFailure>>,
    naming: &Naming,
) -> Result<Decoded, DecodeFailure> {
    let answered_in_turns = matches!(&response, Some(Ok(response)) if !response.turns.is_empty());
    if answered_in_turns || !request.turns.is_empty() {
        return turns::join(request, response, naming);
    }
    let RequestSide { mut parts, classified, body_id, model_version, event_time, mut notes, .. } = request;
    let response = match response {
        Some(Ok(side)) => side,
        Some(Err(failure @ (DecodeFailure::ErrorStatus(_) | DecodeFailure::ErrorAnswer))) => {
            return Err(failure);
        }
        Some(Err(failure)) => {
            notes.response_undecoded = Some(failure.reason());
            ResponseSide::default()
        }
        None => ResponseSide::default(),
    };
    notes.add(&response.notes);
    // A baseline with names may have become active since the request was read.
    if let [only] = parts.as_mut_slice() {
        only.name_runs(Some(&naming.features));
    }
    let rows = settle(&parts, &response.parts)?;
    if rows == 0 {
        return Err(DecodeFailure::NoRows);
    }
    let (features, left_out) = read_parts(parts, rows)?;
    notes.inputs_left_out += left_out;
    let (outputs, mismatched) = match read_parts(response.parts, rows) {
        Ok(outputs) => outputs,
        Err(failure) => {
            notes.response_undecoded = Some(failure.reason());
            (Vec::new(), 0)
        }
    };
    notes.row_mismatch += mismatched;
    let outputs = super::classification::split_asked(outputs, &classified);
    Ok(Decoded {
        batch: Batch { rows, features, outputs },
        body_id: body_id.or(response.body_id),
        model_version: response.model_version.or(model_version),
        event_time: event_time.or(response.event_time),
        notes,
    })
}

/// How many rows the exchange has.
fn settle(request: &[Part], response: &[Part]) -> Result<usize, DecodeFailure> {
    let first = request.first().ok_or(DecodeFailure::NoRows)?;
    let answers = |rows: usize| response.iter().any(|part| part.rows == rows);
    let odd = request.iter().position(|part| part.rows != first.rows);
    if response.is_empty() {
        let usual = first.usual_rows();
        let agreed = request.iter().all(|part| part.usual_rows() == usual);
        let odd = request.iter().position(|part| part.usual_rows() != usual).unwrap_or(0);
        return if agreed { Ok(usual) } else { Err(DecodeFailure::ShapeMismatch(format!("inputs[{odd}]"))) };
    }
    if let Some(rows) = request.iter().map(|part| part.rows).find(|rows| answers(*rows)) {
        return Ok(rows);
    }
    // Several inputs with as many rows each are columns; a single one, or different ones, may be vectors.
    if request.len() == 1 || odd.is_some() {
        let fits = |rows: &usize| request.iter().chain(response).all(|part| part.reads_as(*rows));
        if let Some(rows) = request.iter().filter_map(Part::run_rows).find(fits) {
            return Ok(rows);
        }
    }
    match odd {
        None => Ok(first.usual_rows()),
        Some(odd) => Err(DecodeFailure::ShapeMismatch(format!("inputs[{odd}]"))),
    }
}

/// The columns of the parts that can be read as `rows` rows, and how many parts cannot.
fn read_parts(parts: Vec<Part>, rows: usize) -> Result<(Vec<Column>, u64), DecodeFailure> {
    let mut left_out = 0;
    let mut read = Vec::with_capacity(parts.len());
    for part in parts {
        match part.read(rows)? {
            Some(columns) => read.push(columns),
            None => left_out += 1,
        }
    }
    if read.len() == 1 {
        return Ok((read.swap_remove(0), left_out));
    }
    let mut table = Table::default();
    table.add_rows(rows)?;
    for column in read.into_iter().flatten() {
        table.push_column(&column.name, column.values)?;
    }
    Ok((table.finish(), left_out))
}
