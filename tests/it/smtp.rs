//! A real SMTP server that we did not write, run beside a test.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;

/// aiosmtpd in a process of its own; ends with the value.
pub(crate) struct SmtpServer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) port: u16,
}

/// A message as the server received it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    pub(crate) tls: bool,
    pub(crate) user: bool,
}

impl SmtpServer {
    /// Starts the server and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let python = std::env::var("DRIFTLINE_TEST_PYTHON")
            .expect("DRIFTLINE_TEST_PYTHON names a Python with aiosmtpd; `make test` sets it");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/smtp_server.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of DRIFTLINE_TEST_PYTHON starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("the server says that it is ready").unwrap();
        let port = ready.strip_prefix("ready ").expect(&ready).parse().unwrap();
        Self { child, lines, port }
    }

    /// The next message; blocks until there is one.
    pub(crate) fn next(&mut self) -> Received {
        let line = self.lines.next().expect("the server runs").unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let data = base64::engine::general_purpose::STANDARD.decode(json["data"].as_str().unwrap()).unwrap();
        Received {
            from: json["from"].as_str().unwrap().to_owned(),
            to: json["to"].as_array().unwrap().iter().map(|to| to.as_str().unwrap().to_owned()).collect(),
            data: String::from_utf8(data).unwrap(),
            tls: json["tls"].as_bool().unwrap(),
            user: json["user"].as_bool().unwrap(),
        }
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A certificate for `localhost` that signs itself: paths of certificate and key.
pub(crate) fn certificate(folder: &std::path::Path) -> (String, String) {
    certificate_for(folder, "localhost")
}

/// A certificate for `host` that signs itself: paths of certificate and key.
pub(crate) fn certificate_for(folder: &std::path::Path, host: &str) -> (String, String) {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={host}"),
        ])
        .args([
            "-addext",
            &format!("subjectAltName=DNS:{host}"),
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status()
        .expect("openssl runs");
    assert!(status.success());
    (cert.display().to_string(), key.display().to_string())
}
