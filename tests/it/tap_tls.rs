//! TLS on both sides: by ALPN, with certificates that are checked, and a listener's certificate that is renewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

use crate::support::wait_for;
use crate::tap_support::{ModelServer, body_of, refused, tap_to, tap_with};
use crate::tap_wire::curl_url;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

/// A model server's own TLS, which offers these protocols.
fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(&std::fs::read(fixture("server.pem")).unwrap()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(fixture("server.key")).unwrap()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn listener_tls(cert: &Path, key: &Path, more: &str) -> String {
    format!("  tls: {{cert: '{}', key: '{}'{more}}}\n", cert.display(), key.display())
}

/// The start line and the body of what curl gets over TLS, for the host `model.local`.
async fn get(port: u16, path: &str, arguments: &[&str]) -> (String, String) {
    let (ca, resolve) = (self::path("ca.pem"), format!("model.local:{port}:127.0.0.1"));
    let mut all = vec!["--cacert", &ca, "--resolve", &resolve];
    all.extend(arguments);
    let answer = curl_url(&format!("https://model.local:{port}{path}"), &all).await;
    let start = String::from_utf8_lossy(&answer).lines().next().unwrap().trim().to_owned();
    (start, String::from_utf8_lossy(body_of(&answer)).into_owned())
}

#[tokio::test]
async fn clients_over_tls_agree_on_http2_or_http1_and_see_no_difference() {
    let server = ModelServer::start_with(Some(acceptor(&[b"h2", b"http/1.1", b"http/1.0"]))).await;
    let lines = format!(
        "  traceparent: false\n  upstream_tls: {{ca_file: '{}'}}\n{}",
        path("ca.pem"),
        listener_tls(&fixture("server.pem"), &fixture("server.key"), "")
    );
    let tapped = tap_to(&format!("https://{}", server.addr), &lines).await;
    let predict = r#"{"instances":[[1,2]]}"#;
    for (protocol, start) in
        [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200 OK"), ("--http1.0", "HTTP/1.0 200 OK")]
    {
        for (target, arguments) in [
            ("/echo//x?q=%2F", vec!["-H", "X-A: 1"]),
            ("/echo", vec!["-d", "body"]),
            ("/v1/models/m:predict", vec!["-d", predict]),
        ] {
            let mut arguments = arguments;
            arguments.push(protocol);
            let direct = get(server.addr.port(), target, &arguments).await;
            let proxied = get(tapped.addr.port(), target, &arguments).await;
            assert_eq!((proxied.0.as_str(), &proxied.1), (start, &direct.1), "{arguments:?} {target}");
        }
    }
    assert_eq!(tapped.decode_all().len(), 3);
}

#[tokio::test]
async fn a_model_server_that_offers_only_http1_gets_http1() {
    let server = ModelServer::start_with(Some(acceptor(&[b"http/1.1"]))).await;
    let lines = format!(
        "  traceparent: false\n  upstream_tls: {{ca_file: '{}', server_name: model.local}}\n{}",
        path("ca.pem"),
        listener_tls(&fixture("server.pem"), &fixture("server.key"), "")
    );
    let tapped = tap_to(&format!("https://{}", server.addr), &lines).await;
    for body in ["first", "second", ""] {
        let (start, answer) =
            get(tapped.addr.port(), "/echo?x=1", &["--http2", "-b", "a=1; b=2", "-d", body]).await;
        assert_eq!(start, "HTTP/2 200");
        // In HTTP/1 the target is a path, and the authority is a header.
        assert!(answer.starts_with("POST /echo?x=1\n"), "{answer}");
        assert!(
            answer.contains("\ncookie: a=1; b=2\n") && answer.contains("\nhost: model.local\n"),
            "{answer}"
        );
        assert!(answer.contains(&format!("{} bytes", body.len())), "{answer}");
    }
    // Chunks and trailers translate as well.
    let (_, answer) = get(tapped.addr.port(), "/chunked", &["--http2"]).await;
    assert_eq!(answer, "one,two,three");
}

#[tokio::test]
async fn http1_can_be_required_of_a_model_server_without_tls() {
    let server = ModelServer::start().await;
    let lines = format!(
        "  upstream_protocol: http1\n{}",
        listener_tls(&fixture("server.pem"), &fixture("server.key"), "")
    );
    let tapped = tap_with(server.addr, &lines).await;
    let (start, answer) = get(tapped.addr.port(), "/echo", &["--http2", "-d", "body"]).await;
    assert_eq!(start, "HTTP/2 200");
    assert!(answer.starts_with("POST /echo\n") && answer.contains("4 bytes"), "{answer}");
}

#[tokio::test]
async fn a_certificate_of_the_wrong_name_or_authority_is_not_believed() {
    let server = ModelServer::start_with(Some(acceptor(&[b"h2", b"http/1.1"]))).await;
    let upstream = format!("https://{}", server.addr);
    let wrong_name = format!("  upstream_tls: {{ca_file: '{}', server_name: other.local}}\n", path("ca.pem"));
    for lines in [wrong_name.as_str(), ""] {
        let tapped = tap_to(&upstream, lines).await;
        for protocol in ["--http1.1", "--http2-prior-knowledge"] {
            let answer = curl_url(&format!("http://{}/echo", tapped.addr), &[protocol]).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(
                answer.contains(" 502") && answer.contains("x-driftline-error: upstream_unreachable"),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn clients_without_a_certificate_are_refused_where_one_is_asked_for() {
    let server = ModelServer::start().await;
    let more = format!(", client_ca: '{}'", path("ca.pem"));
    let tapped =
        tap_with(server.addr, &listener_tls(&fixture("server.pem"), &fixture("server.key"), &more)).await;
    let (cert, key) = (path("client.pem"), path("client.key"));
    let (start, _) = get(tapped.addr.port(), "/echo", &["--cert", &cert, "--key", &key]).await;
    assert_eq!(start, "HTTP/2 200");
    let url = format!("https://127.0.0.1:{}/echo", tapped.addr.port());
    let output = Command::new("curl").args(["-s", "--cacert", &path("ca.pem"), &url]).output().await.unwrap();
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_presented_and_open_connections_stay() {
    let server = ModelServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::copy(fixture("server.pem"), &cert).unwrap();
    std::fs::copy(fixture("server.key"), &key).unwrap();
    let tapped = tap_with(server.addr, &listener_tls(&cert, &key, "")).await;
    let port = tapped.addr.port();
    let reaches = |name: &'static str| async move {
        let status = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "--cacert", &path("ca.pem"), "--resolve"])
            .arg(format!("{name}:{port}:127.0.0.1"))
            .arg(format!("https://{name}:{port}/echo"))
            .status();
        status.await.unwrap().success()
    };
    assert!(!reaches("renewed.local").await, "only the renewed certificate has that name");
    // A stream that is open over the change.
    let mut server = server;
    let mut open = Command::new("curl")
        .args(["-s", "-N", "--cacert", &path("ca.pem"), &format!("https://localhost:{port}/stream")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let frames = server.streams.recv().await.unwrap();
    frames.send(Ok(hyper::body::Frame::data("before ".into()))).unwrap();
    // First a certificate without its key, as when two files are replaced one after the other.
    std::fs::copy(fixture("renewed.pem"), &cert).unwrap();
    std::fs::copy(fixture("renewed.key"), &key).unwrap();
    wait_for("the renewed certificate", || async { reaches("renewed.local").await.then_some(()) }).await;
    frames.send(Ok(hyper::body::Frame::data("after".into()))).unwrap();
    drop(frames);
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(open.stdout.as_mut().unwrap(), &mut text).await.unwrap();
    assert_eq!(text, "before after");
    assert!(open.wait().await.unwrap().success());
    // What cannot be used leaves the present one in place.
    std::fs::write(&cert, "nonsense").unwrap();
    tokio::task::yield_now().await;
    assert!(reaches("renewed.local").await);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    let (server_pem, server_key) = (fixture("server.pem"), fixture("server.key"));
    for (cert, key, expected) in [
        (
            &missing,
            &server_key,
            "`tap.tls.cert`: `MISSING` cannot be read: No such file or directory (os error 2); set it to",
        ),
        (&empty, &server_key, "`tap.tls.cert`: `EMPTY` holds no certificate; it has to be PEM"),
        (&server_key, &server_key, "holds no certificate"),
        (&server_pem, &missing, "`tap.tls.key`: `MISSING` cannot be read"),
        (&server_pem, &server_pem, "holds no private key; it has to be unencrypted PEM"),
        (&server_pem, &fixture("renewed.key"), "both have to be of the same pair"),
    ] {
        let problem = refused("http://127.0.0.1:1", &listener_tls(cert, key, "")).await;
        let problem = problem
            .replace(&missing.display().to_string(), "MISSING")
            .replace(&empty.display().to_string(), "EMPTY");
        assert!(problem.contains(expected), "`{expected}` is not in `{problem}`");
        assert!(!problem.contains("BEGIN EC"), "{problem}");
    }
    let ca = format!("  upstream_tls: {{ca_file: '{}'}}\n", missing.display());
    let problem = refused("https://127.0.0.1:1", &ca).await;
    assert!(problem.starts_with("`tap.upstream_tls.ca_file`: "), "{problem}");
    let problem = refused("https://127.0.0.1:1", "  upstream_tls: {server_name: 'not a name'}\n").await;
    assert!(problem.starts_with("`tap.upstream_tls.server_name`: `not a name` is neither"), "{problem}");
    for url in ["ftp://a:1", "http://a:1/path", "127.0.0.1:1", "http://user@a:1", "http://a:1/?q"] {
        let problem = refused(&format!("'{url}'"), "").await;
        assert!(
            problem.starts_with(&format!("`tap.upstream` is `{url}`, which is not of the form")),
            "{problem}"
        );
    }
    let route = "  routes:\n    - {host: h, upstream: 'https//b'}\n";
    let problem = refused("http://a:1", route).await;
    assert!(problem.starts_with("`tap.routes[0].upstream` is `https//b`"), "{problem}");
}
