//! Who may do what: tokens and their scopes, sessions of browsers, and what other sites' pages try.

use chrono::TimeDelta;
use driftline::app;
use driftline::store::token::{self, Scope};
use serde_json::json;

use crate::api_support::Sidecar;

/// A port that other machines may reach.
const OPEN_TO_ALL: &str = "0.0.0.0:0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_port_wants_a_token_for_everything_but_probes() {
    let sidecar = Sidecar::listening(OPEN_TO_ALL, "").await;
    let read = sidecar.token("reader", &[Scope::Read]).await;
    let label = sidecar.token("logger", &[Scope::Label]).await;
    let operate = sidecar.token("operator", &[Scope::Operate]).await;
    let said = json!({"reason": "x"});
    let retrain = format!("{}/v1/models/m/retrain", sidecar.admin);
    let get = |path: &str| sidecar.client.get(format!("{}{path}", sidecar.admin));
    for probe in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(sidecar.send(get(probe)).await.status, 200, "{probe}");
    }
    let labels = || sidecar.client.post(format!("{}/v1/labels", sidecar.admin)).body("[]");
    let retrain = || sidecar.client.post(&retrain).json(&said);
    let models = || get("/v1/models");
    // Reading, labelling, operating: without a token, with one that nobody made, and with each scope.
    let made_up = "dlt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    for (token, expected) in [
        (None, [401, 401, 401]),
        (Some(&made_up), [401, 401, 401]),
        (Some(&read), [200, 403, 403]),
        (Some(&label), [403, 400, 403]),
        (Some(&operate), [200, 403, 201]),
    ] {
        for (request, status) in [models(), labels(), retrain()].into_iter().zip(expected) {
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let answer = sidecar.send(request).await;
            assert_eq!(answer.status, status, "{token:?}: {}", answer.text);
        }
    }
    let challenge = sidecar.send(models()).await.headers["www-authenticate"].clone();
    assert_eq!(challenge, "Bearer");
    assert_eq!(sidecar.send(models().basic_auth("anybody", Some(&read))).await.status, 200);
    // Who acted is the token's name.
    let operations = sidecar.send(get("/v1/operations").bearer_auth(&read)).await.body;
    assert_eq!(operations["operations"][0]["by"], "operator");

    let now = app::now();
    let listed = token::list(&sidecar.pool, false, now).await.unwrap();
    assert!(listed.iter().all(|token| token.last_used_at.is_some()), "{listed:?}");
    token::revoke(&sidecar.pool, "reader", now).await.unwrap();
    assert_eq!(sidecar.send(models().bearer_auth(&read)).await.status, 401);
    let short =
        sidecar.token_until("short", &[Scope::Read], Some(now + TimeDelta::milliseconds(1_500))).await;
    assert_eq!(sidecar.send(models().bearer_auth(&short)).await.status, 200);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(sidecar.send(models().bearer_auth(&short)).await.status, 401);
    // Nothing in the database is a token.
    let (dump,): (String,) = sqlx::query_as("select coalesce(string_agg(t::text, ' '), '') from api_token t")
        .fetch_one(&sidecar.pool)
        .await
        .unwrap();
    assert!(dump.contains("operator") && !dump.contains(&operate) && !dump.contains("dlt_"), "{dump}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_open_reads_and_close_probes() {
    let open = Sidecar::listening(OPEN_TO_ALL, "admin: {open_reads: true, open_probes: false}\n").await;
    assert_eq!(open.get("/v1/models").await.status, 200);
    assert_eq!(open.get("/metrics").await.status, 200, "reads are open");
    assert_eq!(open.post("/v1/models/m/retrain", &json!({"reason": "x"})).await.status, 401);
    open.stop().await;
    let closed = Sidecar::start("admin: {require_token: true, open_probes: false}\n").await;
    for path in ["/metrics", "/livez", "/v1/models", "/openapi.json"] {
        assert_eq!(closed.get(path).await.status, 401, "{path}");
    }
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sites_pages_reach_nothing() {
    let sidecar = Sidecar::start("admin: {hosts: [drift.example.com]}\n").await;
    let port = sidecar.admin.rsplit(':').next().unwrap().to_owned();
    let retrain = |headers: &[(&str, String)]| {
        let request = sidecar.client.post(format!("{}/v1/models/n/retrain", sidecar.admin));
        headers.iter().fold(request.json(&json!({"reason": "x"})), |request, (name, value)| {
            request.header(*name, value)
        })
    };
    // 409: it was let in, and `n` has no settings for training.
    for (headers, status) in [
        (vec![], 409),
        (vec![("origin", sidecar.admin.clone())], 409),
        (vec![("sec-fetch-site", "same-origin".to_owned())], 409),
        (vec![("origin", "https://evil.example".to_owned())], 403),
        (vec![("origin", "null".to_owned())], 403),
        (vec![("sec-fetch-site", "cross-site".to_owned())], 403),
        (vec![("sec-fetch-site", "same-site".to_owned())], 403),
        (vec![("host", format!("localhost:{port}"))], 409),
        (vec![("host", "drift.example.com".to_owned())], 409),
        (vec![("host", format!("evil.example:{port}"))], 421),
    ] {
        let answer = sidecar.send(retrain(&headers)).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
    }
    let rebound = sidecar.client.get(format!("{}/v1/models", sidecar.admin)).header("host", "evil.example");
    assert_eq!(sidecar.send(rebound).await.status, 421);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_logs_in_with_a_token_and_out_again() {
    let sidecar = Sidecar::listening(OPEN_TO_ALL, "").await;
    let token = sidecar.token("ann", &[Scope::Operate]).await;
    let url = |path: &str| format!("{}{path}", sidecar.admin);
    let page = sidecar.client.get(url("/docs?x=1")).header("accept", "text/html,*/*");
    let sent = sidecar.send(page).await;
    assert_eq!(
        (sent.status, &sent.headers["location"]),
        (303, &"/login?next=/docs%3Fx%3D1".parse().unwrap())
    );
    let form = sidecar.get("/login?next=/docs").await;
    assert!(form.status == 200 && form.text.contains("name=\"next\" value=\"/docs\""), "{}", form.text);

    let login = |token: &str| {
        let body = format!("token={token}&next=%2Fdocs");
        sidecar
            .client
            .post(url("/login"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    };
    let stranger = login(&token).header("sec-fetch-site", "cross-site");
    assert_eq!(sidecar.send(stranger).await.status, 403);
    let entered = sidecar.send(login(&token)).await;
    assert_eq!((entered.status, &entered.headers["location"]), (303, &"/docs".parse().unwrap()));
    let cookie = entered.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(&token));
    let session = cookie.split(';').next().unwrap().to_owned();
    let with = |request: reqwest::RequestBuilder| request.header("cookie", &session);
    assert_eq!(sidecar.send(with(sidecar.client.get(url("/v1/models")))).await.status, 200);
    // A cookie alone changes nothing: the browser has to say that the page is ours.
    let retrain = || with(sidecar.client.post(url("/v1/models/n/retrain")).json(&json!({"reason": "x"})));
    assert_eq!(sidecar.send(retrain()).await.status, 403);
    assert_eq!(sidecar.send(retrain().header("sec-fetch-site", "same-origin")).await.status, 409);

    let logout = |csrf: &str| {
        let request = with(sidecar.client.post(url("/logout"))).header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("csrf={csrf}"))
    };
    assert_eq!(sidecar.send(logout("")).await.status, 403, "a form without what the page put in it");
    let secret = session.split_once('=').unwrap().1;
    let csrf = driftline::retrain::artifact::sha256(format!("driftline csrf\n{secret}").as_bytes());
    assert_eq!(sidecar.send(logout(&csrf)).await.status, 303);
    assert_eq!(sidecar.send(with(sidecar.client.get(url("/v1/models")))).await.status, 401);

    // Revoking a token ends its sessions.
    let again = sidecar.send(login(&token)).await.headers["set-cookie"].to_str().unwrap().to_owned();
    token::revoke(&sidecar.pool, "ann", app::now()).await.unwrap();
    let ended = sidecar.client.get(url("/v1/models")).header("cookie", again.split(';').next().unwrap());
    assert_eq!(sidecar.send(ended).await.status, 401);
    // Whoever guesses waits, with a good token, too.
    let good = sidecar.token("bob", &[Scope::Read]).await;
    for _ in 0..5 {
        assert_eq!(sidecar.send(login("dlt_guess")).await.status, 401);
    }
    let held = sidecar.send(login(&good)).await;
    assert_eq!(held.status, 429);
    assert!(held.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 60);
    sidecar.stop().await;
}
