//! A model server that keeps every byte of a request and answers with canned bytes, and clients not written here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

/// Answers by the start of the path; the first that fits. What ends with `EOF` is followed by the end of the connection.
const ANSWERS: &[(&str, &str)] = &[
    ("/empty", "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 0\r\nX-Z: 2\r\n\r\n"),
    ("/204", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
    ("/304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 17\r\nVary: a\r\n\r\n"),
    ("/reason", "HTTP/1.1 404 Nothing Of The Kind\r\nContent-Length: 2\r\n\r\nno"),
    ("/status", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok"),
    ("/500", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"),
    (
        "/headers",
        "HTTP/1.1 200 OK\r\nSERVER: Wire/1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Empty:\r\nX-Latin: caf\u{e9}\r\nx-lower: l\r\nVary: Accept\r\nVary: Origin\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "/chunked",
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nX-Z: 2\r\n\r\n4\r\none,\r\n9;ext=1\r\ntwo,three\r\n0\r\n\r\n",
    ),
    (
        "/trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    ),
    (
        "/gzip",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n\u{1f}\u{b}not!",
    ),
    ("/eof10", "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the endEOF"),
    ("/eof", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nuntil the endEOF"),
    (
        "/hints",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("/refuse", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nnoEOF"),
    ("/v1/models/m:predict", "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"predictions\":[1]}"),
    ("", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nplain"),
];

/// The recording model server.
pub(crate) struct WireServer {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

impl WireServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<Mutex<usize>>::default());
        let mut tasks = JoinSet::new();
        let (seen_, connections_) = (Arc::clone(&seen), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                *connections_.lock() += 1;
                open.spawn(converse(stream, Arc::clone(&seen_)));
            }
        });
        Self { addr, seen, connections, _tasks: tasks }
    }

    /// The requests since the last call, byte for byte.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.seen.lock())
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock()
    }
}

/// Where the first head in `bytes` ends, with its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads requests and answers them until either side has enough.
async fn converse(mut stream: TcpStream, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    loop {
        let mut request = Vec::new();
        let end = loop {
            if let Some(end) = head_end(&request) {
                break end;
            }
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().trim_start_matches("http://model.local");
        let (path, answer) = ANSWERS.iter().find(|(path, _)| target.starts_with(path)).unwrap();
        if *path != "/refuse" {
            if header(&head, "expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            }
            let length: usize = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
            let chunked = header(&head, "transfer-encoding").is_some();
            while request.len() < end + length || chunked && !request[end..].ends_with(b"0\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        }
        seen.lock().push(request);
        // Characters of the table are bytes.
        let bytes: Vec<u8> = answer.chars().map(|one| u8::try_from(one).unwrap()).collect();
        let last = bytes.strip_suffix(b"EOF");
        let no_body = head.starts_with("HEAD ");
        let mut sent = last.unwrap_or(&bytes);
        if no_body {
            sent = &sent[..head_end(sent).unwrap()];
        }
        if stream.write_all(sent).await.is_err() || last.is_some() || head.contains(" HTTP/1.0\r\n") {
            return;
        }
    }
}

/// What curl prints for these arguments against `addr`, with the heads of the answers.
pub(crate) async fn curl(addr: SocketAddr, path: &str, arguments: &[&str]) -> Vec<u8> {
    curl_url(&format!("http://{addr}{path}"), arguments).await
}

/// The same for a whole address.
pub(crate) async fn curl_url(url: &str, arguments: &[&str]) -> Vec<u8> {
    let names_host = arguments.iter().any(|argument| argument.starts_with("Host:"));
    let host: &[&str] = if names_host { &[] } else { &["-H", "Host: model.local"] };
    let output = Command::new("curl")
        .args(["-sS", "-i", "--path-as-is", "--globoff", "--max-time", "30"])
        .args(host)
        .args(arguments)
        .arg(url)
        .output()
        .await
        .expect("curl is installed by tests/setup/prerequisites.sh");
    assert!(output.status.success(), "curl {arguments:?} {url}: {output:?}");
    output.stdout
}

/// A program of `tap_peer.py`; ends with the value.
pub(crate) struct Peer {
    pub(crate) child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let python = std::env::var("DRIFTLINE_TEST_PYTHON")
            .expect("DRIFTLINE_TEST_PYTHON names a Python with grpcio; `make test` sets it");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/tap_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the Python of DRIFTLINE_TEST_PYTHON starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// A server, and where it listens.
    pub(crate) async fn serve(what: &str) -> (Self, SocketAddr) {
        let mut peer = Self::start(&[what]);
        let ready = peer.line().await;
        let port: u16 = ready.strip_prefix("ready ").expect(&ready).parse().unwrap();
        (peer, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("another line")
    }

    /// Everything that a client prints.
    pub(crate) async fn call(what: &str, addr: SocketAddr) -> Vec<String> {
        let mut peer = Self::start(&[what, &addr.to_string()]);
        let mut lines = Vec::new();
        while let Some(line) = peer.lines.next_line().await.unwrap() {
            lines.push(line);
        }
        assert!(peer.child.wait().await.unwrap().success(), "{lines:?}");
        lines
    }
}
