//! The sandbox as a process of its own, and calls to it and to sidecars.

use std::sync::LazyLock;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::binary::{Home, Serving};

/// A running sandbox without users.
pub(crate) struct Emulators {
    pub(crate) process: Serving,
    pub(crate) calcom: String,
    pub(crate) calendly: String,
}

/// An answer: status, content type, body.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

// === impl Emulators ===

impl Emulators {
    pub(crate) fn start(home: &Home) -> Self {
        let process = home.serve(&[
            "sandbox",
            "--json",
            "--empty",
            "--calcom-port",
            "0",
            "--calendly-port",
            "0",
        ]);
        let places = process.printed_json();
        let place = |name: &str| places[name].as_str().unwrap().to_owned();
        Self {
            calcom: place("calcom"),
            calendly: place("calendly"),
            process,
        }
    }

    /// A managed user at the emulated Cal.com.
    pub(crate) fn managed(&self, name: &str) -> Value {
        let url = format!("{}/_sandbox/users", self.calcom);
        post(&url, &json!({ "name": name, "family": "managed" })).json()
    }

    /// A user at the emulated Calendly.
    pub(crate) fn at_calendly(&self, name: &str) -> Value {
        let url = format!("{}/_sandbox/users", self.calendly);
        post(&url, &json!({ "name": name })).json()
    }

    /// A configuration that names the emulators, whose clients are made known by `managed` and
    /// `at_calendly`.
    pub(crate) fn configure(&self, home: &Home) {
        let Self {
            calcom, calendly, ..
        } = self;
        let text = format!(
            r#"
[providers.calcom]
kind = "calcom"
api_base = "{calcom}"
authorize_url = "{calcom}/auth/oauth2/authorize"
token_url = "{calcom}/v2/auth/oauth2/token"
platform_client_id = "sandbox-platform-client"
platform_client_secret = "sandbox-platform-secret"
[providers.calendly]
kind = "calendly"
api_base = "{calendly}"
auth_base = "{calendly}"
client_id = "sandbox-calendly-client"
client_secret = "sandbox-client-secret"
"#
        );
        home.write("daypass.toml", &text);
    }
}

// === impl Response ===

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// Reads `url` as nobody.
pub(crate) fn get(url: &str) -> Response {
    call(Method::GET, url, None, None)
}

/// Reads `url` as the app does for `user`.
pub(crate) fn get_for(url: &str, user: &str) -> Response {
    call(Method::GET, url, Some(user), None)
}

pub(crate) fn post(url: &str, body: &Value) -> Response {
    call(Method::POST, url, None, Some(body))
}

/// To make one takes longer than to ask. Connections would not outlive the call in whose runtime they are.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    daypass::http::tls::install_crypto();
    let builder = Client::builder().no_proxy().pool_max_idle_per_host(0);
    builder.build().unwrap()
});

pub(crate) fn call(
    method: Method,
    url: &str,
    user: Option<&str>,
    body: Option<&Value>,
) -> Response {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = CLIENT.request(method, url);
        if let Some(user) = user {
            request = request.header("x-user-id", user);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let content_type = response.headers().get("content-type");
        Response {
            status: response.status(),
            content_type: content_type
                .map_or_else(String::new, |value| value.to_str().unwrap().to_owned()),
            body: response.text().await.unwrap(),
        }
    })
}
