//! CSV, with and without a header: `MLflow`'s requests, `SageMaker`'s requests and answers.

use std::borrow::Cow;
use std::ops::Range;

use super::columns::Names;
use super::side::Part;
use super::table::Table;
use super::{DecodeFailure, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Notes, decimal, signature};
use crate::model::{Name, NameList, Value};

/// Whether the first line names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// It does.
    Present,
    /// It holds values.
    Absent,
    /// It does when no field of it is a number.
    Told,
}

/// Reads the rows of a request; `names` are those of the columns where there is no header.
pub(super) fn request(
    body: &[u8],
    header: Header,
    names: Names<'_>,
    notes: &mut Notes,
) -> Result<Part, DecodeFailure> {
    let lines = records(body)?;
    let header = match header {
        Header::Present => true,
        Header::Absent => false,
        Header::Told => {
            let given = names.given.map_or(&[] as &[Name], |given| given);
            lines.first().is_some_and(|line| is_header(line, given))
        }
    };
    let Some((first, rows)) = lines.lines.split_first().filter(|_| header) else {
        return table(&lines.fields, &lines.lines, &names.all(lines.width()), (0, lines.width()), notes);
    };
    let titles = lines.fields.get(first.clone()).unwrap_or_default();
    // pandas writes its index first, under no name.
    let index = usize::from(titles.len() > 1 && titles.first().is_some_and(|title| title.text.is_empty()));
    let titles = titles.get(index..).unwrap_or_default();
    let names = if titles.iter().any(|title| title.text.is_empty()) {
        let title = |(j, title): (usize, &Field<'_>)| match &*title.text {
            "" => format!("[{j}]"),
            text => text.to_owned(),
        };
        titles.iter().enumerate().map(title).collect()
    } else {
        signature::list(titles.iter().map(|title| &*title.text))
    };
    table(&lines.fields, rows, &names, (index, names.len()), notes)
}

/// Reads the rows of an answer; a single line of many numbers may be many rows of one, as
/// `XGBoost`'s container writes.
pub(super) fn response(body: &[u8], names: Names<'_>, notes: &mut Notes) -> Result<Part, DecodeFailure> {
    let lines = records(body)?;
    let width = lines.width();
    if lines.lines.len() == 1 && width > 1 && names.fitting(width).is_none() {
        if width > MAX_ROWS {
            return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
        }
        let values = lines.fields.iter().map(Field::value).collect();
        let mut part = Part::vector(names.whole(), values);
        if let Some(runs) = &mut part.runs {
            runs.preferred = true;
        }
        return Ok(part);
    }
    table(&lines.fields, &lines.lines, &names.all(width), (0, width), notes)
}

/// The columns of lines of `width` fields, each without its first `skipped`.
fn table(
    fields: &[Field<'_>],
    lines: &[Range<usize>],
    names: &NameList,
    (skipped, width): (usize, usize),
    notes: &mut Notes,
) -> Result<Part, DecodeFailure> {
    if width > MAX_COLUMNS {
        return Err(DecodeFailure::TooLarge { what: "columns", limit: MAX_COLUMNS });
    }
    let mut table = Table::default();
    table.add_rows(lines.len())?;
    if lines.len().saturating_mul(names.len()) > MAX_CELLS {
        return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
    }
    let mut columns: Vec<Vec<Value>> = names.iter().map(|_| Vec::with_capacity(lines.len())).collect();
    for line in lines {
        let line = fields.get(line.clone()).and_then(|line| line.get(skipped..)).unwrap_or_default();
        notes.ragged_rows += u64::from(line.len() != names.len());
        let mut fields = line.iter();
        for column in &mut columns {
            column.push(fields.next().map_or(Value::Missing, Field::value));
        }
    }
    for (name, values) in names.iter().zip(columns) {
        table.push_column(name, values)?;
    }
    Ok(Part::new(table))
}

/// A first line of names: those that are known, or nothing that is a number.
fn is_header(line: &[Field<'_>], names: &[Name]) -> bool {
    let known = |field: &Field<'_>| names.iter().any(|name| **name == *field.text);
    let is_name = |(at, field): (usize, &Field<'_>)| match field.value() {
        Value::Text(_) => true,
        // The place of the index of pandas.
        Value::Missing => at == 0 && line.len() > 1,
        _ => false,
    };
    line.iter().any(known) || line.iter().enumerate().all(is_name)
}

#[derive(Debug, Clone, Default)]
struct Field<'b> {
    text: Cow<'b, str>,
    quoted: bool,
    /// It is no text, so that its bytes are not looked at.
    opaque: bool,
}

impl Field<'_> {
    /// A number or a truth value where it reads as one; quotes do not make it a text, since pandas and others quote all.
    fn value(&self) -> Value {
        let text = self.text.trim();
        match decimal::scan(text.as_bytes()) {
            Some((number, length)) if length == text.len() => return Value::Number(number),
            _ if self.opaque => return Value::Opaque,
            _ => {}
        }
        match text {
            "" if self.quoted => Value::Text(String::new()),
            "" => Value::Missing,
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            _ => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Number),
        }
    }
}

/// The lines of a body that are not empty.
#[derive(Default)]
struct Lines<'b> {
    /// The fields of all lines.
    fields: Vec<Field<'b>>,
    /// Which fields are those of a line.
    lines: Vec<Range<usize>>,
}

impl<'b> Lines<'b> {
    fn first(&self) -> Option<&[Field<'b>]> {
        self.fields.get(self.lines.first()?.clone())
    }

    /// Fields of the longest line.
    fn width(&self) -> usize {
        self.lines.iter().map(Range::len).max().unwrap_or(0)
    }
}

/// The lines that are not empty, as fields (RFC 4180; a lone `\n` or `\r` ends a line too).
fn records(body: &[u8]) -> Result<Lines<'_>, DecodeFailure> {
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut lines = Lines::default();
    let mut start = 0;
    let mut cells = 0_usize;
    while !rest.is_empty() {
        let (field, after) = field(rest);
        cells += 1;
        if cells > MAX_CELLS {
            return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
        }
        lines.fields.push(field);
        let ends = after.first() != Some(&b',');
        rest = after.get(1..).unwrap_or_default();
        if after == b"," {
            lines.fields.push(Field::default());
        }
        if ends || rest.is_empty() {
            let line = lines.fields.get(start..).unwrap_or_default();
            let empty = matches!(line, [only] if only.text.trim().is_empty() && !only.quoted && !only.opaque);
            if empty {
                lines.fields.truncate(start);
            } else {
                lines.lines.push(start..lines.fields.len());
            }
            start = lines.fields.len();
        }
        if lines.lines.len() > MAX_ROWS + 1 {
            return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
        }
    }
    Ok(lines)
}

/// The field that `rest` begins with, and what follows it, its separator included.
fn field(rest: &[u8]) -> (Field<'_>, &[u8]) {
    let split = |rest: &'_ [u8]| {
        rest.iter().position(|byte| matches!(byte, b',' | b'\n' | b'\r')).unwrap_or(rest.len())
    };
    let Some(mut inside) = rest.strip_prefix(b"\"") else {
        let (bytes, after) = rest.split_at(split(rest));
        let text = std::str::from_utf8(bytes);
        let field = Field { text: text.unwrap_or_default().into(), quoted: false, opaque: text.is_err() };
        return (field, after);
    };
    let mut bytes = Vec::new();
    let mut after;
    loop {
        let end = inside.iter().position(|byte| *byte == b'"').unwrap_or(inside.len());
        bytes.extend_from_slice(inside.get(..end).unwrap_or_default());
        after = inside.get(end + 1..).unwrap_or_default();
        let Some(more) = after.strip_prefix(b"\"") else { break };
        bytes.push(b'"');
        inside = more;
    }
    let (more, after) = after.split_at(split(after));
    bytes.extend_from_slice(more);
    let text = String::from_utf8(bytes);
    let opaque = text.is_err();
    (Field { text: text.unwrap_or_default().into(), quoted: true, opaque }, after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::show;
    use super::*;

    fn unnamed(names: &NameList) -> Names<'_> {
        Names { given: Some(names), prefix: "", alone: "[0]" }
    }

    #[track_caller]
    fn check(body: &[u8], header: Header, names: &[&str], expected: &str) {
        let names = names.to_vec().into();
        let part = request(body, header, unnamed(&names), &mut Notes::default()).unwrap();
        assert_eq!(show(&part.columns), expected, "{}", String::from_utf8_lossy(body));
    }

    #[test]
    fn fields_follow_the_rfc() {
        check(b"1,2\r\n3,4\r\n", Header::Absent, &[], "[0]=1,3 [1]=2,4");
        check(b"1,2\n\n3,4", Header::Absent, &["a", "b"], "a=1,3 b=2,4");
        check(b"\"a,\"\"b\"\"\nc\", 7 ", Header::Absent, &[], "[0]='a,\"b\"\nc' [1]=7");
        check(b"1,,x\n,\"\",", Header::Absent, &[], "[0]=1,_ [1]=_,'' [2]='x',_");
        check(
            b"nan,inf,-Infinity,True,false",
            Header::Absent,
            &[],
            "[0]=NaN [1]=inf [2]=-inf [3]=true [4]=false",
        );
        check(b"\xff,1", Header::Absent, &[], "[0]=# [1]=1");
        check(b"\xef\xbb\xbf1\n2", Header::Absent, &[], "[0]=1,2");
        check(b"1,2\n3", Header::Absent, &[], "[0]=1,3 [1]=2,_");
    }

    #[test]
    fn a_header_is_told_from_values() {
        check(b"x,c\n1,u\n2,v\n", Header::Told, &[], "x=1,2 c='u','v'");
        check(b"x,c\n1,u\n2,v\n", Header::Present, &["a", "b"], "x=1,2 c='u','v'");
        check(b"5,u\n6,v\n", Header::Told, &["a", "b"], "a=5,6 b='u','v'");
        // The index of pandas has no name.
        check(b",x,c\n0,1,u\n1,2,v\n", Header::Told, &[], "x=1,2 c='u','v'");
        check(b"2011,c\n1,u", Header::Told, &["2011", "c"], "2011=1 c='u'");
        check(b"a,,b\n1,2,3", Header::Present, &[], "a=1 [1]=2 b=3");
    }

    proptest! {
        #[test]
        fn any_bytes_are_columns_of_equal_length(body in "[a1,\"\n\r. é]{0,60}") {
            for header in [Header::Present, Header::Absent, Header::Told] {
                let part = request(body.as_bytes(), header, unnamed(&vec!["a"].into()), &mut Notes::default()).unwrap();
                prop_assert!(part.columns.iter().all(|column| column.values.len() == part.rows));
            }
            let part = response(body.as_bytes(), unnamed(&NameList::default()), &mut Notes::default()).unwrap();
            prop_assert!(part.columns.iter().all(|column| column.values.len() == part.rows));
        }

        #[test]
        fn numbers_survive(rows in proptest::collection::vec(proptest::collection::vec(any::<f64>(), 3), 1..5)) {
            let lines: Vec<String> = rows.iter()
                .map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
                .collect();
            let part = request(lines.join("\n").as_bytes(), Header::Absent, unnamed(&NameList::default()), &mut Notes::default()).unwrap();
            prop_assert_eq!(part.rows, rows.len());
            for (i, row) in rows.iter().enumerate() {
                for (j, number) in row.iter().enumerate() {
                    let Value::Number(read) = part.columns[j].values[i] else { panic!("no number") };
                    prop_assert!(read.to_bits() == number.to_bits() || (read.is_nan() && number.is_nan()));
                }
            }
        }
    }
}
