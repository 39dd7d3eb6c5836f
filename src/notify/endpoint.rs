//! One HTTP address that messages are posted to: bounded in time and in what is read, never redirected, its secrets masked.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};

use super::{SEND_TIMEOUT, Secret, SendFailure, guard};

/// Most of an answer's body that is read, for the error message.
const MAX_ANSWER: usize = 1024;

/// Where messages are posted.
pub(super) struct Endpoint {
    client: reqwest::Client,
    url: reqwest::Url,
    /// What is masked in every answer that is told: services like to quote what they refuse.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The path and query of a webhook are often a secret themselves.
        f.debug_struct("Endpoint").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Sets up the client; connects to nothing. `setting` is the key that holds `url`, for messages.
    ///
    /// # Errors
    ///
    /// What is wrong with the address.
    pub(super) fn build(setting: &str, url: &str, allow_private: bool) -> Result<Self, String> {
        let url = reqwest::Url::parse(url).map_err(|error| format!("`{setting}`: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{setting}`: expected an http(s) URL, found one of `{}`", url.scheme()));
        }
        let mut client = reqwest::Client::builder()
            .timeout(SEND_TIMEOUT)
            .connect_timeout(SEND_TIMEOUT / 2)
            .redirect(reqwest::redirect::Policy::none());
        if !allow_private {
            guard::check_literal(&url).map_err(|problem| format!("`{setting}`: {problem}"))?;
            // A proxy would resolve the name itself, out of sight.
            client = client.dns_resolver(guard::PublicOnly).no_proxy();
        }
        let client = client.build().map_err(|error| format!("the client cannot be set up: {error}"))?;
        let secrets = [url.as_str(), url.path(), url.query().unwrap_or_default()]
            .into_iter()
            .chain(url.password())
            .filter(|part| part.len() > 3)
            .map(str::to_owned)
            .collect();
        Ok(Self { client, url, secrets })
    }

    /// Like [`Endpoint::build`], with the address in a file.
    ///
    /// # Errors
    ///
    /// What is wrong with the file or the address in it, which is not told.
    pub(super) fn from_file(file: &Path, allow_private: bool) -> Result<Self, String> {
        let url = Secret::from_file(file)?;
        Self::build("url_file", url.expose().trim(), allow_private)
            .map_err(|problem| format!("{problem} (in `{}`)", file.display()))
    }

    /// Also masks `secret`.
    pub(super) fn masking(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.expose().to_owned());
        self
    }

    /// Host and port, which are no secret.
    pub(super) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or("the receiver");
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Posts `body`.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; passing on 5xx, 408, 425, 429, a connection that fails, and what people mend (401, 403, 404,
    /// 407); permanent on any other answer.
    pub(super) async fn post(
        &self,
        content_type: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        now: DateTime<Utc>,
    ) -> Result<(), SendFailure> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, content_type)
            .header(USER_AGENT, concat!("driftline/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        let sent = request.body(body).send().await;
        let answer = sent.map_err(|error| SendFailure::passing(self.describe(error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let passing =
            status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 404 | 407 | 408 | 425 | 429);
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|value| retry_after(value, now));
        let answer = self.mask(beginning(answer).await);
        let reason = format!("{} answered {status}: {answer}", self.host());
        Err(SendFailure { reason, permanent: !passing, retry_after })
    }

    /// The error and its causes, without the URL.
    fn describe(&self, error: reqwest::Error) -> String {
        let error = error.without_url();
        let mut text = format!("{}: {error}", self.host());
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        self.mask(text)
    }

    fn mask(&self, mut text: String) -> String {
        for secret in &self.secrets {
            text = text.replace(secret, "***");
        }
        text
    }
}

/// `Retry-After` in seconds or as a date.
fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    DateTime::parse_from_rfc2822(value.trim()).ok().map(|at| (at.to_utc() - now).to_std().unwrap_or_default())
}

/// The beginning of an answer, in one line.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read() {
        let now = DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:07 GMT").unwrap().to_utc();
        for (value, expected) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn an_address_in_a_file_is_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        for text in
            ["hooks.example.com/T00/hunter2", "ftp://hooks.example.com/hunter2", "http://10.0.0.1/hunter2"]
        {
            std::fs::write(&file, text).unwrap();
            let problem = Endpoint::from_file(&file, false).unwrap_err();
            assert!(problem.contains("url_file") && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_quoted_secret_is_masked() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let endpoint = Endpoint::build("url", "https://h.example.com/T00/hunter2?sig=abcd", true).unwrap();
        let endpoint = endpoint.masking(&Secret::new("R0UT1NG".to_owned()));
        let told = "no /T00/hunter2 of https://h.example.com/T00/hunter2?sig=abcd for R0UT1NG";
        assert_eq!(endpoint.mask(told.to_owned()), "no *** of *** for ***");
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }
}
