//! A sandbox, a sidecar and an example, with the configuration of `docs/examples/daypass.toml`.

use std::{fs, net::TcpListener};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    browser::{Browser, client},
    examples::{Built, Example, docs},
    process::{Process, daypass, until},
};

pub(crate) struct Stage {
    pub(crate) example: &'static Example,
    pub(crate) http: reqwest::Client,
    /// Signs what the sidecar delivers.
    pub(crate) signing_secret: String,
    /// `http://…` of the example.
    pub(crate) app: String,
    /// `http://…` of the emulated provider.
    provider: String,
    sidecar: Process,
    _others: [Process; 2],
    _places: (TempDir, Built),
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn open(example: &'static Example) -> Self {
        let home = tempfile::tempdir().unwrap();
        let built = example.build().await;

        let mut command = daypass(home.path());
        command.args("sandbox --json --calcom-port 0 --calendly-port 0".split(' '));
        let mut sandbox = Process::start(command);
        sandbox.line("}").await;
        let providers: Value = serde_json::from_str(&sandbox.written()).unwrap();
        let at = |name: &str| providers[name].as_str().unwrap().to_owned();

        let (app_port, ingress_port) = (free_port(), free_port());
        let app = format!("http://127.0.0.1:{app_port}");
        let text = fs::read_to_string(docs().join("daypass.toml")).unwrap();
        let text = text
            .replace("http://127.0.0.1:7430", &at("calcom"))
            .replace("http://127.0.0.1:7431", &at("calendly"))
            .replace("127.0.0.1:7421", &format!("127.0.0.1:{ingress_port}"))
            .replace("http://127.0.0.1:3000", &app);
        let signing_secret = secret_in(&text);
        fs::write(home.path().join("daypass.toml"), text).unwrap();
        let mut command = daypass(home.path());
        command.args(["run", "--config", "daypass.toml"]);
        for setting in [
            "outbound.listen=127.0.0.1:0",
            &format!("ingress.listen=127.0.0.1:{ingress_port}"),
            "admin.listen=127.0.0.1:0",
            "telemetry.log_format=json",
        ] {
            command.args(["--set", setting]);
        }
        let mut sidecar = Process::start(command);
        let ready: Value = serde_json::from_str(&sidecar.line("\"ready\"").await).unwrap();
        let outbound = format!("http://{}", ready["outbound"].as_str().unwrap());

        let mut command = built.start(app_port);
        command
            .env("APP_URL", &app)
            .env("DAYPASS_URL", outbound)
            .env("DAYPASS_SIGNING_SECRET", &signing_secret);
        let mut running = Process::start(command);
        running.line(&app).await;
        Self {
            example,
            http: client(),
            signing_secret,
            app,
            provider: at(example.provider),
            sidecar,
            _others: [sandbox, running],
            _places: (home, built),
        }
    }

    /// `path` of the example.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.app)
    }

    /// Where the emulated provider is.
    pub(crate) fn provider(&self) -> &str {
        &self.provider
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as what it is: a browser of this stage"
    )]
    pub(crate) fn browser(&self, user: &str) -> Browser {
        Browser::of(user)
    }

    /// Waits until the provider was asked for webhooks.
    pub(crate) async fn until_subscribed(&self) {
        until("webhooks are subscribed to", async || {
            let log = self.sidecar.written();
            log.contains("webhooks are subscribed to").then_some(())
        })
        .await;
    }

    /// Somebody books a meeting with the sandbox's `user`.
    pub(crate) async fn book(&self, user: &str) {
        let order = json!({ "action": "create", "user": user });
        let url = format!("{}/_sandbox/bookings", self.provider);
        let answer = self.http.post(url).json(&order).send().await.unwrap();
        answer.error_for_status().unwrap();
    }

    /// What the example was told of `event` for the user of `browser`, once it was.
    pub(crate) async fn until_told(&self, browser: &mut Browser, event: &str) -> Value {
        until(&format!("the app is told of {event}"), async || {
            let news = self.news(browser).await;
            news.into_iter().find(|one| one["event"] == event)
        })
        .await
    }

    /// Everything that the example was told for the user of `browser`.
    pub(crate) async fn news(&self, browser: &mut Browser) -> Vec<Value> {
        let page = browser.open(&self.at("/news")).await;
        serde_json::from_str(&page.body).unwrap()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn secret_in(configuration: &str) -> String {
    let (_, rest) = configuration.split_once("signing_secret = \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}
