//! A list of requests, sent once to the model server and once through driftline, by clients not written here: both
//! sides see the same bytes, but for what is listed in [`Change`].

use crate::tap_support::{ModelServer, Tapped, tap, tap_with};
use crate::tap_wire::{Peer, WireServer, curl, head_end};

/// Everything that a proxy between the two changes, and why. Nothing else may differ, but for headers of one connection
/// ([`CONNECTION`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The one header that is added to predictions without it, last (`tap.traceparent`).
    Traceparent,
}

/// Headers of one connection; both hops manage their own.
const CONNECTION: [&str; 2] = ["connection", "keep-alive"];

/// Start line and headers as they are on the wire, and the body with its chunks if there are any.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    start: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

fn name_of(line: &str) -> String {
    line.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

fn read(bytes: &[u8]) -> Message {
    let end = head_end(bytes).expect("a message has a head");
    let text: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let start = lines.next().unwrap().to_owned();
    let headers: Vec<String> =
        lines.map(str::to_owned).filter(|line| !CONNECTION.contains(&name_of(line).as_str())).collect();
    Message { start, headers, body: bytes[end..].to_vec() }
}

/// Makes the listed changes on the direct side: what a model server behind the proxy should see.
fn changed(mut message: Message, changes: &[Change]) -> Message {
    for change in changes {
        match change {
            Change::Traceparent => message.headers.push("traceparent: *".to_owned()),
        }
    }
    message
}

/// Sends one request both ways and compares what either side saw.
async fn compare(server: &WireServer, tapped: &Tapped, path: &str, arguments: &[&str], changes: &[Change]) {
    server.take();
    let direct = curl(server.addr, path, arguments).await;
    let direct_seen = server.take();
    let proxied = curl(tapped.addr, path, arguments).await;
    let proxied_seen = server.take();
    let what = format!("curl {arguments:?} {path}");
    assert_eq!((direct_seen.len(), proxied_seen.len()), (1, 1), "{what}");
    let mut seen = read(&proxied_seen[0]);
    for line in &mut seen.headers {
        if line.starts_with("traceparent: 00-") && line.len() == "traceparent: ".len() + 55 {
            "traceparent: *".clone_into(line);
        }
    }
    assert_eq!(seen, changed(read(&direct_seen[0]), changes), "{what}: the model server");
    // Interim answers stand before the final one.
    let split = |answer: &[u8]| {
        let mut at = 0;
        while answer[at..].starts_with(b"HTTP/1.1 1") {
            at += head_end(&answer[at..]).unwrap();
        }
        (String::from_utf8_lossy(&answer[..at]).into_owned(), read(&answer[at..]))
    };
    assert_eq!(split(&proxied), split(&direct), "{what}: the client");
}

#[tokio::test]
async fn curl_over_http1_sees_no_difference_and_neither_does_the_server() {
    let server = WireServer::start().await;
    let tapped = tap(server.addr).await;
    let large = format!("X-Large: {}", "z".repeat(60_000));
    let cases: &[(&str, &[&str])] = &[
        ("/", &[]),
        ("//double//slash?q=a%20b&r=%2F&&=", &[]),
        ("/a/../b/./c/%2e%2E/d", &[]),
        ("/v2/models/a%2Fb:x/ready?x=1?y#", &[]),
        ("/percent%zz/~user/;p=1/,$!*'()@&=+", &[]),
        ("/\"quotes\"/{braces}/[brackets]/|pipe|/^", &[]),
        ("/caf\u{e9}", &[]),
        ("/?", &[]),
        ("/headers", &["-H", "X-Dup: 1", "-H", "X-DUP: 2", "-H", "x-MiXeD-cAsE: Yes", "-H", "X-Empty;"]),
        ("/headers", &["-H", &large, "-b", "a=1; b=2", "-A", "agent/1 (x)", "-e", "http://referer/"]),
        ("/headers", &["-H", "Accept:", "-H", "User-Agent:"]),
        ("/", &["-H", "traceparent: 00-aa-bb-01", "-H", "X-Request-Id: r", "-H", "X-Forwarded-For: 1.2.3.4"]),
        ("/", &["-H", "Authorization: Bearer secret", "-u", "user:password"]),
        ("/empty", &[]),
        ("/204", &[]),
        ("/304", &["-H", "If-None-Match: \"x\""]),
        ("/reason", &[]),
        ("/status", &[]),
        ("/500", &["-d", "x"]),
        ("/chunked", &[]),
        ("/gzip", &["--compressed", "--raw"]),
        ("/eof10", &[]),
        ("/eof", &[]),
        ("/", &["-H", "X-Dup: 1", "-H", "X-Other: o", "-H", "x-dup: 2", "-H", "X-Blanks:  \t a  b \t"]),
        ("/chunked", &["--raw"]),
        ("/chunked", &["-I"]),
        ("/trailers", &["--raw", "-H", "TE: trailers"]),
        ("/trailers", &["--raw"]),
        ("/hints", &[]),
        ("/hints", &["-H", "Expect: 100-continue", "-d", "asked for"]),
        ("/", &["-0"]),
        ("/headers", &["-0", "-I"]),
        ("/", &["-0", "-d", "old"]),
        ("/eof", &["-0"]),
        ("/eof10", &["-0"]),
        ("/chunked", &["--raw", "-0"]),
        ("/", &["-I"]),
        ("/headers", &["-I"]),
        ("/empty", &["-I"]),
        ("/", &["-X", "DELETE"]),
        ("/", &["-X", "OPTIONS", "--request-target", "*"]),
        ("/", &["-X", "PROPFIND"]),
        ("/", &["--request-target", "http://model.local//absolute/%2F?x=%20"]),
        ("/", &["-X", "POST", "-H", "Content-Length: 0"]),
        ("/", &["-X", "POST"]),
        ("/", &["-d", "a=1&b=2"]),
        ("/", &["-X", "PUT", "-H", "Content-Type: application/json", "-d", "{\"a\":1}"]),
        ("/", &["-X", "PATCH", "-H", "Content-Encoding: gzip", "--data-binary", "\u{1f}\u{8b}nonsense"]),
        ("/", &["-X", "GET", "-d", "a body"]),
        ("/", &["-H", "Transfer-Encoding: chunked", "-d", "in chunks"]),
        ("/", &["-X", "GET", "-H", "transfer-encoding: Chunked", "-d", "in chunks, too"]),
        ("/", &["-H", "Expect: 100-continue", "-d", "asked for"]),
        ("/", &["-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", "-d", "asked for"]),
        ("/refuse", &["-H", "Expect: 100-continue", "-d", "not asked for"]),
        ("/v1/models/m:explain", &["-d", "{}"]),
        ("/v1/models/stranger:predict", &["-d", "{}"]),
        ("/v1/models/m:predict", &["-H", "traceparent: 00-aa-bb-01", "-d", "{\"instances\":[[1]]}"]),
    ];
    for (path, arguments) in cases {
        compare(&server, &tapped, path, arguments, &[]).await;
    }
}

#[tokio::test]
async fn what_differs_is_listed() {
    let server = WireServer::start().await;
    let tapped = tap(server.addr).await;
    let predict: &[&str] = &["-d", "{\"instances\":[[1]]}"];
    compare(&server, &tapped, "/v1/models/m:predict", predict, &[Change::Traceparent]).await;
    // Without the setting not even that.
    let plain = tap_with(server.addr, "  traceparent: false\n").await;
    compare(&server, &plain, "/v1/models/m:predict", predict, &[]).await;
}

#[tokio::test]
async fn connections_to_the_model_server_are_reused() {
    let server = WireServer::start().await;
    let tapped = tap(server.addr).await;
    for _ in 0..20 {
        curl(tapped.addr, "/", &["-d", "x"]).await;
    }
    let connections = server.connections();
    assert!(connections <= 3, "{connections} connections for 20 requests one after the other");
    assert_eq!(server.take().len(), 20);
}

#[tokio::test]
async fn curl_over_http2_sees_no_difference() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  traceparent: false\n").await;
    let large = "y".repeat(100_000);
    let cases: &[(&str, &[&str])] = &[
        ("/echo//x?q=%2F&r=a%20b", &["-H", "X-Dup: 1", "-H", "X-Dup: 2", "-H", "TE: trailers"]),
        ("/echo", &["-d", "a body"]),
        ("/echo", &["-d", &large]),
        ("/echo", &["-X", "POST"]),
        ("/echo", &["-X", "DELETE"]),
        ("/empty", &["-I"]),
        ("/headers", &[]),
        ("/204", &[]),
        ("/304", &[]),
        ("/418", &[]),
        ("/empty", &[]),
        ("/chunked", &[]),
        ("/big", &[]),
        ("/trailers", &["-d", "x"]),
        ("/v2/models/m/infer", &["-d", "{\"inputs\":[]}"]),
    ];
    for (path, arguments) in cases {
        let mut arguments = arguments.to_vec();
        arguments.push("--http2-prior-knowledge");
        let direct = read(&curl(server.addr, path, &arguments).await);
        let proxied = read(&curl(tapped.addr, path, &arguments).await);
        assert!(proxied.start.starts_with("HTTP/2 "), "{proxied:?}");
        // The test's own server stamps its answers.
        let undated = |message: Message| Message {
            headers: message.headers.into_iter().filter(|line| name_of(line) != "date").collect(),
            ..message
        };
        assert_eq!(undated(proxied), undated(direct), "{arguments:?} {path}");
    }
    // An upgrade to h2c is left to the model server's other port: the answer comes in HTTP/1.1, and is seen.
    let answer = curl(tapped.addr, "/echo", &["--http2"]).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn grpc_sees_no_difference() {
    let (mut server, addr) = Peer::serve("serve-grpc").await;
    let tapped = tap(addr).await;
    let direct = Peer::call("call-grpc", addr).await;
    let proxied = Peer::call("call-grpc", tapped.addr).await;
    assert_eq!(direct.len(), 12, "{direct:?}");
    assert_eq!(proxied, direct);
    // Both deadlines reached the server.
    for _ in 0..2 {
        assert_eq!(server.line().await, "hanging deadline");
        assert_eq!(server.line().await, "cancelled deadline");
    }
}

#[tokio::test]
async fn a_cancelled_grpc_call_is_cancelled_at_the_model_server() {
    use tokio::io::AsyncWriteExt;

    let (mut server, addr) = Peer::serve("serve-grpc").await;
    let tapped = tap(addr).await;
    let mut client = Peer::start(&["cancel-grpc", &tapped.addr.to_string()]);
    assert_eq!(server.line().await, "hanging cancel");
    client.child.stdin.as_mut().unwrap().write_all(b"now\n").await.unwrap();
    assert_eq!(server.line().await, "cancelled cancel");
    assert_eq!(client.line().await, "cancel StatusCode.CANCELLED");
}

#[tokio::test]
async fn websockets_see_no_difference() {
    let (mut server, addr) = Peer::serve("serve-websocket").await;
    let tapped = tap(addr).await;
    let direct = Peer::call("call-websocket", addr).await;
    let proxied = Peer::call("call-websocket", tapped.addr).await;
    assert_eq!(direct.len(), 8, "{direct:?}");
    assert_eq!(proxied, direct);
    for _ in 0..2 {
        assert_eq!(server.line().await, "closed 4001 enough");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_finds_no_failure_over_either_protocol() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    for protocol in ["--h1", "--no-tls-proto=h2c"] {
        let output = tokio::process::Command::new("h2load")
            .args(["-n", "400", "-c", "4", "-m", "10", protocol])
            .arg(format!("http://{}/echo", tapped.addr))
            .output()
            .await
            .expect("h2load is installed by tests/setup/prerequisites.sh");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("400 succeeded, 0 failed, 0 errored, 0 timeout"), "{protocol}: {text}");
    }
}
