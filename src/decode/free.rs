//! JSON of no known shape: rows and columns by pointer, or by what looks like them.

use chrono::{DateTime, Utc};

use super::columns::{Names, add_positional, flat_items, members, set_cells};
use super::format::{Columns, Mapping, Place, Pointer};
use super::json::Node;
use super::side::{Part, RequestSide, ResponseSide, Runs};
use super::table::{Items, Table, scalar};
use super::{DecodeFailure, MAX_COLUMNS, MAX_ROWS, Naming, Notes, Side, signature};
use crate::model::Value;

/// Levels of objects in which arrays that look like rows are looked for.
const SEARCH_DEPTH: usize = 2;

/// Reads the rows of a request.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let mut notes = Notes::default();
    let mapping = naming.format.as_deref().map(|format| &format.request);
    let parts = parts(root, Side::Request, mapping, naming, &mut notes)?;
    Ok(RequestSide { parts, notes, ..RequestSide::default() })
}

/// Reads the rows of an answer.
pub(super) fn response(root: &Node, naming: &Naming) -> Result<ResponseSide, DecodeFailure> {
    let mut notes = Notes::default();
    let mapping = naming.format.as_deref().map(|format| &format.response);
    let parts = parts(root, Side::Response, mapping, naming, &mut notes)?;
    Ok(ResponseSide { parts, notes, ..ResponseSide::default() })
}

/// The rows of a document.
pub(super) fn parts(
    root: &Node,
    side: Side,
    mapping: Option<&Mapping>,
    naming: &Naming,
    notes: &mut Notes,
) -> Result<Vec<Part>, DecodeFailure> {
    let empty = Mapping::default();
    let mapping = mapping.unwrap_or(&empty);
    let names = naming.positional(side);
    let places = match (&mapping.rows, &mapping.columns) {
        (Some(pointer), _) => places(root, pointer, side)?,
        (None, Columns::Map(_)) => vec![Some(Place::Node(root))],
        (None, Columns::Auto) => return search(root, side, names, notes),
    };
    rows(&places, &mapping.columns, names, notes).map(|part| vec![part])
}

/// What the pointer to the rows leads to, one place per row.
fn places<'n>(
    root: &'n Node,
    pointer: &Pointer,
    side: Side,
) -> Result<Vec<Option<Place<'n>>>, DecodeFailure> {
    let found = pointer.find(root);
    if pointer.is_each() {
        return Ok(found);
    }
    let absent = || DecodeFailure::MissingField(format!("format.{side}.rows"));
    match found.into_iter().next().flatten().ok_or_else(absent)? {
        // The document as a whole is one row, also when it is an array.
        place if pointer.is_root() => Ok(vec![Some(place)]),
        Place::Node(Node::List(nodes)) => Ok(nodes.iter().map(|node| Some(Place::Node(node))).collect()),
        Place::Node(Node::Numbers(numbers)) => {
            Ok(numbers.iter().map(|number| Some(Place::Number(*number))).collect())
        }
        place => Ok(vec![Some(place)]),
    }
}

fn rows(
    places: &[Option<Place<'_>>],
    columns: &Columns,
    names: Names<'_>,
    notes: &mut Notes,
) -> Result<Part, DecodeFailure> {
    if places.len() > MAX_ROWS {
        return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
    }
    let width = places.iter().flatten().filter_map(|place| width(*place)).max().unwrap_or(0);
    let positional = names.all(width);
    let mut table = Table::default();
    for place in places {
        let row = table.add_row()?;
        let Some(place) = place else { continue };
        match columns {
            Columns::Map(columns) => {
                for (name, pointer) in columns {
                    set_pointed(&mut table, row, name, pointer, *place)?;
                }
            }
            Columns::Auto => match place {
                Place::Node(node) => match members(node) {
                    Some(members) => flatten(&mut table, row, "", members)?,
                    None => add_positional(&mut table, row, node, &positional, names, notes)?,
                },
                Place::Number(number) => {
                    let node = Node::Number(*number);
                    add_positional(&mut table, row, &node, &positional, names, notes)?;
                }
            },
        }
    }
    // A column that no row has is still a column.
    if let Columns::Map(columns) = columns
        && table.rows() > 0
    {
        let last = table.rows() - 1;
        for (name, pointer) in columns.iter().filter(|(_, pointer)| !pointer.is_each()) {
            let found = places.iter().flatten().any(|place| pointed(*place, pointer).is_some());
            if !found {
                table.set(last, name, Value::Missing)?;
            }
        }
    }
    Ok(Part::new(table))
}

/// Values of a row without names; absent for a row with names.
fn width(place: Place<'_>) -> Option<usize> {
    match place {
        Place::Number(_) => Some(1),
        Place::Node(node) if members(node).is_some() => None,
        Place::Node(node) => Some(node.list_len().unwrap_or(1)),
    }
}

fn pointed<'n>(place: Place<'n>, pointer: &Pointer) -> Option<Place<'n>> {
    match place {
        Place::Node(node) => pointer.find(node).into_iter().next().flatten(),
        Place::Number(_) if pointer.is_root() => Some(place),
        Place::Number(_) => None,
    }
}

/// Sets the cells of one column: a value, `name[j]` of an array, or of everything that a `*` leads to.
fn set_pointed(
    table: &mut Table,
    row: usize,
    name: &str,
    pointer: &Pointer,
    place: Place<'_>,
) -> Result<(), DecodeFailure> {
    if let (true, Place::Node(node)) = (pointer.is_each(), place) {
        let found = pointer.find(node);
        if found.len() > MAX_COLUMNS {
            return table.set(row, name, Value::Opaque);
        }
        for (name, place) in signature::numbered(name, found.len()).iter().zip(found) {
            table.set(row, name, place.map_or(Value::Missing, value))?;
        }
        return Ok(());
    }
    match pointed(place, pointer) {
        Some(Place::Node(node)) => set_cells(table, row, name, node),
        Some(Place::Number(number)) => table.set(row, name, Value::Number(number)),
        None => Ok(()),
    }
}

fn value(place: Place<'_>) -> Value {
    match place {
        Place::Node(node) => scalar(node),
        Place::Number(number) => Value::Number(number),
    }
}

/// Every scalar of an object, those of objects inside it as `outer.inner`.
fn flatten(
    table: &mut Table,
    row: usize,
    prefix: &str,
    object: &[(String, Node)],
) -> Result<(), DecodeFailure> {
    for (key, node) in object {
        let joined;
        let name = if prefix.is_empty() {
            key
        } else {
            joined = format!("{prefix}.{key}");
            &joined
        };
        Table::check_name(name)?;
        match members(node) {
            Some(inner) => flatten(table, row, name, inner)?,
            None => set_cells(table, row, name, node)?,
        }
    }
    Ok(())
}

/// What looks like rows.
#[derive(Default)]
struct Found<'n> {
    /// Arrays of objects or of arrays, with their names.
    tables: Vec<(&'n str, &'n Node)>,
    /// Objects of nothing but arrays of scalars of one length.
    frames: Vec<&'n [(String, Node)]>,
}

impl<'n> Found<'n> {
    fn look(&mut self, name: &'n str, node: &'n Node, depth: usize) {
        if let Node::List(elements) = node {
            let lists = elements.iter().all(|node| node.list_len().is_some());
            if !elements.is_empty() && (lists || elements.iter().all(|node| members(node).is_some())) {
                self.tables.push((name, node));
            }
        }
        let Some(object) = members(node) else { return };
        if frame_rows(object).is_some() {
            self.frames.push(object);
        } else if depth < SEARCH_DEPTH {
            for (key, inner) in object {
                self.look(key, inner, depth + 1);
            }
        }
    }
}

/// Number of rows of an object that is columns.
fn frame_rows(object: &[(String, Node)]) -> Option<usize> {
    let rows = object.first()?.1.list_len().filter(|rows| *rows > 0)?;
    let alike = |(_, node): &(String, Node)| flat_items(node).is_some_and(|items| items.len() == rows);
    object.iter().all(alike).then_some(rows)
}

/// The only thing that looks like rows; else a document is one row.
fn search(root: &Node, side: Side, names: Names<'_>, notes: &mut Notes) -> Result<Vec<Part>, DecodeFailure> {
    let mut found = Found::default();
    found.look("", root, 0);
    match (found.tables.as_slice(), found.frames.as_slice()) {
        ([(name, Node::List(elements))], _) => {
            let places: Vec<_> = elements.iter().map(|node| Some(Place::Node(node))).collect();
            let names = if name.is_empty() { names } else { Names { prefix: name, alone: name, ..names } };
            rows(&places, &Columns::Auto, names, notes).map(|part| vec![part])
        }
        ([], [frame]) => self::frame(frame, side, names).map(|part| vec![part]),
        ([], _) => one_row(root, side, names),
        _ => Err(DecodeFailure::Ambiguous(side)),
    }
}

/// Columns by name. A single one of a request is rather a vector, which is one row.
fn frame(object: &[(String, Node)], side: Side, names: Names<'_>) -> Result<Part, DecodeFailure> {
    let rows = frame_rows(object).unwrap_or(0);
    let mut table = Table::default();
    table.add_rows(rows)?;
    for (name, node) in object {
        if let Some(items) = Items::of(node) {
            table.push_column(name, items.values())?;
        }
    }
    let mut part = Part::new(table);
    if rows > 1 {
        let alone = object.len() == 1;
        let fits = names.fitting(rows).filter(|_| alone);
        part.runs = Some(Runs {
            lengths: vec![rows],
            names: fits.cloned().unwrap_or_default(),
            preferred: alone && side == Side::Request,
        });
    }
    Ok(part)
}

/// A document that is one row, but for arrays at its top, which may be rows of their own.
fn one_row(root: &Node, side: Side, names: Names<'_>) -> Result<Vec<Part>, DecodeFailure> {
    let Some(object) = members(root) else {
        let name = names.whole();
        let mut part = if let Some(items) = flat_items(root) {
            if items.len() > MAX_ROWS {
                return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
            }
            Part::vector(name, items.values())
        } else {
            let mut table = Table::default();
            let row = table.add_row()?;
            table.set(row, name, scalar(root))?;
            Part::new(table)
        };
        part.name_runs(names.given);
        if let Some(runs) = &mut part.runs {
            runs.preferred = side == Side::Request;
        }
        return Ok(vec![part]);
    };
    let mut table = Table::default();
    let row = table.add_row()?;
    let mut parts = Vec::new();
    for member in object {
        let (name, node) = member;
        match flat_items(node).filter(|items| (2..=MAX_ROWS).contains(&items.len())) {
            Some(items) => {
                Table::check_name(name)?;
                let mut part = Part::vector(name, items.values());
                if let Some(runs) = &mut part.runs {
                    runs.preferred = true;
                }
                parts.push(part);
            }
            None => flatten(&mut table, row, "", std::slice::from_ref(member))?,
        }
    }
    let scalars = Part::new(table);
    if !scalars.columns.is_empty() {
        parts.insert(0, scalars);
    }
    super::columns::check_size(&parts)?;
    Ok(parts)
}

/// The id that `pointer` leads to: a text, or a whole number.
pub(super) fn id(root: &Node, pointer: &Pointer) -> Option<String> {
    match value(pointed(Place::Node(root), pointer)?) {
        Value::Text(text) if !text.is_empty() => Some(text),
        Value::Number(number) if number.is_finite() => Some(number.to_string()),
        _ => None,
    }
}

/// The time that `pointer` leads to: RFC 3339, or seconds or milliseconds since the epoch.
pub(super) fn time(root: &Node, pointer: &Pointer) -> Option<DateTime<Utc>> {
    /// Seconds of the year 5138, milliseconds of 1973.
    const MILLISECONDS_FROM: f64 = 1e11;
    match value(pointed(Place::Node(root), pointer)?) {
        Value::Text(text) => DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc()),
        Value::Number(number) if number.is_finite() && number.abs() < 1e15 => {
            let seconds = if number.abs() < MILLISECONDS_FROM { number } else { number / 1e3 };
            #[expect(clippy::cast_possible_truncation, reason = "less than 1e11 seconds in microseconds")]
            let micros = (seconds * 1e6).round() as i64;
            DateTime::from_timestamp_micros(micros)
        }
        _ => None,
    }
}

/// The rows of a body with a document per line; `SageMaker` has them as `{"features": […]}`.
pub(super) fn lines(
    root: &Node,
    side: Side,
    naming: &Naming,
    notes: &mut Notes,
) -> Result<Part, DecodeFailure> {
    let Node::List(lines) = root else { return Err(DecodeFailure::NoRows) };
    let unwrapped = lines.iter().map(|line| match line {
        Node::Object(members) => match members.as_slice() {
            [(name, vector)] if name == "features" => flat_items(vector).map(|_| vector),
            _ => None,
        },
        _ => None,
    });
    let vectors: Option<Vec<&Node>> = unwrapped.collect();
    let rows_of = vectors.unwrap_or_else(|| lines.iter().collect());
    let places: Vec<_> = rows_of.into_iter().map(|node| Some(Place::Node(node))).collect();
    let columns = naming.format.as_deref().map_or(&Columns::Auto, |format| &format.mapping(side).columns);
    rows(&places, columns, naming.positional(side), notes)
}
