//! Certificates: read at start with errors that name file and remedy, and those of the listener again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config::{ListenerTls, UpstreamTls};

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// A certificate, key or list of authorities that cannot be used.
#[derive(Debug, Error)]
#[error("`{key}`: `{}` {problem}", path.display())]
pub struct TlsError {
    /// The setting that names the file.
    key: String,
    /// The file.
    path: PathBuf,
    /// What is wrong with it, and what would be right.
    problem: String,
}

/// A file that a setting names.
struct Named<'a> {
    key: String,
    path: &'a Path,
}

impl Named<'_> {
    fn refuse(&self, problem: impl Into<String>) -> TlsError {
        TlsError { key: self.key.clone(), path: self.path.to_owned(), problem: problem.into() }
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        std::fs::read(self.path).map_err(|error| {
            self.refuse(format!("cannot be read: {error}; set it to a PEM file that this process may read"))
        })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => {
                Err(self.refuse("holds no certificate; it has to be PEM, `-----BEGIN CERTIFICATE-----`"))
            }
            Err(error) => {
                Err(self.refuse(format!("is not PEM: {error}; convert it, or copy it again whole")))
            }
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        // The parser's own message could quote what it read.
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(|_| {
            self.refuse("holds no private key; it has to be unencrypted PEM, `-----BEGIN PRIVATE KEY-----`")
        })
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| {
                self.refuse(format!("holds a certificate that cannot be an authority: {error}"))
            })?;
        }
        Ok(roots)
    }
}

/// What is presented to clients, as the files have it now.
fn server_config(tls: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let named = |name: &str, path| Named { key: format!("tap.tls.{name}"), path };
    let cert = named("cert", &tls.cert);
    let key = named("key", &tls.key);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| cert.refuse(error.to_string()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let named = named("client_ca", path);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(named.authorities()?), provider)
                    .build()
                    .map_err(|error| named.refuse(format!("cannot be used for clients: {error}")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(cert.certificates()?, key.private_key()?).map_err(|error| {
        key.refuse(format!(
            "does not go with `{}`: {error}; both have to be of the same pair",
            tls.cert.display()
        ))
    })?;
    // Clients that offer something and find nothing in common are refused; some offer what they speak of HTTP/1.
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec(), b"http/1.0".to_vec()];
    Ok(Arc::new(config))
}

/// When the files were changed last, and how long they are.
type Fingerprint = [Option<(SystemTime, u64)>; 3];

fn fingerprint(tls: &ListenerTls) -> Fingerprint {
    let of = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [of(&tls.cert), of(&tls.key), tls.client_ca.as_deref().and_then(of)]
}

/// The certificate of the proxy.
#[derive(Debug)]
pub(super) struct Certificate {
    settings: ListenerTls,
    config: RwLock<Arc<ServerConfig>>,
    tried: Mutex<Fingerprint>,
}

impl Certificate {
    pub(super) fn read(settings: ListenerTls) -> Result<Self, TlsError> {
        let tried = Mutex::new(fingerprint(&settings));
        Ok(Self { config: RwLock::new(server_config(&settings)?), settings, tried })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read()))
    }

    /// Reads the files again if they changed; what cannot be used leaves the present certificate in place.
    pub(super) fn reload(&self) {
        let found = fingerprint(&self.settings);
        if std::mem::replace(&mut *self.tried.lock(), found) == found {
            return;
        }
        match server_config(&self.settings) {
            Ok(config) => {
                *self.config.write() = config;
                tracing::info!(path = %self.settings.cert.display(), "the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "a changed certificate is not used; the one before stays"),
        }
    }
}

/// How connections to one model server are secured: what is offered to a client of HTTP/1, and of HTTP/2.
pub(super) struct ClientConfigs {
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
}

/// `place` is the setting that names the model server, for messages.
pub(super) fn client_configs(place: &str, tls: Option<&UpstreamTls>) -> Result<ClientConfigs, TlsError> {
    let key = format!("{place}.upstream_tls.ca_file");
    let file = tls.and_then(|tls| tls.ca_file.as_deref());
    let named = Named { key, path: file.unwrap_or(Path::new("")) };
    let roots = if file.is_some() {
        named.authorities()?
    } else {
        RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
    };
    let mut http1 = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| named.refuse(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http2 = http1.clone();
    http1.alpn_protocols = vec![HTTP1.to_vec()];
    http2.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(ClientConfigs { http1: Arc::new(http1), http2: Arc::new(http2) })
}

/// Whether HTTP/2 was agreed on.
pub(super) fn is_http2(protocol: Option<&[u8]>) -> bool {
    protocol == Some(HTTP2)
}
