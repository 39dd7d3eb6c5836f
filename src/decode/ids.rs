//! The few headers that decoding needs, and the ids by which an exchange can be found again.

/// Longest id that is kept.
pub const MAX_ID_BYTES: usize = 256;

/// Headers that are kept of a message; everything else is never looked at, nor stored.
const KEPT: &[&str] = &[
    "content-type",
    "content-encoding",
    "inference-header-content-length",
    "x-request-id",
    "seldon-puid",
    "x-amzn-sagemaker-inference-id",
    "x-bentoml-request-id",
    "x-ms-request-id",
    "x-ms-client-request-id",
    "ce-id",
    "traceparent",
    "grpc-status",
    "grpc-encoding",
];

/// The kept headers of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(&'static str, String)>);

impl Headers {
    /// Picks the needed ones out of `headers`; names in any case, values that are not text are skipped.
    pub fn pick<'h>(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut kept = Self::default();
        kept.add(headers);
        kept
    }

    /// Picks the needed ones out of further headers, such as trailers.
    pub fn add<'h>(&mut self, headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) {
        for (name, value) in headers {
            if let Some(name) = KEPT.iter().find(|known| known.eq_ignore_ascii_case(name))
                && let Ok(value) = std::str::from_utf8(value)
            {
                self.0.push((name, value.trim().to_owned()));
            }
        }
    }

    /// The first value of `name`, which is lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(kept, _)| *kept == name).map(|(_, value)| value.as_str())
    }

    /// Bytes held, roughly.
    pub fn len_bytes(&self) -> usize {
        self.0.iter().map(|(_, value)| value.len() + size_of::<(&str, String)>()).sum()
    }

    /// The first of `names` with a usable id.
    fn first_id(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name).and_then(usable))
    }

    /// The id in these headers, of which the answer to a request also says something: `X-Request-Id`,
    /// `Seldon-Puid`, `X-Amzn-SageMaker-Inference-Id`, `Ce-Id`, the trace id of `traceparent`.
    pub fn any_id(&self) -> Option<&str> {
        self.first_id(&["x-request-id", "seldon-puid", "x-amzn-sagemaker-inference-id", "ce-id"])
            .or_else(|| self.trace_id())
    }

    /// The trace id of `traceparent`.
    fn trace_id(&self) -> Option<&str> {
        let trace_id = self.get("traceparent")?.split('-').nth(1)?;
        let valid = trace_id.len() == 32
            && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && trace_id.bytes().any(|byte| byte != b'0');
        valid.then_some(trace_id)
    }
}

/// The id itself when it is short, not empty and printable.
pub(crate) fn usable(id: &str) -> Option<&str> {
    let id = id.trim();
    (!id.is_empty() && id.len() <= MAX_ID_BYTES && !id.chars().any(char::is_control)).then_some(id)
}

/// The id of an exchange: `X-Request-Id`, the id in the body, `Seldon-Puid`, `X-Amzn-SageMaker-Inference-Id`,
/// `Ce-Id`, the trace id, else `generated`.
///
/// A header of the request goes before the same header of the answer; the `Ce-Id` of an answer is another
/// event's and not looked at.
pub fn exchange_id(
    request: &Headers,
    response: &Headers,
    body_id: Option<&str>,
    generated: impl FnOnce() -> String,
) -> String {
    let of_either = |name: &str| request.first_id(&[name]).or_else(|| response.first_id(&[name]));
    of_either("x-request-id")
        .or_else(|| body_id.and_then(usable))
        .or_else(|| of_either("seldon-puid"))
        .or_else(|| of_either("x-amzn-sagemaker-inference-id"))
        .or_else(|| request.first_id(&["ce-id"]))
        .or_else(|| request.trace_id())
        .map_or_else(generated, str::to_owned)
}

/// Every other id of an exchange that is known as `known`: those in the headers of request and answer, and that in its
/// body. The `Ce-Id` of an answer is another event's.
pub fn other_ids(headers: [&Headers; 2], body_id: Option<&str>, known: &str) -> Vec<String> {
    const NAMES: [&str; 6] = [
        "x-request-id",
        "seldon-puid",
        "x-amzn-sagemaker-inference-id",
        "x-bentoml-request-id",
        "x-ms-request-id",
        "x-ms-client-request-id",
    ];
    let [request, response] = headers;
    let named = NAMES.iter().flat_map(|name| [request.first_id(&[name]), response.first_id(&[name])]);
    let of_request = [request.first_id(&["ce-id"]), body_id.and_then(usable), request.trace_id()];
    let mut ids: Vec<String> = Vec::new();
    for id in named.chain(of_request).flatten() {
        if id != known && !ids.iter().any(|other| other == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        Headers::pick(pairs.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn ids_follow_their_priority() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut pairs = vec![
            ("X-Request-Id", "rid"),
            ("Seldon-Puid", "puid"),
            ("X-Amzn-SageMaker-Inference-Id", "sm"),
            ("ce-id", "ce"),
            ("traceparent", trace),
        ];
        let none = Headers::default();
        let mut body = Some("body");
        for expected in ["rid", "body", "puid", "sm", "ce", "4bf92f3577b34da6a3ce929d0e0e4736", "own"] {
            assert_eq!(exchange_id(&headers(&pairs), &none, body, || "own".into()), expected);
            if expected == "body" {
                body = None;
            } else if !pairs.is_empty() {
                pairs.remove(0);
            }
        }
    }

    #[test]
    fn every_other_id_is_kept_once() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let request = headers(&[("x-request-id", "r"), ("ce-id", "ce"), ("traceparent", trace)]);
        let answer = headers(&[("x-request-id", "r"), ("ce-id", "other"), ("x-bentoml-request-id", "a93")]);
        let expected = ["a93", "ce", "body", "4bf92f3577b34da6a3ce929d0e0e4736"];
        assert_eq!(other_ids([&request, &answer], Some("body"), "r"), expected);
        assert_eq!(other_ids([&answer, &request], Some("r"), "r"), ["a93", "other"]);
        assert!(other_ids([&Headers::default(), &Headers::default()], None, "own").is_empty());
    }

    #[test]
    fn ids_that_cannot_be_ids_are_passed_over() {
        let none = Headers::default();
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for bad in ["", "  ", "a\u{7}b", &long] {
            assert_eq!(exchange_id(&none, &none, Some(bad), || "own".into()), "own", "{bad}");
        }
        let zeros = headers(&[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")]);
        assert_eq!(exchange_id(&zeros, &none, None, || "own".into()), "own");
        let answer = headers(&[("x-request-id", "echoed"), ("ce-id", "other event")]);
        assert_eq!(exchange_id(&none, &answer, None, || "own".into()), "echoed");
    }

    #[test]
    fn only_the_needed_headers_are_kept() {
        let kept = headers(&[("Authorization", "Bearer secret"), ("Content-Type", " application/json ")]);
        assert_eq!(kept.get("content-type"), Some("application/json"));
        assert_eq!(kept.get("authorization"), None);
        assert!(!format!("{kept:?}").contains("secret"));
    }
}
