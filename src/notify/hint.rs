//! What to try when a receiver does not take a message.

/// Parts of a failure's reason, in lower case, and what they call for; the first that fits.
const HINTS: [(&[&str], &str); 15] = [
    (&["allow_private"], "set `allow_private: true` on the receiver if the address is meant"),
    (&["is not configured"], "the settings have no such receiver; `driftline receivers list` shows them"),
    (
        &["unknownissuer", "unknown issuer", "not valid for name", "certificate"],
        "the certificate is not trusted: name its authority in `ca_file` of `smtp`, or have the machine trust it",
    ),
    (
        &["failed to lookup", "name or service not known", "dns error", "no address"],
        "the host's name is not known here: look for a typing error, or at this machine's DNS",
    ),
    (
        &["connection refused", "os error 111"],
        "nothing listens there: compare host and port with what the service says",
    ),
    (
        &["535", "authentication", "530", "534", "538"],
        "compare `username` and the text in `password_file` with the relay's",
    ),
    (&["starttls"], "the relay offers no STARTTLS: try `tls: implicit` (port 465), or `none` on loopback"),
    (
        &["answered 401", "answered 403"],
        "the service does not accept the key or the address: compare the secret's file with it",
    ),
    (&["answered 404", "answered 410"], "the address is not there any more: make a new one at the service"),
    (&["answered 30", "answered 31"], "redirects are not followed: set the address that it points to"),
    (&["answered 413"], "the message is too long for the service"),
    (&["answered 429"], "the service asks for fewer messages: set `limit` on the receiver"),
    (
        &["answered 400", "answered 422"],
        "the service does not understand the message; with a template, compare its text",
    ),
    (&["answered 5", "451", "421", "450"], "the service has trouble of its own: try again later"),
    (
        &["timed out", "timeout", "no end within"],
        "no answer in time: look for a firewall on the way, and at the port",
    ),
];

/// What to try, by what is said of a failure.
pub fn hint(reason: &str) -> Option<&'static str> {
    let reason = reason.to_lowercase();
    HINTS.iter().find(|(parts, _)| parts.iter().any(|part| reason.contains(part))).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_failures_have_a_hint() {
        for (reason, expected) in [
            (
                "h: error sending request: `h` leads to 10.0.0.1 is a private address; `allow_private: true` would",
                "set `allow_private",
            ),
            ("mail:25: Connection error: Connection refused (os error 111)", "nothing listens"),
            ("mail:587: network error: invalid peer certificate: UnknownIssuer", "`ca_file`"),
            ("mail:587: permanent error (535): 5.7.8 Authentication credentials invalid", "`password_file`"),
            ("hooks.slack.com answered 404 Not Found: no_service", "not there any more"),
            ("h answered 302 Found: ", "redirects"),
            ("h answered 429 Too Many Requests: ", "`limit`"),
            ("h answered 503 Service Unavailable: ", "trouble of its own"),
            ("h: error sending request: operation timed out", "firewall"),
        ] {
            let found = hint(reason).unwrap_or_default();
            assert!(found.contains(expected), "{reason}: {found}");
        }
        assert_eq!(hint("something else"), None);
    }
}
