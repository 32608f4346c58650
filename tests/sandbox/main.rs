//! The emulated providers against what is known of the real ones. A sandbox that is too kind hides
//! the bugs it is there to find.

use std::sync::Arc;

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        lifecycle::Lifecycle,
        random::SeededRandom,
    },
    sandbox::{
        ApiFault, ApiMischief, Created, Filter, Killed, Malformation, NewUser, Options, Revoke,
        Sandbox, Switches, TokenFault, TokenMischief, token_id,
    },
};
use http::StatusCode;
use reqwest::{Client, Response};
use serde_json::{Value, json};

mod calcom;
mod calendly;
mod control;

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
