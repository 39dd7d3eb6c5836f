//! A list of requests, sent once to the model server and once through driftline, by clients not written here: both
//! sides see the same bytes, but for what is listed in [`Change`].

use crate::tap_support::{ModelServer, Tapped, tap, tap_with};
use crate::tap_wire::{Peer, WireServer, curl, head_end};

/// Everything that a proxy between the two changes, and why. Nothing else may differ, but for what is no part of a
/// message and always left out ([`read`]): headers of one connection, where chunks begin, blanks around a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Headers of one name stay in their order; headers of other names between them come after.
    Grouped,
    /// HTTP/1.1 answers that end with their connection are chunked, so that the client's can stay open.
    EndMadeExplicit,
    /// `Transfer-Encoding` of an answer to HEAD says nothing and is left out.
    HeadFraming,
    /// Clients of HTTP/1.0 get an answer that calls itself HTTP/1.0.
    Version,
    /// Names of trailers are in lower case.
    TrailerCase,
    /// Trailers reach only those who say that they take them (`TE: trailers`), in HTTP/1.
    NoTrailers,
    /// Interim answers but `100 Continue` are not passed on.
    Interim,
    /// The one header that is added to predictions without it, last (`tap.traceparent`).
    Traceparent,
}

/// Headers of one connection; both hops manage their own.
const CONNECTION: [&str; 2] = ["connection", "keep-alive"];

/// Start line and headers in order and as spelled, and the body without its chunks.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    start: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

fn name_of(line: &str) -> String {
    line.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

/// Reads one message; `dechunk` where the bytes are as on the wire.
fn read(bytes: &[u8], dechunk: bool) -> Message {
    let end = head_end(bytes).expect("a message has a head");
    let text: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let start = lines.next().unwrap().to_owned();
    let headers: Vec<String> = lines
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !CONNECTION.contains(&name_of(line).as_str()))
        .collect();
    let chunked = headers.iter().any(|line| name_of(line) == "transfer-encoding");
    let body = if chunked && dechunk { dechunked(&bytes[end..]) } else { bytes[end..].to_vec() };
    Message { start, headers, body }
}

/// The content of chunks, and what follows them (trailers) as it is.
fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = std::str::from_utf8(&bytes[..end]).unwrap().split(';').next().unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            content.extend_from_slice(bytes);
            return content;
        }
        content.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

/// Undoes the listed changes on the direct side: what a client or server behind the proxy should see.
fn changed(mut message: Message, changes: &[Change]) -> Message {
    for change in changes {
        match change {
            Change::Interim => {}
            Change::Grouped => {
                let mut grouped: Vec<String> = Vec::new();
                for line in &message.headers {
                    let after = grouped.iter().rposition(|other| name_of(other) == name_of(line));
                    grouped.insert(after.map_or(grouped.len(), |at| at + 1), line.clone());
                }
                message.headers = grouped;
            }
            Change::EndMadeExplicit => message.headers.push("transfer-encoding: chunked".to_owned()),
            Change::HeadFraming => message.headers.retain(|line| name_of(line) != "transfer-encoding"),
            Change::TrailerCase | Change::NoTrailers => {
                let content = message.body.iter().position(u8::is_ascii_uppercase).unwrap();
                let trailers = message.body.split_off(content);
                if *change == Change::TrailerCase {
                    message.body.extend(trailers.to_ascii_lowercase());
                }
            }
            Change::Version => message.start = message.start.replace("HTTP/1.1", "HTTP/1.0"),
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
    let of_request = [Change::Grouped, Change::Traceparent];
    let of_request: Vec<Change> = changes.iter().copied().filter(|one| of_request.contains(one)).collect();
    let of_answer: Vec<Change> = changes.iter().copied().filter(|one| *one != Change::Traceparent).collect();
    let mut seen = read(&proxied_seen[0], true);
    for line in &mut seen.headers {
        if line.starts_with("traceparent: 00-") && line.len() == "traceparent: ".len() + 55 {
            "traceparent: *".clone_into(line);
        }
    }
    assert_eq!(seen, changed(read(&direct_seen[0], true), &of_request), "{what}: the model server");
    // curl has undone the chunks; interim answers stand before the final one.
    let interim = |answer: &[u8]| {
        let mut heads = 0;
        let mut rest = answer;
        while rest.starts_with(b"HTTP/1.1 1") {
            heads += usize::from(rest.starts_with(b"HTTP/1.1 100"));
            rest = &rest[head_end(rest).unwrap()..];
        }
        (heads, read(rest, false))
    };
    let ((direct_interim, direct), (proxied_interim, proxied)) = (interim(&direct), interim(&proxied));
    assert_eq!(proxied_interim, direct_interim, "{what}: interim answers");
    assert_eq!(proxied, changed(direct, &of_answer), "{what}: the client");
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
    let cases: &[(&str, &[&str], &[Change])] = &[
        ("/", &["-H", "X-Dup: 1", "-H", "X-Other: o", "-H", "x-dup: 2"], &[Change::Grouped]),
        ("/headers", &[], &[]),
        ("/eof", &[], &[Change::EndMadeExplicit]),
        ("/chunked", &["-I"], &[Change::HeadFraming]),
        ("/hints", &[], &[Change::Interim]),
        ("/trailers", &["-H", "TE: trailers"], &[Change::TrailerCase]),
        ("/trailers", &[], &[Change::NoTrailers]),
        ("/", &["-0"], &[Change::Version]),
        ("/headers", &["-0", "-I"], &[Change::Version]),
        ("/", &["-0", "-d", "old"], &[Change::Version]),
        ("/eof", &["-0"], &[Change::Version]),
        ("/eof10", &["-0"], &[]),
        ("/v1/models/m:predict", &["-d", "{\"instances\":[[1]]}"], &[Change::Traceparent]),
    ];
    for (path, arguments, changes) in cases {
        compare(&server, &tapped, path, arguments, changes).await;
    }
    // Without the setting not even that.
    let plain = tap_with(server.addr, "  traceparent: false\n").await;
    compare(&server, &plain, "/v1/models/m:predict", &["-d", "{\"instances\":[[1]]}"], &[]).await;
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
        let direct = read(&curl(server.addr, path, &arguments).await, false);
        let proxied = read(&curl(tapped.addr, path, &arguments).await, false);
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
