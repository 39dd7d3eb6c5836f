//! The document as a page: no script, no style of its own, nothing from elsewhere.

use std::fmt::Write;

use serde_json::Value;

/// What the page looks like.
pub(super) const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid; }
h3 { font-size: 1rem; margin: 0; display: inline; font-weight: 600; }
details { border: 1px solid; border-radius: .3rem; padding: .4rem .7rem; margin: .5rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .5rem; border: 1px solid; border-radius: .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid; }
";

/// Makes the page.
pub(super) fn page(document: &Value) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    write_page(document, &mut out).unwrap_or_default();
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text with `code` between backticks.
fn prose(text: &str) -> String {
    let piece = |(index, part): (usize, &str)| {
        if index % 2 == 0 { escape(part) } else { format!("<code>{}</code>", escape(part)) }
    };
    text.split('`').enumerate().map(piece).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// What a `$ref` stands for.
fn resolve<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    let reference = text(value, "$ref");
    document.pointer(reference.trim_start_matches('#')).filter(|_| !reference.is_empty()).unwrap_or(value)
}

fn write_page(document: &Value, out: &mut String) -> std::fmt::Result {
    let info = &document["info"];
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>API · {0}</title>\n\
         <link rel=\"stylesheet\" href=\"/docs.css\">\n</head>\n<body>\n<main>\n<h1>{0}: API</h1>\n",
        escape(text(info, "title"))
    )?;
    for paragraph in text(info, "description").split("\n\n") {
        writeln!(out, "<p>{}</p>", prose(paragraph))?;
    }
    writeln!(
        out,
        "<p>For programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI {}).</p>",
        escape(text(document, "openapi"))
    )?;
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(tag, "name");
        writeln!(out, "<h2 id=\"{0}\">{0}</h2>\n<p>{1}</p>", escape(name), prose(text(tag, "description")))?;
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"][0] == name {
                    write_operation(document, path, method, operation, out)?;
                }
            }
        }
    }
    writeln!(out, "<h2 id=\"schemas\">schemas</h2>")?;
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        writeln!(
            out,
            "<details id=\"schema-{0}\"><summary><h3>{0}</h3> {1}</summary>",
            escape(name),
            prose(text(schema, "description"))
        )?;
        write_schema(schema, out)?;
        writeln!(out, "</details>")?;
    }
    writeln!(out, "</main>\n</body>\n</html>")
}

fn write_operation(
    document: &Value,
    path: &str,
    method: &str,
    operation: &Value,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(
        out,
        "<details id=\"{}\"><summary><h3>{} <code>{}</code></h3> {}</summary>",
        escape(text(operation, "operationId")),
        method.to_ascii_uppercase(),
        escape(path),
        prose(text(operation, "summary"))
    )?;
    for paragraph in text(operation, "description").split("\n\n") {
        writeln!(out, "<p>{}</p>", prose(paragraph))?;
    }
    let parameters: Vec<&Value> =
        operation["parameters"].as_array().into_iter().flatten().map(|p| resolve(document, p)).collect();
    if !parameters.is_empty() {
        writeln!(out, "<table><thead><tr><th>parameter</th><th>in</th><th>what</th></tr></thead><tbody>")?;
        for parameter in parameters {
            writeln!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escape(text(parameter, "name")),
                escape(text(parameter, "in")),
                prose(text(parameter, "description"))
            )?;
        }
        writeln!(out, "</tbody></table>")?;
    }
    let body = resolve(document, &operation["requestBody"]);
    for (kind, content) in body["content"].as_object().into_iter().flatten() {
        writeln!(out, "<p>Body: <code>{}</code></p>", escape(kind))?;
        write_schema(&content["schema"], out)?;
    }
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let answer = resolve(document, answer);
        writeln!(out, "<p><strong>{}</strong> {}</p>", escape(status), prose(text(answer, "description")))?;
        for content in answer["content"].as_object().into_iter().flatten().map(|(_, content)| content) {
            if status.starts_with('2') {
                write_schema(&content["schema"], out)?;
            }
        }
    }
    writeln!(out, "</details>")
}

fn write_schema(schema: &Value, out: &mut String) -> std::fmt::Result {
    let reference = text(schema, "$ref");
    if let Some(name) = reference.rsplit('/').next().filter(|name| !name.is_empty()) {
        return writeln!(out, "<p><a href=\"#schema-{0}\">{0}</a></p>", escape(name));
    }
    let shown = serde_json::to_string_pretty(schema).unwrap_or_default();
    writeln!(out, "<pre tabindex=\"0\">{}</pre>", escape(&shown))
}
