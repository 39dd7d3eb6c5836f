//! Streams: several requests and answers in one exchange, paired and put one under the other.

use std::collections::HashMap;

use super::side::{RequestSide, ResponseSide, join as join_sides};
use super::{DecodeFailure, Decoded, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Naming};
use crate::model::{Batch, Column, Name, Value};

impl RequestSide {
    /// The requests of a stream; a single one is as if there was no stream.
    pub(super) fn of_turns(mut turns: Vec<Self>) -> Self {
        if turns.len() == 1 { turns.swap_remove(0) } else { Self { turns, ..Self::default() } }
    }
}

impl ResponseSide {
    /// The answers of a stream; a single one is as if there was no stream.
    pub(super) fn of_turns(mut turns: Vec<Self>) -> Self {
        if turns.len() == 1 { turns.swap_remove(0) } else { Self { turns, ..Self::default() } }
    }
}

/// Joins the sides of a stream: every request with its one answer, by id or by order.
///
/// The id of the exchange is that of its first request; of a request that got no answer, or several, only the
/// features are kept.
pub(super) fn join(
    request: RequestSide,
    response: Option<Result<ResponseSide, DecodeFailure>>,
    naming: &Naming,
) -> Result<Decoded, DecodeFailure> {
    let requests = if request.turns.is_empty() { vec![request] } else { request.turns };
    let (answers, failure) = match response {
        // A stream without any answer.
        Some(Ok(response)) if response == ResponseSide::default() => (Vec::new(), None),
        Some(Ok(response)) if response.turns.is_empty() => (vec![response], None),
        Some(Ok(response)) => (response.turns, None),
        Some(Err(failure @ (DecodeFailure::ErrorStatus(_) | DecodeFailure::ErrorAnswer))) => {
            return Err(failure);
        }
        Some(Err(failure)) => (Vec::new(), Some(failure)),
        None => (Vec::new(), None),
    };
    let answered = !answers.is_empty();
    let (paired, unpaired) = pair(&requests, answers);
    let mut rows = Rows::default();
    let mut whole = Decoded::default();
    let mut refused = None;
    for (at, (request, answer)) in requests.into_iter().zip(paired).enumerate() {
        let answer = match (answer, &failure) {
            (Some(answer), _) => Some(Ok(answer)),
            (None, Some(failure)) if at == 0 => Some(Err(failure.clone())),
            (None, _) => None,
        };
        match join_sides(request, answer, naming) {
            Ok(decoded) => {
                whole.body_id = whole.body_id.or(decoded.body_id);
                whole.model_version = whole.model_version.or(decoded.model_version);
                whole.event_time = whole.event_time.or(decoded.event_time);
                whole.notes.add(&decoded.notes);
                rows.add(decoded.batch)?;
            }
            Err(failure) => {
                whole.notes.inputs_left_out += 1;
                refused.get_or_insert(failure);
            }
        }
    }
    if rows.batch.rows == 0 {
        return Err(refused.unwrap_or(DecodeFailure::NoRows));
    }
    whole.notes.unpaired += unpaired;
    // A stream of which nothing was answered has no outputs to look for.
    whole.batch = rows.finish(answered);
    Ok(whole)
}

/// The answers of a stream whose requests are not known, one under the other.
pub(super) fn alone(response: ResponseSide) -> Result<Decoded, DecodeFailure> {
    let mut rows = Rows::default();
    let mut whole = Decoded::default();
    for turn in response.turns {
        let decoded = match turn.alone() {
            Err(DecodeFailure::NoRows) => continue,
            decoded => decoded?,
        };
        whole.body_id = whole.body_id.or(decoded.body_id);
        whole.model_version = whole.model_version.or(decoded.model_version);
        whole.notes.add(&decoded.notes);
        rows.add(decoded.batch)?;
    }
    if rows.batch.rows == 0 {
        return Err(DecodeFailure::NoRows);
    }
    whole.batch = rows.finish(true);
    Ok(whole)
}

/// The one answer of each request, and how many answers belong to none.
///
/// Ids pair where every request has one of its own; else order does, when there are as many answers as requests.
fn pair(requests: &[RequestSide], answers: Vec<ResponseSide>) -> (Vec<Option<ResponseSide>>, u64) {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let ids = requests.iter().enumerate().filter_map(|(at, request)| Some((request.body_id.as_deref()?, at)));
    places.extend(ids);
    let mut paired: Vec<Vec<ResponseSide>> = requests.iter().map(|_| Vec::new()).collect();
    let by_id = places.len() == requests.len() && answers.iter().any(|answer| answer.body_id.is_some());
    let in_order = answers.len() == requests.len();
    let mut unpaired = 0;
    for (at, answer) in answers.into_iter().enumerate() {
        let place = match &answer.body_id {
            Some(id) if by_id => places.get(id.as_str()).copied(),
            _ if by_id => None,
            _ => Some(at).filter(|_| in_order),
        };
        match place.and_then(|place| paired.get_mut(place)) {
            Some(answers) => answers.push(answer),
            None => unpaired += 1,
        }
    }
    let one_each = paired.into_iter().map(|mut answers| match answers.len() {
        0 | 1 => answers.pop(),
        several => {
            unpaired += u64::try_from(several).unwrap_or(u64::MAX);
            None
        }
    });
    let one_each = one_each.collect();
    (one_each, unpaired)
}

/// Batches one under the other; a column that one of them lacks is missing there.
#[derive(Default)]
struct Rows {
    batch: Batch,
    features: HashMap<Name, usize>,
    outputs: HashMap<Name, usize>,
}

impl Rows {
    fn add(&mut self, batch: Batch) -> Result<(), DecodeFailure> {
        let before = self.batch.rows;
        let rows = before.saturating_add(batch.rows);
        if rows > MAX_ROWS {
            return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
        }
        self.batch.rows = rows;
        append(&mut self.batch.features, &mut self.features, before, batch.features)?;
        append(&mut self.batch.outputs, &mut self.outputs, before, batch.outputs)?;
        let widest = self.batch.features.len().max(self.batch.outputs.len());
        if widest.saturating_mul(rows) > MAX_CELLS {
            return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
        }
        Ok(())
    }

    fn finish(mut self, answered: bool) -> Batch {
        if !answered {
            self.batch.outputs.clear();
        }
        for column in self.batch.features.iter_mut().chain(&mut self.batch.outputs) {
            column.values.resize(self.batch.rows, Value::Missing);
        }
        self.batch
    }
}

fn append(
    columns: &mut Vec<Column>,
    index: &mut HashMap<Name, usize>,
    before: usize,
    more: Vec<Column>,
) -> Result<(), DecodeFailure> {
    for column in more {
        if let Some(known) = index.get(&column.name).and_then(|at| columns.get_mut(*at)) {
            known.values.resize(before, Value::Missing);
            known.values.extend(column.values);
            continue;
        }
        if columns.len() == MAX_COLUMNS {
            return Err(DecodeFailure::TooLarge { what: "columns", limit: MAX_COLUMNS });
        }
        let mut values = vec![Value::Missing; before];
        values.extend(column.values);
        index.insert(column.name.clone(), columns.len());
        columns.push(Column { name: column.name, values });
    }
    Ok(())
}
