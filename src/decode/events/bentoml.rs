//! Monitor logs of `BentoML`: lines of named columns, and the schema that tells features, predictions and targets.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value as Json;

use super::feedback::{derived_id, json_value};
use super::raw::{self, Members};
use super::{Event, LabelEvent, LabelTarget, Refusal};
use crate::decode::columns::set_cells;
use crate::decode::ids::usable;
use crate::decode::predictions::Submitted;
use crate::decode::table::Table;
use crate::decode::{MAX_COLUMNS, json};
use crate::model::{Batch, ModelName};

/// What lines of a monitor log do not say themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonitorLog {
    /// The model; absent: named like the bento.
    pub model: Option<ModelName>,
    /// The columns; absent: a line of the message has them.
    pub schema: Option<MonitorSchema>,
    /// How far the writer's clock, whose times carry no zone, is ahead of UTC.
    pub utc_offset_seconds: i32,
}

/// The columns of a monitor log, as a line of a file under `schema/` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorSchema {
    bento: Option<String>,
    columns: Vec<(String, Role)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Feature,
    Prediction,
    Target,
}

impl MonitorSchema {
    /// Reads a line of a file under `schema/`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let members = raw::single(line).and_then(Members::of).ok_or("the schema is not a JSON object")?;
        Self::of(&members).map_err(|refusal| refusal.problem)
    }

    pub(super) fn of(line: &Members<'_>) -> Result<Self, Refusal> {
        let columns = line.get("columns").map(|columns| raw::elements(columns, MAX_COLUMNS));
        let Some(Ok(Some(given))) = columns else {
            return Err(Refusal::new("bad_schema", "`columns` is absent, no list, or too long"));
        };
        let mut columns = Vec::with_capacity(given.len());
        for (at, column) in given.into_iter().enumerate() {
            let wrong = |problem| Refusal::new("bad_schema", format!("`columns[{at}]` {problem}"));
            let column = Members::of(column).ok_or_else(|| wrong("is not an object"))?;
            let name = column.text("name").ok_or_else(|| wrong("has no name"))?;
            let role = match column.text("role").as_deref() {
                Some("feature") => Role::Feature,
                Some("prediction") => Role::Prediction,
                Some("target") => Role::Target,
                _ => return Err(wrong("has another role than feature, prediction or target")),
            };
            columns.push((name, role));
        }
        let bento = line.object("meta_data").and_then(|meta| meta.text("bento_name"));
        Ok(Self { bento, columns })
    }
}

/// What one line says.
struct Line<'b> {
    id: Option<String>,
    time: Option<DateTime<Utc>>,
    members: Members<'b>,
    written: &'b [u8],
}

/// The rows at the front of `lines` that belong to one request, and how many lines that were.
///
/// A request of many rows has as many lines, one after the other, under one id.
pub(super) fn rows(log: &MonitorLog, lines: &[&[u8]]) -> (usize, Result<Vec<Event>, Refusal>) {
    let mut read = Vec::new();
    for written in lines {
        match line(log, written) {
            Ok(line) => {
                let same =
                    read.first().is_none_or(|first: &Line<'_>| first.id.is_some() && first.id == line.id);
                if !same {
                    break;
                }
                read.push(line);
            }
            Err(refusal) if read.is_empty() => return (1, Err(refusal)),
            Err(_) => break,
        }
    }
    (read.len().max(1), request(log, &read))
}

fn line<'b>(log: &MonitorLog, written: &'b [u8]) -> Result<Line<'b>, Refusal> {
    let members = Members::of(written)
        .filter(|members| !members.has("columns"))
        .ok_or_else(|| Refusal::new("not_an_object", "the item is not a line of a monitor log"))?;
    let id = members.id(&["request_id"]).filter(|id| !["0", "None"].contains(&id.as_str()));
    let time = match members.text("timestamp") {
        None => None,
        Some(written) => {
            let offset = TimeDelta::seconds(log.utc_offset_seconds.into());
            let local = NaiveDateTime::parse_from_str(&written, "%Y-%m-%dT%H:%M:%S%.f").ok();
            let utc = local.and_then(|local| local.checked_sub_signed(offset)).map(|utc| utc.and_utc());
            Some(utc.or_else(|| raw::time(&written)).ok_or_else(|| raw::bad_time("timestamp"))?)
        }
    };
    Ok(Line { id, time, members, written })
}

fn request(log: &MonitorLog, lines: &[Line<'_>]) -> Result<Vec<Event>, Refusal> {
    let Some(schema) = &log.schema else {
        return Err(Refusal::new("needs_schema", "the columns of the monitor log are not known"));
    };
    let Some(first) = lines.first() else { return Ok(Vec::new()) };
    let model = match (&log.model, &schema.bento) {
        (Some(model), _) => model.clone(),
        (None, Some(bento)) => ModelName::parse(bento.as_str())
            .map_err(|_| Refusal::new("bad_model", "`bento_name` is not a model name"))?,
        (None, None) => return Err(Refusal::missing("bento_name")),
    };
    let too_large =
        |failure: crate::decode::DecodeFailure| Refusal::new(failure.reason(), failure.to_string());
    let (mut features, mut outputs) = (Table::default(), Table::default());
    let mut targets = Vec::new();
    for line in lines {
        let row = features.add_row().map_err(too_large)?;
        outputs.add_row().map_err(too_large)?;
        let mut target = serde_json::Map::new();
        for (name, role) in &schema.columns {
            let Some(value) = line.members.get(name) else { continue };
            if *role == Role::Target {
                target.insert(name.clone(), json_value(value).ok_or_else(|| Refusal::missing(name))?);
                continue;
            }
            let table = if *role == Role::Feature { &mut features } else { &mut outputs };
            let node =
                json::parse(value).map_err(|_| Refusal::new("not_json", format!("`{name}` is not JSON")))?;
            set_cells(table, row, name, &node.root).map_err(too_large)?;
        }
        targets.push(target);
    }
    let id = match &first.id {
        Some(id) => id.clone(),
        None => derived_id(first.written),
    };
    let many = lines.len() > 1;
    let batch = Batch { rows: features.rows(), features: features.finish(), outputs: outputs.finish() };
    let submitted = Submitted {
        index: 0,
        model: model.clone(),
        id: usable(&id).map(str::to_owned),
        model_version: None,
        time: first.time,
        batch,
    };
    let mut events = vec![Event::Rows(Box::new(submitted))];
    for (row, mut target) in targets.into_iter().enumerate() {
        let value = match target.len() {
            0 => continue,
            1 => target.iter_mut().next().map(|(_, value)| value.take()).unwrap_or_default(),
            _ => Json::Object(target),
        };
        events.push(Event::Label(LabelEvent {
            model: Some(model.to_string()),
            target: LabelTarget::Id { id: id.clone(), row: many.then_some(row) },
            value,
            time: None,
        }));
    }
    Ok(events)
}
