//! Which requests are predictions, in which protocol, for which model: told from method and path alone.

use serde::Deserialize;

/// A protocol in which predictions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Protocol {
    /// `KServe` V1 and `TensorFlow` Serving REST, `:predict`.
    KserveV1,
    /// `TensorFlow` Serving REST, `:classify` and `:regress`.
    TensorflowExamples,
    /// Open Inference V2 REST, `/infer`.
    OpenInference,
    /// Open Inference V2 over server-sent events.
    OpenInferenceStream,
    /// `/invocations`: `MLflow` or `SageMaker`.
    Invocations,
    /// `TorchServe`, `/predictions/{model}`.
    TorchServe,
    /// Seldon Core v1.
    SeldonV1,
    /// Feedback of Seldon Core v1: labels, and no prediction.
    SeldonFeedback,
    /// Azure ML, `/score`.
    AzureScore,
    /// Vertex AI.
    Vertex,
    /// The `OpenAI` API.
    OpenAi,
    /// Open Inference V2 over gRPC.
    OpenInferenceGrpc,
    /// `TensorFlow` Serving over gRPC, `Predict`.
    TensorflowGrpc,
    /// `TensorFlow` Serving over gRPC, `Classify` and `Regress`.
    TensorflowGrpcExamples,
    /// Seldon Core v1 over gRPC.
    SeldonGrpc,
    /// `TorchServe` over gRPC.
    TorchServeGrpc,
    /// `/invocations` of `MLflow`; forced, since the path does not tell it from `SageMaker`.
    Mlflow,
    /// `/invocations` of `SageMaker`; forced, as above.
    SageMaker,
    /// JSON of no known shape, read by pointers or by what looks like rows.
    FreeJson,
    /// A path that the settings name: the body tells the protocol.
    Configured,
}

/// Protocols that settings can force.
const FORCED: [Protocol; 11] = [
    Protocol::KserveV1,
    Protocol::TensorflowExamples,
    Protocol::OpenInference,
    Protocol::Mlflow,
    Protocol::SageMaker,
    Protocol::SeldonV1,
    Protocol::AzureScore,
    Protocol::Vertex,
    Protocol::TorchServe,
    Protocol::OpenAi,
    Protocol::FreeJson,
];

impl TryFrom<String> for Protocol {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let known = FORCED.iter().copied().find(|protocol| protocol.as_str() == word);
        known.ok_or_else(|| {
            let words: Vec<&str> = FORCED.iter().map(|protocol| protocol.as_str()).collect();
            format!("`{word}` is not one of {}", words.join(", "))
        })
    }
}

impl Protocol {
    /// Whether [`super::decode`] reads it; what it does not read passes untouched and is counted.
    pub fn is_decoded(self) -> bool {
        self != Self::TensorflowGrpcExamples
    }

    /// Whether its bodies are gRPC frames.
    pub fn is_grpc(self) -> bool {
        matches!(
            self,
            Self::OpenInferenceGrpc
                | Self::TensorflowGrpc
                | Self::TensorflowGrpcExamples
                | Self::SeldonGrpc
                | Self::TorchServeGrpc
        )
    }

    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KserveV1 => "kserve_v1",
            Self::TensorflowExamples => "tensorflow_examples",
            Self::OpenInference => "open_inference",
            Self::OpenInferenceStream => "open_inference_stream",
            Self::Invocations => "invocations",
            Self::TorchServe => "torchserve",
            Self::SeldonV1 => "seldon_v1",
            Self::SeldonFeedback => "seldon_feedback",
            Self::AzureScore => "azure_score",
            Self::Vertex => "vertex",
            Self::OpenAi => "openai",
            Self::OpenInferenceGrpc => "open_inference_grpc",
            Self::TensorflowGrpc => "tensorflow_grpc",
            Self::TensorflowGrpcExamples => "tensorflow_grpc_examples",
            Self::SeldonGrpc => "seldon_grpc",
            Self::TorchServeGrpc => "torchserve_grpc",
            Self::Mlflow => "mlflow",
            Self::SageMaker => "sagemaker",
            Self::FreeJson => "free_json",
            Self::Configured => "configured",
        }
    }
}

/// Where a prediction was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// In which protocol.
    pub protocol: Protocol,
    /// The model, when the path names it; percent-decoded.
    pub model: Option<String>,
    /// The version, when the path asks for one.
    pub version: Option<String>,
}

/// What a request is to the tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognised {
    /// A prediction.
    Prediction(Route),
    /// Health, metadata, explanations: passes and is never tapped.
    NeverTapped,
    /// None of the known paths: passes.
    Unknown,
}

impl Route {
    /// Reads method and path; `user_agent` keeps the probes of a kubelet out.
    pub fn recognise(method: &str, path: &str, user_agent: Option<&str>) -> Recognised {
        if is_health(path) || user_agent.is_some_and(|agent| agent.starts_with("kube-probe/")) {
            return Recognised::NeverTapped;
        }
        let found = v1(path).or_else(|| v2(path)).or_else(|| others(path));
        match found {
            Some(Found::Route(route)) if method == "POST" => Recognised::Prediction(route),
            Some(_) => Recognised::NeverTapped,
            None => Recognised::Unknown,
        }
    }

    fn new(protocol: Protocol) -> Self {
        Self { protocol, model: None, version: None }
    }

    /// A prediction sent to a path that the settings name.
    pub fn configured() -> Self {
        Self::new(Protocol::Configured)
    }
}

enum Found {
    Route(Route),
    NotAPrediction,
}

fn is_health(path: &str) -> bool {
    const EXACT: [&str; 8] =
        ["/ping", "/livez", "/readyz", "/metrics", "/version", "/ready", "/live", "/v2/health"];
    EXACT.contains(&path)
        || ["/health", "/v2/health/", "/grpc.health.v1.Health/"].iter().any(|start| path.starts_with(start))
}

/// `/v1/models/{m}[/versions/{v}|/labels/{l}]:verb`, with Seldon's `/v1/models/{m}/:predict` and `/v1/models:predict`.
fn v1(path: &str) -> Option<Found> {
    let rest = path.strip_prefix("/v1/models")?;
    // The colon before the verb may arrive as `%3A`; a model name has neither.
    let (rest, verb) = rest
        .rsplit_once(':')
        .or_else(|| rest.rsplit_once("%3A"))
        .or_else(|| rest.rsplit_once("%3a"))
        .unwrap_or((rest, ""));
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let protocol = match verb {
        "predict" => Protocol::KserveV1,
        "classify" | "regress" => Protocol::TensorflowExamples,
        // An explanation repeats the rows of a prediction: it would count them twice.
        _ => return Some(Found::NotAPrediction),
    };
    let (model, version) = model_and_version(rest);
    Some(Found::Route(Route { protocol, model, version }))
}

/// `/v2/models/{m}[/versions/{v}]/infer`, with Seldon's `/v2/models/infer`.
fn v2(path: &str) -> Option<Found> {
    if path == "/v2" || path == "/v2/" {
        return Some(Found::NotAPrediction);
    }
    let rest = path.strip_prefix("/v2/models/")?;
    let (front, verb) = rest.rsplit_once('/').unwrap_or(("", rest));
    let protocol = match verb {
        "infer" => Protocol::OpenInference,
        "infer_stream" | "generate" | "generate_stream" => Protocol::OpenInferenceStream,
        _ => return Some(Found::NotAPrediction),
    };
    let (model, version) = model_and_version(front);
    Some(Found::Route(Route { protocol, model, version }))
}

fn model_and_version(path: &str) -> (Option<String>, Option<String>) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let model = parts.next().map(percent_decode);
    let version = match parts.next() {
        Some("versions" | "labels") => parts.next().map(percent_decode),
        _ => None,
    };
    (model, version)
}

fn others(path: &str) -> Option<Found> {
    let protocol = match path {
        "/invocations" => Protocol::Invocations,
        "/api/v1.0/predictions" | "/api/v0.1/predictions" => Protocol::SeldonV1,
        "/api/v1.0/feedback" | "/api/v0.1/feedback" => Protocol::SeldonFeedback,
        "/score" => Protocol::AzureScore,
        "/inference.GRPCInferenceService/ModelInfer" | "/inference.GRPCInferenceService/ModelStreamInfer" => {
            Protocol::OpenInferenceGrpc
        }
        "/tensorflow.serving.PredictionService/Predict" => Protocol::TensorflowGrpc,
        "/tensorflow.serving.PredictionService/Classify"
        | "/tensorflow.serving.PredictionService/Regress" => Protocol::TensorflowGrpcExamples,
        "/seldon.protos.Seldon/Predict"
        | "/seldon.protos.Model/Predict"
        | "/seldon.protos.Generic/Predict" => Protocol::SeldonGrpc,
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions" => Protocol::TorchServeGrpc,
        _ => return prefixed(path),
    };
    Some(Found::Route(Route::new(protocol)))
}

fn prefixed(path: &str) -> Option<Found> {
    if let Some(rest) = path.strip_prefix("/predictions/") {
        let mut parts = rest.splitn(2, '/').filter(|part| !part.is_empty()).map(percent_decode);
        let (model, version) = (parts.next(), parts.next());
        return Some(Found::Route(Route { protocol: Protocol::TorchServe, model, version }));
    }
    let tail = path.strip_prefix("/openai").unwrap_or(path);
    if matches!(tail, "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings") {
        return Some(Found::Route(Route::new(Protocol::OpenAi)));
    }
    if path.starts_with("/v1/projects/") && (path.ends_with(":predict") || path.ends_with(":rawPredict")) {
        return Some(Found::Route(Route::new(Protocol::Vertex)));
    }
    ["/inference.GRPCInferenceService/", "/tensorflow.serving.PredictionService/"]
        .iter()
        .any(|service| path.starts_with(service))
        .then_some(Found::NotAPrediction)
}

/// Undoes percent-encoding; what is not a valid escape stays as it is.
fn percent_decode(part: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|digit| char::from(*digit).to_digit(16));
    let mut bytes = part.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        if first == b'%'
            && let (Some(high), Some(low)) = (hex(rest.first()), hex(rest.get(1)))
            && let Ok(byte) = u8::try_from(high * 16 + low)
        {
            decoded.push(byte);
            bytes = rest.get(2..).unwrap_or_default();
        } else {
            decoded.push(first);
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(path: &str, protocol: Protocol, model: Option<&str>, version: Option<&str>) {
        let expected =
            Route { protocol, model: model.map(str::to_owned), version: version.map(str::to_owned) };
        assert_eq!(Route::recognise("POST", path, None), Recognised::Prediction(expected), "{path}");
    }

    #[test]
    fn reads_the_path_table() {
        check("/v1/models/m:predict", Protocol::KserveV1, Some("m"), None);
        check("/v1/models/m%3Apredict", Protocol::KserveV1, Some("m"), None);
        check("/v1/models/bike%2Ddemand:predict", Protocol::KserveV1, Some("bike-demand"), None);
        check("/v1/models/m/versions/3:predict", Protocol::KserveV1, Some("m"), Some("3"));
        check("/v1/models/m/labels/stable:predict", Protocol::KserveV1, Some("m"), Some("stable"));
        check("/v1/models/m/:predict", Protocol::KserveV1, Some("m"), None);
        check("/v1/models/:predict", Protocol::KserveV1, None, None);
        check("/v1/models:predict", Protocol::KserveV1, None, None);
        check("/v1/models/m:classify", Protocol::TensorflowExamples, Some("m"), None);
        check("/v2/models/m/infer", Protocol::OpenInference, Some("m"), None);
        check("/v2/models/m/versions/2/infer", Protocol::OpenInference, Some("m"), Some("2"));
        check("/v2/models/infer", Protocol::OpenInference, None, None);
        check("/v2/models/a%20b/infer", Protocol::OpenInference, Some("a b"), None);
        check("/v2/models/m/infer_stream", Protocol::OpenInferenceStream, Some("m"), None);
        check("/invocations", Protocol::Invocations, None, None);
        check("/predictions/m/1.0", Protocol::TorchServe, Some("m"), Some("1.0"));
        check("/api/v1.0/predictions", Protocol::SeldonV1, None, None);
        check("/api/v1.0/feedback", Protocol::SeldonFeedback, None, None);
        check("/score", Protocol::AzureScore, None, None);
        check("/v1/projects/p/locations/l/endpoints/e:predict", Protocol::Vertex, None, None);
        check("/openai/v1/chat/completions", Protocol::OpenAi, None, None);
        check("/inference.GRPCInferenceService/ModelInfer", Protocol::OpenInferenceGrpc, None, None);
    }

    #[test]
    fn health_metadata_and_explanations_are_never_tapped() {
        let never = [
            ("GET", "/v2/health/live"),
            ("GET", "/v2/models/m/ready"),
            ("GET", "/v2/models/m"),
            ("GET", "/v2"),
            ("GET", "/v1/models/m"),
            ("GET", "/v1/models/m/metadata"),
            ("POST", "/v1/models/m:explain"),
            ("GET", "/v1/models/m:predict"),
            ("GET", "/healthz"),
            ("GET", "/metrics"),
            ("POST", "/inference.GRPCInferenceService/ServerLive"),
            ("POST", "/grpc.health.v1.Health/Check"),
        ];
        for (method, path) in never {
            assert_eq!(Route::recognise(method, path, None), Recognised::NeverTapped, "{path}");
        }
        let probe = Route::recognise("POST", "/v2/models/m/infer", Some("kube-probe/1.31"));
        assert_eq!(probe, Recognised::NeverTapped);
        for path in ["/", "/docs", "/v1/modelsx:predict", "//v2/models/m/infer", "/v2/modelsm/infer"] {
            assert_eq!(Route::recognise("POST", path, None), Recognised::Unknown, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in "\\PC{0,40}", tail in "(/v[12]/models)?[/:%A-Fa-f0-9]{0,20}(:predict|/infer)?") {
            Route::recognise("POST", &path, None);
            Route::recognise("POST", &tail, None);
        }
    }
}
