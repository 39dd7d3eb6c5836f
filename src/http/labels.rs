//! Labels that are pushed to driftline.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::{ApiError, AppState};
use crate::decode::events::{self, Event, EventFormat, LabelEvent, LabelTarget};
use crate::model::ModelName;
use crate::store::StoreError;
use crate::store::label::{self, LabelCounts, Outcome, Rules};

/// Takes labels as one JSON object, an array of them, or one per line; all or none are stored.
///
/// The answer counts them by what became of them, and says which rule that follows.
pub(super) async fn labels(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let now = (app.now)();
    let by_model =
        read(&headers, &body, |model| app.labels.get(model).is_some_and(|rules| rules.key.is_some()))?;
    let mut total = LabelCounts::default();
    let usual = Rules::default();
    let mut transaction = app.db.begin().await.map_err(StoreError::from)?;
    for (model, events) in &by_model {
        let rules = app.labels.get(model).unwrap_or(&usual);
        total.merge(&label::upsert_events(&mut transaction, model, events, now, rules).await?);
    }
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(Json(answer(&total)))
}

/// Counts by outcome, and the rule of each that occurred.
fn answer(counts: &LabelCounts) -> Value {
    let occurred = Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0);
    let rules: Map<String, Value> =
        occurred.map(|outcome| (outcome.as_str().to_owned(), Value::from(outcome.rule()))).collect();
    let mut answer = json!(counts);
    answer["rules"] = Value::Object(rules);
    answer
}

/// The labels of a body by model; `has_key` tells whether the predictions of a model have a business key.
fn read(
    headers: &HeaderMap,
    body: &[u8],
    has_key: impl Fn(&ModelName) -> bool,
) -> Result<BTreeMap<ModelName, Vec<LabelEvent>>, ApiError> {
    let kept: Vec<(String, String)> = [CONTENT_TYPE, CONTENT_ENCODING]
        .into_iter()
        .filter_map(|name| {
            let value = headers.get(&name)?.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        })
        .collect();
    let found = events::read(&kept, body, Some(&EventFormat::Labels))
        .map_err(|failure| ApiError::bad_request(failure.to_string()))?;
    let mut problems: Vec<(usize, String)> =
        found.refused.into_iter().map(|refused| (refused.index, refused.problem)).collect();
    let mut by_model: BTreeMap<ModelName, Vec<LabelEvent>> = BTreeMap::new();
    let refused: Vec<usize> = problems.iter().map(|(index, _)| *index).collect();
    // Every item is one label or refused, so that places can be counted past those that were refused.
    let places = (0..).filter(|index| !refused.contains(index));
    for (event, index) in found.events.into_iter().zip(places) {
        let Event::Label(label) = event else { continue };
        let named = label.model.as_ref().ok_or_else(|| "`model` is absent".to_owned());
        match named.and_then(|name| ModelName::parse(name.as_str()).map_err(|error| error.to_string())) {
            Ok(model) if matches!(label.target, LabelTarget::Key { .. }) && !has_key(&model) => {
                problems.push((
                    index,
                    format!("`key` needs `labels: {{key: …}}` in the settings of model `{model}`"),
                ));
            }
            Ok(model) => by_model.entry(model).or_default().push(label),
            Err(problem) => problems.push((index, problem)),
        }
    }
    if !problems.is_empty() {
        problems.sort_unstable();
        return Err(ApiError::BadRequest {
            title: "some labels are wrong; none were stored".to_owned(),
            problems: problems
                .into_iter()
                .map(|(index, problem)| json!({ "index": index, "problem": problem }))
                .collect(),
        });
    }
    if by_model.is_empty() {
        return Err(ApiError::bad_request("the body holds no label"));
    }
    Ok(by_model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: &str) -> Vec<u64> {
        match read(&HeaderMap::new(), body.as_bytes(), |model| model.as_str() == "keyed") {
            Err(ApiError::BadRequest { problems, .. }) => {
                problems.iter().map(|problem| problem["index"].as_u64().unwrap()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn problems_name_their_items() {
        let good = r#"{"model":"m","id":"a","label":1}"#;
        let nameless = r#"{"id":"a","label":1}"#;
        let misnamed = r#"{"model":"a/b","id":"a","label":1}"#;
        assert_eq!(problems(&format!("[7,{good},{nameless},{{}},{good},{misnamed}]")), [0, 2, 3, 5]);
        let key = r#"{"model":"m","key":"k","time":"2026-01-01T00:00:00Z","label":1}"#;
        assert_eq!(problems(&format!("[{good},{key}]")), [1]);
        let keyed = key.replace("\"m\"", "\"keyed\"");
        let read = read(&HeaderMap::new(), format!("{good}\n{keyed}").as_bytes(), |_| true).unwrap();
        assert_eq!(read.values().map(Vec::len).sum::<usize>(), 2);
    }

    #[test]
    fn an_answer_says_the_rule_of_what_occurred() {
        let counts = LabelCounts { stale: 2, ..LabelCounts::default() };
        let answer = answer(&counts);
        assert_eq!((&answer["stale"], &answer["new"]), (&json!(2), &json!(0)));
        assert_eq!(answer["rules"], json!({"stale": Outcome::Stale.rule()}));
    }
}
