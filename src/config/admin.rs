//! Settings of the admin port: who may call it, by which names, and what is open without a token.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// Who may use the API and the page.
///
/// On a loopback address nothing needs a token. On any other, everything does, but for the probes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Whether a token is needed on a loopback address, too.
    pub require_token: bool,
    /// Whether everybody who reaches the port may read without a token.
    pub open_reads: bool,
    /// Whether `/livez`, `/readyz` and `/metrics` need no token.
    pub open_probes: bool,
    /// Names by which the port may be called beside its addresses and `localhost`, such as that of a reverse proxy.
    /// On a loopback address every other `Host` is refused, so that no web page can reach it by a name of its own
    /// (DNS rebinding); on any other address only where names are given.
    pub hosts: Vec<String>,
    /// Address under which people reach the page, such as `https://drift.example.com`; messages then lead to it.
    pub public_url: Option<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            require_token: false,
            open_reads: false,
            open_probes: true,
            hosts: Vec::new(),
            public_url: None,
        }
    }
}

impl Admin {
    /// Whether somebody without a token may write, where the port listens on `address`.
    pub fn open_writes(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback() && !self.require_token
    }

    /// Whether somebody without a token may read, where the port listens on `address`.
    pub fn open_reads(&self, address: SocketAddr) -> bool {
        self.open_reads || self.open_writes(address)
    }

    /// Whether the port, listening on `address`, answers to the name in a `Host` header.
    pub fn answers_to(&self, address: SocketAddr, host: &str) -> bool {
        let name = without_port(host);
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
        {
            return true;
        }
        // An address cannot be bound to another one, as a name can.
        let ip: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        match ip {
            Some(_) => true,
            None if name.eq_ignore_ascii_case("localhost") => true,
            None => !address.ip().is_loopback() && self.hosts.is_empty(),
        }
    }

    /// The page of an alert, where it is known under which address people reach it.
    pub fn page_of_alert(&self, fingerprint: &str) -> Option<String> {
        let address = self.public_url.as_deref()?.trim_end_matches('/');
        Some(format!("{address}/alerts/{fingerprint}"))
    }

    /// What cannot be meant.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let wrong = |host: &&String| host.is_empty() || host.contains(['/', ' ', '*']);
        let problem = |host: &String| {
            format!("`admin.hosts`: `{host}` is not a host name such as `driftline.example.com`")
        };
        let mut problems: Vec<String> = self.hosts.iter().filter(wrong).map(problem).collect();
        if let Some(url) = &self.public_url {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
                problems.push(format!(
                    "`admin.public_url`: `{url}` is not an address such as `https://drift.example.com`"
                ));
            }
        }
        problems
    }
}

/// A host without its port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_is_open_depends_on_where_the_port_listens() {
        let (near, far) = ("127.0.0.1:9464".parse().unwrap(), "0.0.0.0:9464".parse().unwrap());
        for (require_token, open_reads, address, expected) in [
            (false, false, near, (true, true)),
            (true, false, near, (false, false)),
            (true, true, near, (true, false)),
            (false, false, far, (false, false)),
            (false, true, far, (true, false)),
        ] {
            let admin = Admin { require_token, open_reads, ..Admin::default() };
            let found = (admin.open_reads(address), admin.open_writes(address));
            assert_eq!(found, expected, "{admin:?} at {address}");
        }
    }

    #[test]
    fn a_loopback_port_answers_to_no_strange_name() {
        let (near, far) = ("127.0.0.1:9464".parse().unwrap(), "[::]:9464".parse().unwrap());
        let named = Admin { hosts: vec!["drift.example.com".to_owned()], ..Admin::default() };
        for (admin, address, host, expected) in [
            (&Admin::default(), near, "localhost:9464", true),
            (&Admin::default(), near, "LOCALHOST", true),
            (&Admin::default(), near, "127.0.0.1:9464", true),
            (&Admin::default(), near, "[::1]:9464", true),
            (&Admin::default(), near, "evil.example:9464", false),
            (&Admin::default(), near, "localhost.evil.example", false),
            (&Admin::default(), near, "", false),
            (&Admin::default(), far, "anything.example", true),
            (&named, near, "drift.example.com", true),
            (&named, far, "Drift.Example.com:443", true),
            (&named, far, "evil.example", false),
            (&named, far, "10.0.0.7:9464", true),
        ] {
            assert_eq!(admin.answers_to(address, host), expected, "{host} at {address}");
        }
    }

    #[test]
    fn messages_lead_to_the_page_where_its_address_is_known() {
        let settings =
            Settings::parse("admin: {public_url: 'https://drift.example.com/x/'}\n", "s.yaml").unwrap();
        let found = settings.admin.page_of_alert("ab12");
        assert_eq!(found.as_deref(), Some("https://drift.example.com/x/alerts/ab12"));
        assert_eq!(Admin::default().page_of_alert("ab12"), None);
        let problem =
            Settings::parse("admin: {public_url: drift.example.com}\n", "s.yaml").unwrap_err().to_string();
        assert!(problem.contains("`admin.public_url`: `drift.example.com` is not an address"), "{problem}");
    }

    #[test]
    fn a_host_is_a_name() {
        let problem =
            Settings::parse("admin: {hosts: ['https://a.example']}\n", "s.yaml").unwrap_err().to_string();
        assert!(problem.contains("`https://a.example` is not a host name"), "{problem}");
    }
}
