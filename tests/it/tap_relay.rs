//! What a relay of bytes must not get wrong: order, connections that are used again, and who ends what.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tap_support::{ModelServer, body_of, post, raw, tap, tap_with};
use crate::tap_wire::WireServer;

const PREDICT: &str = r#"{"instances":[[1]]}"#;

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

async fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, end: &[u8]) {
    while !seen.windows(end.len()).any(|window| window == end) {
        assert!(stream.read_buf(seen).await.unwrap() > 0, "{}", text(seen));
    }
}

/// A prediction on a connection that stays open.
fn predict(model: &str) -> Vec<u8> {
    let head = format!(
        "POST /v1/models/{model}:predict HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        PREDICT.len()
    );
    [head.as_bytes(), PREDICT.as_bytes()].concat()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let mut requests = String::new();
    for i in 0..30 {
        let body = "x".repeat(i * 100);
        if i % 3 == 0 {
            write!(
                requests,
                "POST /echo?{i} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}y\r\n0\r\n\r\n",
                body.len() + 1
            )
            .unwrap();
        } else {
            let length = body.len();
            write!(requests, "POST /echo?{i} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
                .unwrap();
        }
    }
    requests.push_str("GET /418 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = text(&raw(tapped.addr, requests.as_bytes()).await);
    let targets: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("POST /echo?")).collect();
    let expected: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    assert_eq!(targets, expected);
    assert!(answer.ends_with("short and stout"), "{answer}");
    for i in 0..30 {
        assert!(answer.contains(&format!("\n{} bytes", i * 100 + usize::from(i % 3 == 0))), "{i}: {answer}");
    }
}

#[tokio::test]
async fn a_request_that_trickles_in_is_the_same_request() {
    let server = WireServer::start().await;
    let tapped = tap_with(server.addr, "  traceparent: false\n").await;
    let chunked = "POST /v1/models/m:predict HTTP/1.1\r\nhost: h\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n{\"ins\r\ne\r\ntances\":[[1]]}\r\n0\r\n\r\n";
    for request in [predict("m"), chunked.as_bytes().to_vec()] {
        let mut client = TcpStream::connect(tapped.addr).await.unwrap();
        client.set_nodelay(true).unwrap();
        for byte in &request {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        read_until(&mut client, &mut answer, br#"{"predictions":[1]}"#).await;
        assert_eq!(text(&server.take()[0]), text(&request));
    }
    assert_eq!(server.connections(), 1);
    let decoded = tapped.decode_all();
    assert_eq!(decoded.len(), 2);
    assert!(decoded.iter().all(|one| one.exchange.batch.rows == 1), "chunks are no part of what was copied");
}

#[tokio::test]
async fn an_answer_that_trickles_in_is_the_same_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let answers = [
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 19\r\n\r\n{\"predictions\":[1]}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3 ;a\r\n{\"p\r\n10\r\nredictions\":[1]}\r\n0\r\nX-Sum: 1\r\n\r\n",
    ];
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for answer in answers {
            read_until(&mut stream, &mut Vec::new(), PREDICT.as_bytes()).await;
            for byte in answer.as_bytes() {
                stream.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        stream.read_u8().await.unwrap_err();
    });
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    for answer in answers {
        client.write_all(&predict("m")).await.unwrap();
        let mut seen = Vec::new();
        read_until(&mut client, &mut seen, &answer.as_bytes()[answer.len() - 9..]).await;
        assert_eq!(text(&seen), answer);
    }
    let decoded = tapped.decode_all();
    assert_eq!(decoded.iter().map(|one| one.exchange.batch.outputs.len()).collect::<Vec<_>>(), [1, 1]);
}

/// Servers close connections that are idle; a request is then sent over another one, and sent once.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    for round in 0..20 {
        client.write_all(&predict("m")).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        read_until(&mut server, &mut Vec::new(), PREDICT.as_bytes()).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"predictions\":[1]}";
        server.write_all(answer.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        read_until(&mut client, &mut seen, br#"{"predictions":[1]}"#).await;
        assert_eq!(text(&seen), answer, "{round}");
        if round % 2 == 0 {
            // What nobody asked for makes a connection as useless as its end does.
            server.write_all(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n").await.unwrap();
        }
        drop(server);
    }
    assert_eq!(tapped.decode_all().len(), 20);
}

#[tokio::test]
async fn a_request_that_was_sent_is_never_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(&predict("m")).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    read_until(&mut server, &mut Vec::new(), PREDICT.as_bytes()).await;
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
    let mut answer = Vec::new();
    read_until(&mut client, &mut answer, b"\r\n\r\n{}").await;
    // The connection is used again, and breaks under the second request.
    client.write_all(&predict("m")).await.unwrap();
    read_until(&mut server, &mut Vec::new(), PREDICT.as_bytes()).await;
    drop(server);
    answer.clear();
    read_until(&mut client, &mut answer, b"\r\n\r\n").await;
    assert!(text(&answer).starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{}", text(&answer));
    assert!(text(&answer).contains("x-driftline-error: upstream_reset\r\n"), "{}", text(&answer));
    // Whatever was to come would have come before the answer.
    let again = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(again.is_err(), "{again:?}");
    let losses = tapped.settled_or_nothing("m");
    assert_eq!(losses, (2, 1));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_passes_and_ends_the_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    let head = "POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n{";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    read_until(&mut server, &mut request, b"\r\n\r\n{").await;
    server.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413") && body_of(&answer) == b"no", "{}", text(&answer));
    // Both the rest of the request and this connection are of no use to the model server.
    server.read_to_end(&mut request).await.unwrap();
    // The client may go on sending for a while, and is not reset.
    client.write_all(&[b' '; 10_000]).await.unwrap();
    drop(client);
    tapped.dropped("m", "error_status").await;
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client
        .write_all(b"POST /duplex HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    read_until(&mut server, &mut request, b"\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for turn in 0..10 {
        let (asked, said) = (format!("4\r\nask{turn}\r\n"), format!("4\r\nsay{turn}\r\n"));
        client.write_all(asked.as_bytes()).await.unwrap();
        read_until(&mut server, &mut request, asked.as_bytes()).await;
        server.write_all(said.as_bytes()).await.unwrap();
        read_until(&mut client, &mut answer, said.as_bytes()).await;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut server, &mut request, b"0\r\n\r\n").await;
    server.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut client, &mut answer, b"0\r\n\r\n").await;
    // Both connections are as good as before.
    client.write_all(b"GET /again HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_until(&mut server, &mut request, b"GET /again").await;
}

#[tokio::test]
async fn the_model_server_sees_that_an_upload_was_broken_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    let request = post("/v1/models/m:predict", "", PREDICT);
    client.write_all(&request[..request.len() - 3]).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    read_until(&mut server, &mut seen, b"instances").await;
    drop(client);
    server.read_to_end(&mut seen).await.unwrap();
    assert!(!seen.ends_with(PREDICT.as_bytes()));
    tapped.dropped("m", "client_disconnected").await;
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once_and_others_after_their_answer() {
    let mut server = ModelServer::start().await;
    let mut tapped = tap(server.addr).await;
    let mut idle = TcpStream::connect(tapped.addr).await.unwrap();
    idle.write_all(b"GET /418 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    read_until(&mut idle, &mut answer, b"stout").await;
    let mut busy = TcpStream::connect(tapped.addr).await.unwrap();
    busy.write_all(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    tapped.shutdown.cancel();
    idle.read_to_end(&mut answer).await.unwrap();
    frames.send(Ok(hyper::body::Frame::data("data: last\n\n".into()))).unwrap();
    drop(frames);
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).await.unwrap();
    let answer = text(&answer);
    assert!(answer.contains("connection: close\r\n") && answer.contains("data: last"), "{answer}");
    tapped.running.join_next().await.unwrap().unwrap();
}
