//! The sidecar as a process, the emulated providers, an app, a few users, and the browser's script.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use daypass::{
    base::lifecycle::Lifecycle,
    http::tls::install_crypto,
    sandbox::{BookingOrder, Created, NewUser, Sandbox},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    app::App,
    sandbox::{self, grant},
};

const ADMIN_TOKEN: &str = "canary-admin-token";
const KEY: &str = "c2VudGluZWwta2V5LXNlbnRpbmVsLWtleS1zZW50aW4=";
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Who calls, and who is renewed, while the charts fill.
const CALLERS: [&str; 6] = ["alice", "bob", "dora", "emil", "hanna", "ivo"];
const RENEWED: [&str; 5] = ["gustav", "hanna", "ivo", "frieda", "bob"];

/// Nothing here takes half as long on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Stage {
    admin: String,
    outbound: String,
    http: reqwest::Client,
    sandbox: Sandbox,
    _app: App,
    _sidecar: Child,
    _home: TempDir,
    _lifecycle: Lifecycle,
}

/// For how long the charts are to fill before pictures are taken, if any are.
pub(crate) fn screenshots() -> Option<Duration> {
    let asked = std::env::var("DAYPASS_SCREENSHOTS").ok()?;
    let seconds = asked
        .parse()
        .expect("DAYPASS_SCREENSHOTS is a number of seconds");
    Some(Duration::from_secs(seconds))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

// === impl Stage ===

impl Stage {
    /// With alice, bob and their colleagues connected, of whom carol and two more need to connect again,
    /// and with a few dead letters.
    pub(crate) async fn open() -> Self {
        install_crypto();
        let lifecycle = Lifecycle::new();
        let sandbox = sandbox::without_limits(&lifecycle).await;
        let (app, home) = (App::start().await, tempfile::tempdir().unwrap());
        let file = home.path().join("daypass.toml");
        std::fs::write(&file, configuration(&sandbox, &app, &home)).unwrap();
        let mut sidecar = Command::new(env!("CARGO_BIN_EXE_daypass"))
            .args(["run", "--config"])
            .arg(&file)
            .current_dir(home.path())
            .env_clear()
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = ready(&mut sidecar).await;
        let address = |side: &str| format!("http://{}", ready[side].as_str().unwrap());
        let stage = Self {
            admin: address("admin"),
            outbound: address("outbound"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            sandbox: sandbox.clone(),
            _app: app.clone(),
            _sidecar: sidecar,
            _home: home,
            _lifecycle: lifecycle,
        };
        stage.populate(&sandbox, &app).await;
        stage
    }

    async fn populate(&self, sandbox: &Sandbox, app: &App) {
        for (user, meetings) in [("alice", 3), ("bob", 1), ("hanna", 4), ("ivo", 2)] {
            calendly(sandbox, user);
            for _ in 0..meetings {
                let order = BookingOrder::create(user);
                sandbox.calendly().book(&order).unwrap();
            }
        }
        app.answers(StatusCode::INTERNAL_SERVER_ERROR);
        for user in ["alice", "dora", "emil"] {
            self.connect("calendly", user, &grant(&calendly(sandbox, user)))
                .await;
        }
        self.until("/v1/deliveries?status=dead", 3).await;
        app.answers(StatusCode::NO_CONTENT);
        for user in ["bob", "frieda", "gustav", "hanna", "ivo"] {
            self.connect("calendly", user, &grant(&calendly(sandbox, user)))
                .await;
        }
        for user in ["bob", "frieda", "jana"] {
            let created = sandbox.calcom().create_user(&NewUser::named(user));
            self.connect("calcom", user, &grant(&created.unwrap()))
                .await;
        }
        for user in ["carol", "karl", "lena"] {
            let spent = json!({ "refresh_token": "spent", "external_id": "https://x" });
            self.connect("calendly", user, &spent).await;
            let path = format!("/v1/connections/calendly/{user}/refresh");
            let answer = self.call(Method::POST, &path, None).await;
            assert_eq!(answer.0, 409, "{answer:?}");
        }
        self.until("/v1/deliveries?status=delivered", 11).await;
    }

    async fn connect(&self, provider: &str, user: &str, grant: &Value) {
        let path = format!("/v1/connections/{provider}/{user}");
        let answer = self.call(Method::PUT, &path, Some(grant)).await;
        assert_eq!(answer.0, 201, "{answer:?}");
    }

    /// Calls and renews for so long, now more and now less.
    pub(crate) async fn be_busy(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut round: u64 = 0;
        while Instant::now() < end {
            round += 1;
            // A slow wave with a few ripples, and failures now and then.
            let wave = (round % 120).abs_diff(60) / 4 + round % 7 + 2;
            for n in 0..wave {
                let user = if round % 40 < 3 && n < 3 {
                    "carol"
                } else {
                    CALLERS[usize::try_from((round + n) % 6).unwrap()]
                };
                let url = format!("{}/calendly/users/me", self.outbound);
                let sent = self.http.get(url).header("x-user-id", user).send().await;
                drop(sent.unwrap());
            }
            if round % 25 == 10 {
                let order = BookingOrder::create(RENEWED[usize::try_from(round / 25 % 5).unwrap()]);
                self.sandbox.calendly().book(&order).unwrap();
            }
            if round.is_multiple_of(5) {
                let user = RENEWED[usize::try_from(round / 5 % 5).unwrap()];
                let path = format!("/v1/connections/calendly/{user}/refresh");
                self.call(Method::POST, &path, None).await;
            }
            sleep(Duration::from_millis(900)).await;
        }
    }

    /// Has the browser do `what`, which must go well.
    pub(crate) async fn drive(&self, what: &str) {
        let tools = root().join("target/tools/browser/node_modules");
        assert!(tools.exists(), "{}: `./test` installs it", tools.display());
        let running = Command::new("node")
            .arg(root().join("tests/browser/page.mjs"))
            .args([what, &self.admin, ADMIN_TOKEN])
            .env("DAYPASS_TOOLS", &tools)
            .env("DAYPASS_PICTURES", pictures())
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, running).await;
        let output = output.expect("the browser hangs").unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{out}\n{err}");
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.admin);
        let mut call = self.http.request(method, url).bearer_auth(ADMIN_TOKEN);
        if let Some(body) = body {
            call = call.json(body);
        }
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// Waits until a list has `count`.
    async fn until(&self, path: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, seen) = self.call(Method::GET, path, None).await;
            if seen["items"]
                .as_array()
                .is_some_and(|all| all.len() >= count)
            {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain: {path} {seen}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn pictures() -> PathBuf {
    match screenshots() {
        Some(_) => root().join("docs/pictures"),
        None => root().join("target/pictures"),
    }
}

/// What the sidecar says when it is ready; it may go on talking.
async fn ready(sidecar: &mut Child) -> Value {
    let mut lines = BufReader::new(sidecar.stderr.take().unwrap()).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("\"message\":\"ready\"") {
                return serde_json::from_str(&line).unwrap();
            }
        }
        panic!("the sidecar did not start");
    };
    let ready = timeout(PATIENCE, reading).await.unwrap();
    drop(tokio::spawn(async move {
        while let Ok(Some(_)) = lines.next_line().await {}
    }));
    ready
}

fn calendly(sandbox: &Sandbox, name: &str) -> Created {
    sandbox
        .calendly()
        .create_user(&NewUser::named(name))
        .unwrap()
}

fn configuration(sandbox: &Sandbox, app: &App, home: &TempDir) -> String {
    let (calcom, calendly) = (sandbox.calcom_url(), sandbox.calendly_url());
    // Pictures are nicer with webhooks, which have to find the way; the tests know what comes without.
    let (ingress, public) = match screenshots() {
        Some(_) => (7421, 7421),
        None => (0, 9),
    };
    format!(
        r#"
[outbound]
listen = "127.0.0.1:0"
[ingress]
listen = "127.0.0.1:{ingress}"
public_url = "http://127.0.0.1:{public}"
[admin]
listen = "127.0.0.1:0"
token = "{ADMIN_TOKEN}"
[store]
url = "sqlite:{database}"
[[encryption.keys]]
id = "k1"
value = "{KEY}"
[app]
webhook_url = "{app}"
signing_secret = "{SIGNING_SECRET}"
events = ["connection.connected"]
[webhooks]
retry_for = "1s"
[telemetry]
log_format = "json"
[providers.calcom]
kind = "calcom"
api_base = "{calcom}"
authorize_url = "{calcom}/auth/oauth2/authorize"
client_id = "sandbox-oauth2-client"
client_secret = "{}"
[providers.calendly]
kind = "calendly"
api_base = "{calendly}"
auth_base = "{calendly}"
client_id = "sandbox-calendly-client"
client_secret = "{}"
"#,
        sandbox.calcom().switches().client_secret,
        sandbox.calendly().switches().client_secret,
        database = home.path().join("daypass.db").display(),
        app = app.url,
    )
}
