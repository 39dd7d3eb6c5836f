//! A client sees the same bytes with the tap as without it.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tap_support::{ModelServer, body_of, post, raw, tap};

/// Start line and headers sorted, without the date, and the body.
fn normal(answer: &[u8]) -> (Vec<String>, Vec<u8>) {
    // Whether there is an interim answer depends on how much of the request the server had read.
    let answer = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    let body = body_of(answer);
    let head = String::from_utf8_lossy(&answer[..answer.len() - body.len()]).into_owned();
    let mut lines: Vec<String> = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("date:"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    (lines, body.to_vec())
}

#[tokio::test]
async fn direct_and_proxied_answers_are_the_same_bytes() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let get = |method: &str, path: &str, version: &str, headers: &str| {
        format!("{method} {path} HTTP/{version}\r\nHost: model.local\r\nConnection: close\r\n{headers}\r\n")
            .into_bytes()
    };
    let large = "y".repeat(3 << 20);
    let requests = [
        get("GET", "/", "1.1", ""),
        get("GET", "//double//slash?q=a%20b&r=%2F", "1.1", ""),
        get("GET", "/v2/models/a%2Fb:x/ready?x=1", "1.1", ""),
        get("GET", "/headers", "1.1", ""),
        get("GET", "/204", "1.1", ""),
        get("GET", "/304", "1.1", "If-None-Match: \"x\"\r\n"),
        get("GET", "/418", "1.1", ""),
        get("GET", "/empty", "1.1", ""),
        get("GET", "/chunked", "1.1", ""),
        get("GET", "/chunked", "1.0", ""),
        get("GET", "/", "1.0", ""),
        get("HEAD", "/", "1.1", ""),
        get("HEAD", "/big", "1.1", ""),
        get("GET", "/big", "1.1", ""),
        get("DELETE", "/thing", "1.1", ""),
        get("OPTIONS", "/", "1.1", "Origin: http://o\r\n"),
        get("GET", "/", "1.1", "X-Dup: 1\r\nX-Dup: 2\r\nX-Request-Id: r\r\ntraceparent: 00-aa-bb-01\r\n"),
        get("GET", "/", "1.1", &format!("X-Large: {}\r\n", "z".repeat(60_000))),
        post("/", "", ""),
        post("/", "Content-Type: application/json\r\n", r#"{"a":1}"#),
        post("/", "Expect: 100-continue\r\n", "with a body"),
        post("/", "", &large),
        post("/v2/models/m/infer", "", r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#),
        post("/v2/models/m/infer", "", "not json"),
        post("/v1/models/m:predict", "", r#"{"instances":[[1]]}"#),
        post("/v2/models/stranger/infer", "", "{}"),
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            .to_vec(),
    ];
    for request in requests {
        let (direct, proxied) = (raw(server.addr, &request).await, raw(tapped.addr, &request).await);
        let shown = String::from_utf8_lossy(&request[..request.len().min(120)]);
        let ((direct_head, direct_body), (head, body)) = (normal(&direct), normal(&proxied));
        assert_eq!(head, direct_head, "{shown}");
        assert!(body == direct_body, "{shown}: bodies differ");
    }
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_continue() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let mut stream = TcpStream::connect(tapped.addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut interim = vec![0; expected.len()];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(interim, expected);
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("expect: 100-continue") && answer.contains("4 bytes"), "{answer}");
}

#[tokio::test]
async fn trailers_pass_over_http2() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::post(format!("http://{}/trailers", tapped.addr))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\x01x")))
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), &b"\0\0\0\0\x01x"[..]);
    let request = Request::get(format!("http://{}/echo", tapped.addr)).header("te", "trailers");
    let response = client.request(request.body(Full::default()).unwrap()).await.unwrap();
    let echoed =
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(echoed.contains("te: trailers"), "{echoed}");
}

#[tokio::test]
async fn the_first_event_of_a_stream_arrives_before_the_second_is_made() {
    let mut server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    let mut seen = Vec::new();
    for event in ["data: first\n\n", "data: second\n\n"] {
        frames.send(Ok(Frame::data(Bytes::from(event)))).unwrap();
        // Only what was sent so far can end this loop: the next event is made after it.
        while !String::from_utf8_lossy(&seen).contains(event) {
            assert!(client.read_buf(&mut seen).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client
        .write_all(b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: echo"), "{head}");
}
