//! The way to one model server: its address, and connections with or without TLS.

use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::proxy::ProxyError;
use super::tls::{client_configs, is_http2};
use crate::config::UpstreamTls;

/// Where a model server is.
pub(super) struct Address {
    pub(super) authority: Authority,
    host: String,
    port: u16,
    tls: Option<Tls>,
    timeout: Duration,
}

struct Tls {
    http1: TlsConnector,
    http2: TlsConnector,
    name: ServerName<'static>,
}

/// A connection that is open.
pub(super) enum Connected {
    /// Without TLS: either protocol, as the first bytes say.
    Plain(TcpStream),
    /// With TLS, and whether HTTP/2 was agreed on.
    Tls(Box<TlsStream<TcpStream>>, bool),
}

impl Address {
    /// Reads `url`; `place` is the setting that has it, for messages.
    pub(super) fn new(
        place: &str,
        url: &str,
        tls: Option<&UpstreamTls>,
        timeout: Duration,
    ) -> Result<Self, ProxyError> {
        let wrong = || ProxyError::BadUpstream { key: format!("{place}.upstream"), url: url.to_owned() };
        let target: Uri = url.parse().map_err(|_| wrong())?;
        let is_https = match target.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(wrong()),
        };
        let authority = target.authority().ok_or_else(wrong)?.clone();
        if !matches!(target.path(), "" | "/") || target.query().is_some() || authority.as_str().contains('@')
        {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tls = if is_https {
            let configs = client_configs(place, tls)?;
            let name = tls.and_then(|tls| tls.server_name.clone()).unwrap_or_else(|| host.clone());
            let bad = ProxyError::BadServerName {
                key: format!("{place}.upstream_tls.server_name"),
                name: name.clone(),
            };
            let name = ServerName::try_from(name).map_err(|_| bad)?;
            Some(Tls { http1: configs.http1.into(), http2: configs.http2.into(), name })
        } else {
            None
        };
        Ok(Self { authority, host, port, tls, timeout })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection; over TLS HTTP/2 is offered if it is wanted.
    pub(super) async fn connect(&self, wants_http2: bool) -> std::io::Result<Connected> {
        tokio::time::timeout(self.timeout, self.open(wants_http2)).await?
    }

    async fn open(&self, wants_http2: bool) -> std::io::Result<Connected> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // Without it small frames wait for an acknowledgement.
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Connected::Plain(stream)) };
        let connector = if wants_http2 { &tls.http2 } else { &tls.http1 };
        let stream = connector.connect(tls.name.clone(), stream).await?;
        let agreed = is_http2(stream.get_ref().1.alpn_protocol());
        Ok(Connected::Tls(Box::new(stream), agreed))
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("authority", &self.authority).finish_non_exhaustive()
    }
}
