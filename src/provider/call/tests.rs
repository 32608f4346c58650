//! Every way a token call can end on the wire, and what it is taken for.

use std::{fs, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    base::{clock::SystemClock, lifecycle::Lifecycle},
    provider::scripted::{
        DATE, OUR_NOW, Play, Scripted, answer, calls, calls_within, name, outcome, printed,
        read_request,
    },
};

/// Where silence is waited out: short enough to wait for, and half of it is long enough for a
/// loopback connection on a busy machine.
const SOON: Duration = Duration::from_secs(1);

async fn call(calls: &Calls, server: &Scripted) -> Result<Answer, CallError> {
    let url = Url::parse(&format!("http://{}/token", server.address)).unwrap();
    let request = calls.post(url).body("refresh_token=SENTINEL");
    calls.send(&name("calcom"), request).await
}

async fn plays(play: Play) -> String {
    let calls = match play {
        Play::Hang(_) => calls_within(SOON),
        _ => calls(),
    };
    let server = Scripted::start(vec![play]).await;
    let outcome = outcome(call(&calls, &server).await);
    server.only();
    outcome
}

#[tokio::test]
async fn a_refused_connection_spent_nothing() {
    let calls = calls();
    // Nobody listens on port 1.
    let request = calls.post(Url::parse("http://127.0.0.1:1/token").unwrap());
    let error = calls.send(&name("calcom"), request).await.unwrap_err();
    assert!(!error.may_have_spent());
    assert_eq!(outcome::<()>(Err(error)), "not sent");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_spent_nothing() {
    let calls = calls();
    // A label of 64 letters: no resolver needs to ask anybody.
    let url = format!("https://{}.invalid/token", "a".repeat(64));
    let request = calls.post(Url::parse(&url).unwrap());
    let result = calls.send(&name("calcom"), request).await;
    assert_eq!(outcome(result), "not sent");
}

#[tokio::test]
async fn a_peer_that_never_finishes_the_handshake_spent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calls = calls_within(SOON);
    let request = calls.post(Url::parse(&format!("https://{address}/token")).unwrap());
    let result = calls.send(&name("calcom"), request).await;
    assert_eq!(outcome(result), "not sent");
    drop(listener);
}

#[tokio::test]
async fn silence_after_the_request_may_have_spent_it() {
    assert_eq!(
        plays(Play::Hang(Vec::new())).await,
        "ambiguous: no answer in time"
    );
}

#[tokio::test]
async fn a_body_that_never_ends_may_have_spent_it() {
    let mut bytes = answer(200, "application/json", "{\"access_token\":\"a\"}");
    bytes.truncate(bytes.len() - 4);
    assert_eq!(
        plays(Play::Hang(bytes)).await,
        "ambiguous: no answer in time"
    );
}

#[tokio::test]
async fn a_broken_connection_may_have_spent_it() {
    let broken = "ambiguous: the connection broke after the request was sent";
    assert_eq!(plays(Play::Reset).await, broken);
    assert_eq!(plays(Play::Answer(Vec::new())).await, broken);
    assert_eq!(plays(Play::Answer(b"HTTP/1.1 20".to_vec())).await, broken);
    for status in [200, 400, 401, 404] {
        let mut cut = answer(status, "application/json", "{\"error\":\"invalid_grant\"}");
        cut.truncate(cut.len() - 4);
        assert_eq!(plays(Play::Answer(cut)).await, broken, "{status}");
    }
}

#[tokio::test]
async fn what_is_not_http_may_have_spent_it() {
    let broken = "ambiguous: the connection broke after the request was sent";
    assert_eq!(
        plays(Play::Answer(b"SSH-2.0-x\r\n\r\n".to_vec())).await,
        broken
    );
}

#[tokio::test]
async fn a_server_error_may_have_spent_it() {
    for status in [500, 502, 503, 504, 524] {
        let outcome = plays(Play::Answer(answer(status, "text/html", "<h1>no</h1>"))).await;
        assert!(
            outcome.starts_with(&format!("ambiguous: status {status}")),
            "{outcome}"
        );
    }
}

#[tokio::test]
async fn too_many_calls_is_a_matter_of_waiting() {
    let limited = |headers: &str| {
        format!(
            "HTTP/1.1 429 No\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{headers}content-length: 0\r\n\r\n"
        )
        .into_bytes()
    };
    for (headers, expected) in [
        ("", "limited: None"),
        ("retry-after: 7\r\n", "limited: Some(7s)"),
        (
            "retry-after: Sun, 06 Nov 1994 08:50:37 GMT\r\n",
            "limited: Some(60s)",
        ),
        ("x-ratelimit-reset-default: 42\r\n", "limited: Some(42s)"),
    ] {
        assert_eq!(plays(Play::Answer(limited(headers))).await, expected);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let redirect = "HTTP/1.1 307 Away\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let server = Scripted::start(vec![
        Play::Answer(redirect.as_bytes().to_vec()),
        Play::Answer(answer(200, "application/json", "{}")),
    ])
    .await;
    let answer = call(&calls(), &server).await.unwrap();
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    server.only();
}

#[tokio::test]
async fn each_call_has_a_connection_of_its_own() {
    let ok = Play::Hang(answer(200, "application/json", "{}"));
    let server = Scripted::start(vec![ok.clone(), ok]).await;
    let calls = calls();
    // The script's first connection stays open until the caller closes it: were it kept and used
    // again, the second call would never be read.
    for _ in 0..2 {
        assert_eq!(outcome(call(&calls, &server).await), "ok");
    }
}

#[tokio::test]
async fn an_endless_body_is_not_kept() {
    let long = "x".repeat(MAX_BODY_BYTES + 1);
    let server = Scripted::answering(answer(200, "text/plain", &long)).await;
    assert!(call(&calls(), &server).await.unwrap().body.is_empty());
    let fitting = "x".repeat(MAX_BODY_BYTES);
    let server = Scripted::answering(answer(200, "text/plain", &fitting)).await;
    assert_eq!(
        call(&calls(), &server).await.unwrap().body.len(),
        MAX_BODY_BYTES
    );
}

#[tokio::test]
async fn the_answer_is_dated_by_the_provider_or_else_by_our_clock() {
    let server = Scripted::answering(answer(200, "text/plain", "")).await;
    assert_eq!(call(&calls(), &server).await.unwrap().at, DATE);
    let undated = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    let server = Scripted::answering(undated).await;
    assert_eq!(call(&calls(), &server).await.unwrap().at, OUR_NOW);
}

#[tokio::test]
async fn the_request_says_who_calls_and_what_it_takes() {
    let server = Scripted::answering(answer(200, "text/plain", "")).await;
    call(&calls(), &server).await.unwrap();
    let seen = server.only();
    let agent = concat!("daypass/", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.header("user-agent"), Some(agent));
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("referer"), None);
}

#[tokio::test]
async fn transport_errors_print_no_address() {
    for play in [Play::Reset, Play::Hang(Vec::new())] {
        let server = Scripted::start(vec![play]).await;
        let calls = calls_within(SOON);
        let url = format!("http://{}/SENTINEL?SENTINEL", server.address);
        let request = calls.post(Url::parse(&url).unwrap()).body("SENTINEL");
        let error = calls.send(&name("calcom"), request).await.unwrap_err();
        assert!(!printed(&error).contains("SENTINEL"), "{}", printed(&error));
    }
    let calls = calls();
    let request = calls.post(Url::parse("http://127.0.0.1:1/SENTINEL").unwrap());
    let error = calls.send(&name("calcom"), request).await.unwrap_err();
    assert!(!printed(&error).contains("SENTINEL"), "{}", printed(&error));
}

/// Calls a TLS server that calls itself `server_name`, trusting it or not.
async fn over_tls(server_name: &str, trusted: bool) -> (String, usize) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![server_name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), cert.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/token", listener.local_addr().unwrap());
    let served = Lifecycle::new().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return 0;
        };
        read_request(&mut stream).await;
        let bytes = answer(200, "application/json", "{}");
        stream.write_all(&bytes).await.unwrap();
        1
    });
    let trust = trusted.then(|| ca.path());
    let calls = Calls::new(trust, Duration::from_secs(20), Arc::new(SystemClock)).unwrap();
    let request = calls.post(Url::parse(&url).unwrap());
    let outcome = outcome(calls.send(&name("calcom"), request).await);
    (outcome, served.await.unwrap().unwrap())
}

#[tokio::test]
async fn a_certificate_of_the_configured_authority_is_trusted() {
    assert_eq!(over_tls("127.0.0.1", true).await, ("ok".to_owned(), 1));
}

#[tokio::test]
async fn nothing_is_sent_to_an_unknown_authority_or_a_wrong_name() {
    let not_sent = ("not sent".to_owned(), 0);
    assert_eq!(over_tls("127.0.0.1", false).await, not_sent);
    assert_eq!(over_tls("wrong.example", true).await, not_sent);
}
