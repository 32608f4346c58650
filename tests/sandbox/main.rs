//! The emulated providers against what is known of the real ones. A sandbox that is too kind hides
//! the bugs it is there to find.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what tests share may fail like tests"
)]

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        lifecycle::Lifecycle,
        random::SeededRandom,
    },
    sandbox::{
        Action, ApiFault, ApiMischief, BookingOrder, Created, Filter, Killed, Malformation,
        NewUser, Options, Revoke, Sandbox, Switches, TokenFault, TokenMischief, token_id,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

mod calcom;
mod calendly;
mod control;
mod webhooks;

/// 2026-11-21T05:36:03Z: not at the start of a minute, so that floors show.
const NOW: Timestamp = Timestamp::from_secs(1_795_239_363);

struct Room {
    sandbox: Sandbox,
    clock: ManualClock,
    http: Client,
    _lifecycle: Lifecycle,
}

impl Room {
    async fn open() -> Self {
        daypass::http::tls::install_crypto();
        let lifecycle = Lifecycle::new();
        let clock = ManualClock::new(NOW);
        let sandbox = Sandbox::start(
            Options::default(),
            lifecycle.clone(),
            Arc::new(clock.clone()),
            Arc::new(SeededRandom::new(7)),
        )
        .await
        .unwrap();
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            sandbox,
            clock,
            http,
            _lifecycle: lifecycle,
        }
    }

    fn calcom(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.calcom_url())
    }

    fn calendly(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.calendly_url())
    }

    async fn get(&self, url: &str, token: &str) -> (StatusCode, Value) {
        read(self.http.get(url).bearer_auth(token).send().await.unwrap()).await
    }

    async fn post(&self, url: &str, body: Value) -> (StatusCode, Value) {
        read(self.http.post(url).json(&body).send().await.unwrap()).await
    }
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer} in {value}"))
}

/// A receiver of webhooks.
struct Inbox {
    url: String,
    received: mpsc::UnboundedReceiver<Got>,
}

struct Got {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Inbox {
    /// Answers everything with `status`.
    async fn open(status: StatusCode) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let take = move |headers: HeaderMap, body: bytes::Bytes| async move {
            let body = body.to_vec();
            let _gone = sender.send(Got { headers, body });
            (status, [("location", "http://127.0.0.1:9/")])
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(Lifecycle::new().spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(take))
                .await
                .unwrap();
        }));
        Self { url, received }
    }

    async fn next(&mut self) -> Got {
        let waited = tokio::time::timeout(Duration::from_secs(5), self.received.recv()).await;
        waited.unwrap().unwrap()
    }
}

fn hmac_hex(key: &[u8], message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// Waits for `done`, which background work brings about.
async fn settle(done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never settled");
}

fn with_query(url: &str, pairs: &[(&str, &str)]) -> url::Url {
    url::Url::parse_with_params(url, pairs).unwrap()
}
