//! What a fleet stands on: emulated providers, a store, a folder, and the ways between them.

use std::{fs, path::PathBuf, process::Stdio, sync::Arc, thread, time::Duration};

use daypass::{
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    http::tls::install_crypto,
    sandbox::{Created, NewUser, Options, Sandbox, Switches},
};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

use crate::{
    chronicle::Chronicle,
    eyewitness,
    keeper::{Backend, Keeper},
    place::{Doors, Place, binary},
    way::{Way, nobody},
};

/// No condition of these tests takes this long on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A token of this time has long ended.
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// 32 bytes, the same in every run.
pub(crate) const KEY: &str = "c2VudGluZWwta2V5LXNlbnRpbmVsLWtleS1zZW50aW4=";

/// Everything beside the sidecars, and the places where they run.
pub(crate) struct Ground {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
    pub(crate) places: Vec<Arc<Place>>,
    pub(crate) ways: Vec<Ways>,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) lifecycle: Lifecycle,
    /// Dropped after the places, whose processes use it, and before the folder.
    pub(crate) keeper: Arc<parking_lot::Mutex<Keeper>>,
    home: Option<TempDir>,
}

/// The ways of one place.
pub(crate) struct Ways {
    /// None to a file.
    pub(crate) store: Option<Arc<Way>>,
    /// To the API of Calendly.
    pub(crate) calendly: Arc<Way>,
    /// To its token endpoint.
    pub(crate) tokens: Arc<Way>,
    pub(crate) calcom: Arc<Way>,
}

/// A whole answer of a sidecar.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match patiently(what, look).await {
        Ok(found) => found,
        Err(what) => panic!("waited in vain: {what}"),
    }
}

/// As [`until`], but gives up with what was waited for.
pub(crate) async fn patiently<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(what.to_owned());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

// === impl Ground ===

impl Ground {
    /// `places` places on a fresh store, no process yet.
    pub(crate) async fn open(backend: Backend, places: usize, settings: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_owned();
        let keeper = tokio::task::spawn_blocking(move || Keeper::start(backend, &folder));
        Self::on(keeper.await.unwrap(), home, places, settings).await
    }

    /// As [`Self::open`], on a store that runs already.
    pub(crate) async fn on(
        keeper: Keeper,
        home: TempDir,
        places: usize,
        settings: &[&str],
    ) -> Self {
        install_crypto();
        let lifecycle = Lifecycle::new();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom));
        let started = Sandbox::start(Options::default(), lifecycle.clone(), clock, random);
        let sandbox = started.await.unwrap();
        let unlimited =
            |switches: &mut Switches| (switches.api_per_minute, switches.token_per_minute) = (0, 0);
        sandbox.calcom().set(unlimited);
        sandbox.calendly().set(unlimited);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let mut ground = Self {
            sandbox,
            http: http.build().unwrap(),
            places: Vec::new(),
            ways: Vec::new(),
            chronicle: Arc::default(),
            lifecycle,
            keeper: Arc::new(parking_lot::Mutex::new(keeper)),
            home: Some(home),
        };
        let settings: Vec<String> = settings.iter().map(|&one| one.to_owned()).collect();
        fs::write(ground.path("direct.toml"), ground.configuration(None)).unwrap();
        for number in 0..places {
            ground.add_place(number, &settings).await;
        }
        ground
    }

    async fn add_place(&mut self, number: usize, settings: &[String]) {
        let config = self.path(&format!("place-{number}.toml"));
        let folder = self.path("");
        let place = Arc::new(Place::new(number, &folder, config.clone(), settings));
        let port = self.keeper.lock().port();
        let way = async |port, witness| Way::to(port, &self.lifecycle, witness).await;
        let watched = || eyewitness::of(&place, &self.chronicle);
        let ways = Ways {
            store: match port {
                Some(port) => Some(way(port, nobody()).await),
                None => None,
            },
            calendly: way(self.sandbox.calendly_address().port(), nobody()).await,
            tokens: way(self.sandbox.calendly_address().port(), watched()).await,
            calcom: way(self.sandbox.calcom_address().port(), watched()).await,
        };
        fs::write(config, self.configuration(Some(&ways))).unwrap();
        self.places.push(place);
        self.ways.push(ways);
    }

    /// A configuration whose ways are `ways`, or the shortest.
    fn configuration(&self, ways: Option<&Ways>) -> String {
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        let (calcom, calendly, tokens, store) = match ways {
            Some(ways) => (
                local(ways.calcom.port),
                local(ways.calendly.port),
                local(ways.tokens.port),
                ways.store.as_ref().map(|way| way.port),
            ),
            None => (
                self.sandbox.calcom_url().to_owned(),
                self.sandbox.calendly_url().to_owned(),
                self.sandbox.calendly_url().to_owned(),
                None,
            ),
        };
        format!(
            r#"
[outbound]
listen = "127.0.0.1:0"
[ingress]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "{store}"
[[encryption.keys]]
id = "k1"
value = "{KEY}"
[telemetry]
log_format = "json"
[providers.calcom]
kind = "calcom"
api_base = "{calcom}"
authorize_url = "{calcom}/auth/oauth2/authorize"
client_id = "sandbox-oauth2-client"
client_secret = "sandbox-client-secret"
platform_client_id = "sandbox-platform-client"
platform_client_secret = "sandbox-platform-secret"
[providers.calendly]
kind = "calendly"
api_base = "{calendly}"
auth_base = "{tokens}"
client_id = "sandbox-calendly-client"
client_secret = "sandbox-client-secret"
"#,
            store = self.keeper.lock().url(store),
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.as_ref().unwrap().path().join(name)
    }

    /// Starts a process at every place.
    pub(crate) async fn start(&self) {
        // One first: it makes the tables.
        if let Some((first, others)) = self.places.split_first() {
            first.start().await;
            join_all(others.iter().map(|place| place.start())).await;
        }
    }

    /// Runs a command beside the sidecars and without any way in between; what it complained of.
    async fn command(&self, command: &[&str], input: &str) -> Result<(), String> {
        let mut child = binary()
            .args(command)
            .arg("--config")
            .arg(self.path("direct.toml"))
            .arg("--set")
            .arg(format!(
                "store.spool_dir={}",
                self.path("spool-of-commands").display()
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that refuses to start reads nothing.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let ended = child.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        if ended.status.success() {
            Ok(())
        } else {
            Err(said)
        }
    }

    /// Connects users as `lines` say, again if they are connected already.
    pub(crate) async fn import(&self, lines: &[Value]) {
        self.imported(lines).await.unwrap();
    }

    /// As [`Self::import`]; whether the store took them.
    pub(crate) async fn try_import(&self, lines: &[Value]) -> bool {
        self.imported(lines).await.is_ok()
    }

    async fn imported(&self, lines: &[Value]) -> Result<(), String> {
        let text: String = lines
            .iter()
            .flat_map(|line| [line.to_string(), "\n".to_owned()])
            .collect();
        self.command(&["connections", "import", "--replace"], &text)
            .await
    }

    pub(crate) fn calendly_user(&self, name: &str) -> Created {
        let order = NewUser::named(name);
        self.sandbox.calendly().create_user(&order).unwrap()
    }

    /// A user of Calendly whose imported access token has ended.
    pub(crate) async fn expired(&self, name: &str) -> Created {
        let created = self.calendly_user(name);
        let mut line = line("calendly", &created);
        line["expires_at"] = json!(LONG_AGO);
        self.import(&[line]).await;
        created
    }

    /// Where the process at `place` is called.
    pub(crate) fn doors(&self, place: usize) -> Doors {
        self.places[place].doors().expect("it runs")
    }

    /// A request of `user` to the process at `place`, which must run.
    pub(crate) async fn get(&self, place: usize, user: &str, path: &str) -> Answer {
        let url = format!("{}{path}", self.doors(place).outbound);
        self.ask(self.http.get(url).header("x-user-id", user)).await
    }

    /// What the admin side of the process at `place` says.
    pub(crate) async fn admin(&self, place: usize, path: &str) -> Answer {
        let url = format!("{}{path}", self.doors(place).admin);
        self.ask(self.http.get(url)).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.timeout(PATIENCE).send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        Answer { status, body }
    }
}

/// The line that imports `created`.
pub(crate) fn line(provider: &str, created: &Created) -> Value {
    json!({
        "provider": provider,
        "user": created.name,
        "access_token": created.access_token,
        "refresh_token": created.refresh_token,
        "expires_at": created.access_expires_at,
        "managed_user_id": created.managed_user_id,
        "external_id": created.external_id,
    })
}

impl Drop for Ground {
    fn drop(&mut self) {
        if thread::panicking() {
            for place in &self.places {
                eprintln!("--- sidecar {} ---\n{}", place.number, place.tail());
            }
            let kept = self.home.take().map(TempDir::keep);
            eprintln!("everything is kept in {kept:?}");
            return;
        }
        for place in &self.places {
            place.assert_sane();
        }
        for anonymous in [
            self.sandbox.calendly().stats().api_anonymous,
            self.sandbox.calcom().stats().api_anonymous,
        ] {
            assert_eq!(anonymous, 0, "calls without a token");
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The slug of a problem that the sidecar made; empty for an answer of the provider.
    pub(crate) fn slug(&self) -> String {
        let json = self.json();
        let kind = json["type"].as_str().unwrap_or_default();
        let slug = kind.strip_prefix("urn:daypass:problem:");
        slug.unwrap_or_default().to_owned()
    }

    /// Asserts an answer of the provider.
    pub(crate) fn must_be(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.slug(), "", "{self:?}");
        self
    }
}
