//! Settings of how the messages of a model are read; the keys are those of [`Format`].

use std::collections::HashSet;

use crate::decode::{Columns, Format, Mapping, Pointer, Protocol, Side};
use crate::model::Name;

/// What in `format` cannot be meant together; `features` are the names that the model's settings give to columns.
pub(super) fn contradictions(format: &Format, features: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let points = format.request.points() || format.response.points();
    if let Some(protocol) = format.protocol
        && points
        && !matches!(protocol, Protocol::FreeJson | Protocol::SeldonV1)
    {
        problems.push(format!(
            "format.protocol `{}` says where rows and columns are; `rows` and `columns` go with `free_json`, or with \
             the `jsonData` of `seldon_v1`",
            protocol.as_str()
        ));
    }
    for (field, pointer) in [("id", &format.id), ("time", &format.time)] {
        if pointer.as_ref().is_some_and(Pointer::is_each) {
            problems.push(format!("format.{field} leads to one value, without `*`"));
        }
    }
    for (side, mapping) in [(Side::Request, &format.request), (Side::Response, &format.response)] {
        of_mapping(side, mapping, &mut problems);
    }
    let named = &format.request.names;
    if !named.is_empty() && !features.is_empty() && !features.iter().eq(named.iter()) {
        problems.push(
            "features and format.request.names give the columns different names; give one of them".to_owned(),
        );
    }
    problems
}

fn of_mapping(side: Side, mapping: &Mapping, problems: &mut Vec<String>) {
    let columns: Vec<&str> = match &mapping.columns {
        Columns::Auto => Vec::new(),
        Columns::Map(columns) => {
            if columns.is_empty() {
                problems.push(format!("format.{side}.columns names no column; `auto` takes all"));
            }
            if !mapping.names.is_empty() {
                problems.push(format!(
                    "format.{side}.names is for rows that are arrays, whose values format.{side}.columns names already"
                ));
            }
            columns.iter().map(|(name, _)| name.as_str()).collect()
        }
    };
    for (field, names) in [("columns", columns), ("names", mapping.names.iter().map(Name::as_str).collect())]
    {
        let mut seen = HashSet::new();
        for name in names {
            if name.is_empty() {
                problems.push(format!("format.{side}.{field} has a column without a name"));
            } else if !seen.insert(name) {
                problems.push(format!("format.{side}.{field} has the column `{name}` twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn parse(format: &str) -> Result<Format, String> {
        let text = format!("models: [{{name: m, features: [a, b], format: {format}}}]");
        let settings = Settings::parse(&text, "driftline.yaml").map_err(|error| error.to_string())?;
        Ok(settings.models[0].format.clone().unwrap())
    }

    #[test]
    fn formats_are_read() {
        let format = parse(
            "{protocol: free_json, request: {rows: /rows, columns: {age: /person/age, lags: /lags/*}}, \
             response: {rows: '', columns: auto, names: [y]}, id: /id, time: /at}",
        )
        .unwrap();
        assert_eq!(format.protocol, Some(Protocol::FreeJson));
        let Columns::Map(columns) = &format.request.columns else { panic!("{format:?}") };
        assert_eq!(columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["age", "lags"]);
        assert!(format.response.rows.unwrap().is_root() && format.id.is_some() && format.time.is_some());
        assert_eq!(parse("{protocol: sagemaker}").unwrap().protocol, Some(Protocol::SageMaker));
        assert!(parse("{protocol: seldon_v1, request: {rows: /x}}").is_ok());
        assert!(parse("{request: {names: [a, b]}}").is_ok());
    }

    #[test]
    fn wrong_formats_are_refused_with_their_place() {
        let cases = [
            ("{protocol: kserve}", "`kserve` is not one of kserve_v1"),
            ("{request: {rows: rows}}", "starts with `/`"),
            ("{request: {rows: /a/*/b/*}}", "more than one `*`"),
            ("{request: {columns: all}}", "`auto` or pointers by column"),
            ("{requests: {}}", "requests"),
            ("{request: {row: /a}}", "row"),
            ("{protocol: kserve_v1, request: {rows: /a}}", "go with `free_json`"),
            ("{id: /ids/*}", "format.id leads to one value"),
            ("{request: {columns: {}}}", "format.request.columns names no column"),
            (
                "{response: {columns: {y: /y}, names: [y]}}",
                "format.response.names is for rows that are arrays",
            ),
            ("{response: {names: [y, y]}}", "the column `y` twice"),
            ("{response: {names: ['']}}", "a column without a name"),
            ("{request: {names: [b, a]}}", "give one of them"),
        ];
        for (format, expected) in cases {
            let problem = parse(format).unwrap_err();
            assert!(problem.contains(expected), "{format}: {problem}");
        }
        let both = parse("{id: /a/*, time: /b/*}").unwrap_err();
        assert!(both.contains("format.id") && both.contains("format.time"), "{both}");
    }
}
