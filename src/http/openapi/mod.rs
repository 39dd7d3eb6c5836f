//! The `OpenAPI` document: written by hand beside the handlers, held against the routes and the answers by tests.

use std::sync::LazyLock;

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use serde_json::{Map, Value, json};

use super::ApiError;

mod viewer;

/// The operations.
const API: &str = include_str!("api.yaml");

/// What they share.
const PARTS: &str = include_str!("parts.yaml");

/// The document, made once.
static DOCUMENT: LazyLock<Result<Value, String>> = LazyLock::new(|| assemble(API, PARTS));

fn made() -> Result<&'static Value, ApiError> {
    DOCUMENT.as_ref().map_err(|problem| {
        tracing::error!(problem, "the OpenAPI document cannot be made");
        ApiError::Internal
    })
}

/// The document for programs.
pub(super) async fn document() -> Result<Json<&'static Value>, ApiError> {
    made().map(Json)
}

/// The document for people.
pub(super) async fn page() -> Result<Html<String>, ApiError> {
    made().map(|document| Html(viewer::page(document)))
}

/// What the page looks like.
pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], viewer::STYLE)
}

/// Reads both files and spells out what every operation has in common.
fn assemble(api: &str, parts: &str) -> Result<Value, String> {
    let mut document: Value = serde_saphyr::from_str(api).map_err(|error| error.to_string())?;
    let parts: Value = serde_saphyr::from_str(parts).map_err(|error| error.to_string())?;
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).ok_or("`paths` is missing")?;
    for (path, methods) in paths {
        let methods = methods.as_object_mut().ok_or_else(|| format!("{path} has no methods"))?;
        for (method, operation) in methods {
            let operation =
                operation.as_object_mut().ok_or_else(|| format!("{method} {path} is no operation"))?;
            spell_out(method, operation).map_err(|problem| format!("{method} {path}: {problem}"))?;
        }
    }
    document["components"] = parts;
    Ok(document)
}

fn spell_out(method: &str, operation: &mut Map<String, Value>) -> Result<(), String> {
    let scope = operation.remove("scope");
    let scope = scope.as_ref().and_then(Value::as_str).ok_or("`scope` is missing")?.to_owned();
    let problems = operation.remove("problems").unwrap_or_else(|| json!([]));
    let mut statuses: Vec<u64> =
        problems.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    statuses.extend([401, 403, 421, 503]);
    let responses =
        operation.get_mut("responses").and_then(Value::as_object_mut).ok_or("`responses` is missing")?;
    for status in statuses {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    let is_json = responses.get("200").is_some_and(|answer| !answer.to_string().contains("text/"));
    if method == "get" && is_json {
        responses.insert("304".to_owned(), json!({ "$ref": "#/components/responses/NotModified" }));
    }
    let (note, open) = match scope.as_str() {
        "probe" => ("Needs no token, unless `admin.open_probes` is off.".to_owned(), true),
        scope => (format!("Needs the scope `{scope}`, where a token is needed."), false),
    };
    let described =
        operation.get("description").and_then(Value::as_str).map(|text| format!("{}\n\n", text.trim()));
    operation.insert("description".to_owned(), format!("{}{note}", described.unwrap_or_default()).into());
    // A token, a session, or nothing where the port is open.
    let mut security = vec![json!({}), json!({ "token": [] }), json!({ "session": [] })];
    security.truncate(if open { 2 } else { 3 });
    operation.insert("security".to_owned(), security.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::routes;

    #[test]
    fn every_route_is_documented_and_every_documented_one_is_there() {
        let document = assemble(API, PARTS).unwrap();
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                documented.insert((method.clone(), path.clone()));
                assert!(
                    operation["summary"].is_string() && operation["operationId"].is_string(),
                    "{method} {path}"
                );
                let in_path = path.matches('{').count();
                let named = operation["parameters"].as_array().map_or(0, |parameters| {
                    let reference = |parameter: &Value| parameter["$ref"].as_str().map(str::to_owned);
                    let names = parameters.iter().filter_map(reference);
                    let of_path = |name: &String| {
                        let pointer = name.trim_start_matches('#');
                        document.pointer(pointer).unwrap_or_else(|| panic!("{name} is missing"))["in"]
                            == "path"
                    };
                    names.filter(of_path).count()
                });
                assert_eq!(in_path, named, "parameters of {method} {path}");
            }
        }
        let routes: BTreeSet<(String, String)> =
            routes::api().iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        assert!(routes.len() > 35);
        assert_eq!(documented, routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = assemble(API, PARTS).unwrap();
        let text = document.to_string();
        let mut checked = 0;
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} is missing");
            checked += 1;
        }
        assert!(checked > 100, "only {checked} references");
        let ids: Vec<&str> = text.split("\"operationId\":\"").skip(1).collect();
        let unique: BTreeSet<&str> = ids.iter().map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(ids.len(), unique.len(), "an operation's id is given twice");
    }

    #[test]
    fn the_page_shows_every_operation_and_asks_nobody_else() {
        let document = assemble(API, PARTS).unwrap();
        let page = viewer::page(&document);
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        for bad in ["<script", "style=", "http://", "https://", "onclick"] {
            assert!(!page.contains(bad), "{bad}");
        }
    }
}
