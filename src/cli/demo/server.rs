//! The demo's model server: answers Open Inference V2 requests with whatever version is in production.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value as Wire, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{Column, ModelName, Value};
use crate::retrain::artifact::{self, Artifact};
use crate::store;

/// A version that is being served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) version: i64,
    artifact: Artifact,
}

/// Reads the production version of `model` from the registry, and its artifact from disk.
pub(super) async fn load_production(pool: &PgPool, model: &ModelName) -> anyhow::Result<Served> {
    let row = store::model_version::production(pool, model)
        .await?
        .with_context(|| format!("model `{model}` has no production version"))?;
    let path = PathBuf::from(row.artifact_uri.trim_start_matches("file://"));
    let content =
        tokio::fs::read(&path).await.with_context(|| format!("failed to read `{}`", path.display()))?;
    let found = artifact::sha256(&content);
    anyhow::ensure!(
        found == row.artifact_sha256,
        "`{}` hashes to {found}, the registry says {}",
        path.display(),
        row.artifact_sha256
    );
    Ok(Served { version: row.version, artifact: Artifact::from_bytes(&content)? })
}

/// Serves the newest value of `served` until shutdown.
pub(super) async fn serve(
    listener: TcpListener,
    served: watch::Receiver<Arc<Served>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let routes = Router::new().route("/v2/models/{model}/infer", post(infer)).with_state(served);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: Option<String>,
    inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    data: Vec<Wire>,
}

async fn infer(
    State(served): State<watch::Receiver<Arc<Served>>>,
    Path(model): Path<String>,
    Json(request): Json<Request>,
) -> Response {
    let served = Arc::clone(&served.borrow());
    let rows = request.inputs.first().map_or(0, |tensor| tensor.data.len());
    if request.inputs.iter().any(|tensor| tensor.data.len() != rows) {
        let problem = json!({ "error": "inputs of different length" });
        return (StatusCode::BAD_REQUEST, Json(problem)).into_response();
    }
    let columns: Vec<Column> = request
        .inputs
        .into_iter()
        .map(|tensor| Column { name: tensor.name.into(), values: tensor.data.iter().map(value).collect() })
        .collect();
    let predictions = served.artifact.predict_one(rows, &columns);
    Json(json!({
        "model_name": model,
        "model_version": served.version.to_string(),
        "id": request.id,
        "outputs": [{ "name": "prediction", "datatype": "FP64", "shape": [rows], "data": predictions }],
    }))
    .into_response()
}

fn value(wire: &Wire) -> Value {
    match wire {
        Wire::Null => Value::Missing,
        Wire::Bool(truth) => Value::Bool(*truth),
        Wire::Number(number) => number.as_f64().map_or(Value::Opaque, Value::Number),
        Wire::String(text) => Value::Text(text.clone()),
        Wire::Array(_) | Wire::Object(_) => Value::Opaque,
    }
}
