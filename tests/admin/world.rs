//! A sidecar in this process, with two emulated providers and an app.

use std::time::Duration;

use daypass::{
    app::Sidecar,
    base::lifecycle::Lifecycle,
    config::{self, Environment, Request},
    http::tls::install_crypto,
    sandbox::{Created, NewUser, Sandbox},
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) use crate::sandbox::grant;
use crate::{app::App, sandbox};

pub(crate) const ADMIN_TOKEN: &str = "canary-admin-token";
const KEY: &str = "c2VudGluZWwta2V5LXNlbnRpbmVsLWtleS1zZW50aW4=";
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// No condition of these tests takes this long on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) sidecar: Sidecar,
    pub(crate) app: App,
    pub(crate) home: TempDir,
    http: reqwest::Client,
    _lifecycle: Lifecycle,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

// === impl World ===

impl World {
    pub(crate) async fn open() -> Self {
        Self::with(&[("admin.token", ADMIN_TOKEN)]).await
    }

    /// With these settings beside the usual ones; without `admin.token`, there is none.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        install_crypto();
        let lifecycle = Lifecycle::new();
        let sandbox = sandbox::without_limits(&lifecycle).await;
        let (app, home) = (App::start().await, tempfile::tempdir().unwrap());
        let file = home.path().join("daypass.toml");
        std::fs::write(&file, configuration(&sandbox, &app, &home)).unwrap();
        let request = Request {
            file: Some(file),
            overrides: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let environment: Environment = std::iter::empty::<(String, String)>().collect();
        let loaded = config::load(&request, &environment);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:?}"));
        let sidecar = Sidecar::start(&loaded.settings).await.unwrap();
        loaded.secrets.watch(sidecar.lifecycle(), || {});
        Self {
            sandbox,
            sidecar,
            app,
            home,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _lifecycle: lifecycle,
        }
    }

    /// A call without a token.
    pub(crate) fn bare(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("http://{}{path}", self.sidecar.admin());
        self.http.request(method, url)
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.bare(method, path).bearer_auth(ADMIN_TOKEN)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::read(self.call("GET", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::read(self.call("DELETE", path)).await
    }

    /// A call without a body.
    pub(crate) async fn order(&self, path: &str) -> Answer {
        Answer::read(self.call("POST", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::read(self.call("POST", path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::read(self.call("PUT", path).json(body)).await
    }

    /// The app's own view of a connection.
    pub(crate) async fn outbound(&self, user: &str, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.sidecar.outbound());
        Answer::read(self.http.get(url).header("x-user-id", user)).await
    }

    /// A call of the app without a body.
    pub(crate) async fn app_orders(&self, user: &str, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.sidecar.outbound());
        Answer::read(self.http.post(url).header("x-user-id", user)).await
    }

    /// Opens a link in a browser that goes wherever it is sent, until it is back at the app; where.
    pub(crate) async fn consent(&self, link: &str) -> String {
        let direct = reqwest::redirect::Policy::none();
        let browser = reqwest::Client::builder().no_proxy().redirect(direct);
        let browser = browser.build().unwrap();
        let ingress = format!("http://{}", self.sidecar.ingress());
        let (mut next, mut cookie) = (link.to_owned(), String::new());
        while !next.starts_with("https://app.example.org/") {
            // Where the ingress listener is said to be, nobody is.
            let at = next.replace("http://127.0.0.1:9", &ingress);
            let call = browser.get(at).header("cookie", &cookie);
            let answer = Answer::read(call).await;
            assert!(answer.status.is_redirection(), "{answer:?}");
            for set in answer.headers.get_all("set-cookie") {
                let set = set.to_str().unwrap().split(';').next().unwrap();
                // The provider has cookies of its own.
                if set.starts_with("daypass-") {
                    set.clone_into(&mut cookie);
                }
            }
            answer.header("location").clone_into(&mut next);
        }
        next
    }

    /// Makes a user of Calendly, and imports the grant.
    pub(crate) async fn connected(&self, name: &str) -> Created {
        let order = NewUser::named(name);
        let created = self.sandbox.calendly().create_user(&order).unwrap();
        self.put(&path("calendly", name), &grant(&created))
            .await
            .must_be(201);
        created
    }

    /// The connection, once `look` finds in it what it looks for.
    pub(crate) async fn until(
        &self,
        path: &str,
        what: &str,
        look: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get(path).await.must_be(200).json();
            if look(&seen) {
                return seen;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {seen}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All items of a list, read in pages of `limit`, and how many pages there were.
    pub(crate) async fn all(&self, path: &str, limit: usize) -> (Vec<Value>, usize) {
        let sign = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let url = format!("{path}{sign}limit={limit}{cursor}");
            let page = self.get(&url).await.must_be(200).json();
            let found = page["items"].as_array().unwrap();
            assert!(found.len() <= limit, "{page}");
            items.extend(found.iter().cloned());
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => {
                    assert_eq!(found.len(), limit, "only the last page is short");
                    cursor = format!("&cursor={next}");
                }
                None => return (items, pages),
            }
        }
    }
}

pub(crate) fn path(provider: &str, user: &str) -> String {
    format!("/v1/connections/{provider}/{user}")
}

fn configuration(sandbox: &Sandbox, app: &App, home: &TempDir) -> String {
    let (calcom, calendly) = (sandbox.calcom_url(), sandbox.calendly_url());
    let (at_calcom, at_calendly) = (sandbox.calcom().switches(), sandbox.calendly().switches());
    format!(
        r#"
[outbound]
listen = "127.0.0.1:0"
[ingress]
listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:9"
allowed_return_origins = ["https://app.example.org"]
[admin]
listen = "127.0.0.1:0"
[store]
url = "sqlite:{database}"
[[encryption.keys]]
id = "k1"
value = "{KEY}"
[app]
webhook_url = "{app}"
signing_secret = "{SIGNING_SECRET}"
[providers.calcom]
kind = "calcom"
api_base = "{calcom}"
authorize_url = "{calcom}/auth/oauth2/authorize"
client_id = "sandbox-oauth2-client"
client_secret = "{}"
platform_client_id = "sandbox-platform-client"
platform_client_secret = "{}"
[providers.calendly]
kind = "calendly"
api_base = "{calendly}"
auth_base = "{calendly}"
client_id = "sandbox-calendly-client"
client_secret = "{}"
"#,
        at_calcom.client_secret,
        at_calcom.calcom.platform_client_secret,
        at_calendly.client_secret,
        database = home.path().join("daypass.db").display(),
        app = app.url,
    )
}

/// What no answer may hold.
pub(crate) fn secrets(world: &World) -> Vec<String> {
    let (calcom, calendly) = (world.sandbox.calcom(), world.sandbox.calendly());
    vec![
        ADMIN_TOKEN.to_owned(),
        KEY.to_owned(),
        SIGNING_SECRET.to_owned(),
        calcom.switches().client_secret,
        calcom.switches().calcom.platform_client_secret,
        calendly.switches().client_secret,
    ]
}

// === impl Answer ===

impl Answer {
    pub(crate) async fn read(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts what is answered when all is well.
    pub(crate) fn must_be(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        assert_eq!(self.header("cache-control"), "no-store");
        self
    }

    /// Asserts a problem, with everything that belongs to one.
    pub(crate) fn must_be_problem(&self, status: u16, slug: &str) -> &Self {
        let problem = self.json();
        let told = (self.status.as_u16(), problem["type"].as_str().unwrap_or(""));
        assert_eq!(
            told,
            (status, &*format!("urn:daypass:problem:{slug}")),
            "{self:?}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        if status == 503 {
            let wait: u64 = self.header("retry-after").parse().unwrap();
            assert!((1..=3600).contains(&wait), "{self:?}");
        }
        self
    }

    /// Asserts a problem with this field of the body.
    pub(crate) fn must_name(&self, field: &str) {
        self.must_be_problem(400, "invalid-body");
        assert_eq!(self.json()["field"], field, "{self:?}");
    }
}
