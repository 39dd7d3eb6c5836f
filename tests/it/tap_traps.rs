//! What real clients and model servers are known to do to a proxy, one test each, by the number of the list of traps.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tap_support::{ModelServer, body_of, post, raw, shared, tap};
use crate::tap_wire::{WireServer, curl};

const PREDICT: &str = r#"{"instances":[[1]]}"#;

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

async fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, end: &[u8]) {
    while !seen.windows(end.len()).any(|window| window == end) {
        assert!(stream.read_buf(seen).await.unwrap() > 0, "{}", text(seen));
    }
}

/// A reset after a good status, with what came before it. The rest of 42 is in `tap_bodies` and `tap_faults`.
#[tokio::test]
async fn trap_42_what_came_before_a_reset_reaches_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            read_until(&mut stream, &mut request, PREDICT.as_bytes()).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"predictions\":")
                .await
                .unwrap();
        }
    });
    for _ in 0..20 {
        let mut client = TcpStream::connect(tapped.addr).await.unwrap();
        client.write_all(&post("/v1/models/m:predict", "", PREDICT)).await.unwrap();
        let mut answer = Vec::new();
        let _ended = client.read_to_end(&mut answer).await;
        assert!(
            answer.is_empty()
                || answer.starts_with(b"HTTP/1.1 200 OK\r\n")
                || answer.starts_with(b"HTTP/1.1 502")
        );
    }
    let losses = tapped.settled("m").await.losses;
    assert_eq!((losses.seen, losses.dropped["upstream_reset"]), (20, 20));
}

/// The client is told to go on when the model server says so, and not before.
#[tokio::test]
async fn trap_43_continue_comes_from_the_model_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    // It asks for the body.
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    read_until(&mut server, &mut request, b"\r\n\r\n").await;
    assert!(text(&request).contains("Expect: 100-continue"), "{}", text(&request));
    let nothing = client.try_read_buf(&mut answer);
    assert!(nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    read_until(&mut client, &mut answer, b"HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"body").await.unwrap();
    read_until(&mut server, &mut request, b"body").await;
    server.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    read_until(&mut client, &mut answer, b"\r\n\r\nok").await;
    // It refuses the body, which is never sent: the client gets the answer and no `100`.
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    request.clear();
    read_until(&mut server, &mut request, b"\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    answer.clear();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 401 Unauthorized\r\n") && body_of(&answer) == b"no",
        "{}",
        text(&answer)
    );
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(body_of(&request), b"");
}

/// A model server that does not know `Expect` gets the body when the client has waited long enough.
#[tokio::test]
async fn trap_43_a_silent_model_server_gets_the_body_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    read_until(&mut server, &mut Vec::new(), b"\r\n\r\nbody").await;
}

/// HTTP/1.1, h2c by prior knowledge, HTTP/1.0, HEAD, 204 and what ends with its connection, all on one port.
#[tokio::test]
async fn trap_43_all_protocols_share_one_port() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    for (path, arguments, start) in [
        ("/echo", vec!["--http1.1"], "HTTP/1.1 200"),
        ("/echo", vec!["--http2-prior-knowledge"], "HTTP/2 200"),
        ("/echo", vec!["--http1.0"], "HTTP/1.0 200"),
        ("/empty", vec!["-I"], "HTTP/1.1 200"),
        ("/204", vec![], "HTTP/1.1 204"),
        ("/chunked", vec!["--http1.0"], "HTTP/1.0 200"),
    ] {
        let answer = text(&curl(tapped.addr, path, &arguments).await);
        assert!(answer.starts_with(start), "{path} {arguments:?}: {answer}");
        assert!(path != "/chunked" || answer.ends_with("one,two,three"), "{answer}");
    }
}

/// HTTP/1.0 clients that ask for it keep their connection.
#[tokio::test]
async fn trap_43_keep_alive_of_http10() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    for _ in 0..3 {
        client.write_all(b"GET /418 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        read_until(&mut client, &mut answer, b"short and stout").await;
        assert!(text(&answer).contains("connection: keep-alive"), "{}", text(&answer));
    }
}

/// Encoded names are found under their model and reach the model server as they were sent.
#[tokio::test]
async fn trap_44_encoded_names_double_slashes_and_queries() {
    let server = WireServer::start().await;
    let tapped = tap(server.addr).await;
    for target in [
        "/v1/models/%6D:predict?a=%2F&b=c%20d",
        "/v1/models/m%3Apredict",
        "/v2/models/m/versions/1%2E0/infer?",
    ] {
        raw(tapped.addr, &post(target, "", PREDICT)).await;
        let seen = text(&server.take()[0]);
        assert!(seen.starts_with(&format!("POST {target} HTTP/1.1\r\n")), "{seen}");
    }
    raw(tapped.addr, &post("//v1/models/m:predict", "", PREDICT)).await;
    assert!(text(&server.take()[0]).starts_with("POST //v1/models/m:predict "));
    assert_eq!(tapped.settled_or_nothing("m").0, 3, "another path is another resource");
}

/// Loggers that open a connection per event: each is taken, and the model server is spared them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_45_a_connection_per_event() {
    let server = shared(WireServer::start().await);
    let tapped = tap(server.addr).await;
    let addr = tapped.addr;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            for _ in 0..100 {
                let answer = raw(addr, &post("/v1/models/m:predict", "", PREDICT)).await;
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(tapped.settled_or_nothing("m").0, 800);
    let connections = server.connections();
    assert!(connections < 400, "{connections} connections to the model server for 800 of clients");
}

/// Model servers repeat the input in their errors: those bodies pass and are never copied.
#[tokio::test]
async fn trap_46_error_bodies_are_never_copied() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        for status in ["400 Bad Request", "500 Internal Server Error", "302 Found"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            read_until(&mut stream, &mut request, PREDICT.as_bytes()).await;
            let secret = "{\"error\":\"cannot read secret-4711\"}";
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{secret}",
                secret.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..3 {
        let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
        assert!(text(&answer).ends_with("secret-4711\"}"), "{}", text(&answer));
    }
    let losses = tapped.settled("m").await.losses;
    assert_eq!((losses.seen, losses.dropped["error_status"]), (3, 3));
    assert!(tapped.decode_all().is_empty());
    assert!(tapped.metric("driftline_tap_queue_bytes") < 1.0);
}
