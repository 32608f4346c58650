//! A folder with a configuration and a database, and two emulated providers beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use daypass::{
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    http::tls::install_crypto,
    sandbox::{Created, Entry, Filter, Kind, NewUser, Options, Sandbox, Switches, TokenCall},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sidecar::{Ended, Sidecar, Written, run};

/// A token of this time has long ended.
pub(crate) const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// 32 bytes, the same in every run.
pub(crate) const KEY: &str = "c2VudGluZWwta2V5LXNlbnRpbmVsLWtleS1zZW50aW4=";

/// Everything beside the sidecars.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
    /// Given to every process as `--set`.
    pub(crate) settings: Vec<String>,
    logs: Mutex<Vec<Written>>,
    _lifecycle: Lifecycle,
}

/// A client that follows nothing and shares nothing.
pub(crate) fn client() -> reqwest::ClientBuilder {
    install_crypto();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

// === impl World ===

impl World {
    pub(crate) async fn open() -> Self {
        Self::open_with(Options::default()).await
    }

    pub(crate) async fn open_with(options: Options) -> Self {
        install_crypto();
        let lifecycle = Lifecycle::new();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom));
        let started = Sandbox::start(options, lifecycle.clone(), clock, random).await;
        let world = Self {
            home: tempfile::tempdir().unwrap(),
            sandbox: started.unwrap(),
            http: client().build().unwrap(),
            settings: Vec::new(),
            logs: Mutex::default(),
            _lifecycle: lifecycle,
        };
        // Limits are switched on by the tests that are about them.
        let unlimited =
            |switches: &mut Switches| (switches.api_per_minute, switches.token_per_minute) = (0, 0);
        world.sandbox.calcom().set(unlimited);
        world.sandbox.calendly().set(unlimited);
        fs::write(world.config(), world.configuration()).unwrap();
        world
    }

    /// Adds a setting for every process from now on.
    pub(crate) fn with(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    pub(crate) fn configuration(&self) -> String {
        let (calcom, calendly) = (self.sandbox.calcom_url(), self.sandbox.calendly_url());
        let of_calcom = self.sandbox.calcom().switches();
        let of_calendly = self.sandbox.calendly().switches();
        format!(
            r#"
[outbound]
listen = "127.0.0.1:0"
[ingress]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "sqlite:{database}"
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
            of_calcom.client_secret,
            of_calcom.calcom.platform_client_secret,
            of_calendly.client_secret,
            database = self.database().display(),
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("daypass.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("daypass.db")
    }

    /// Replaces `from` in the configuration file.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// The options of every process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--config".to_owned(), self.config().display().to_string()];
        for setting in &self.settings {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        arguments
    }

    /// Starts a sidecar.
    pub(crate) async fn sidecar(&self) -> Sidecar {
        self.sidecar_told(&[]).await
    }

    /// Starts a sidecar with environment variables.
    pub(crate) async fn sidecar_told(&self, told: &[(&str, &str)]) -> Sidecar {
        self.start(&self.arguments(), told).await
    }

    /// Starts a sidecar with further options of `daypass run`.
    pub(crate) async fn sidecar_that(&self, options: &[&str]) -> Sidecar {
        let mut arguments = self.arguments();
        arguments.extend(options.iter().map(ToString::to_string));
        self.start(&arguments, &[]).await
    }

    /// Starts a sidecar by a command that becomes it.
    pub(crate) async fn sidecar_by(&self, command: tokio::process::Command) -> Sidecar {
        let sidecar = Sidecar::start_by(command, self.http.clone()).await;
        self.logs.lock().push(sidecar.log.clone());
        sidecar
    }

    async fn start(&self, arguments: &[String], told: &[(&str, &str)]) -> Sidecar {
        let sidecar = Sidecar::start(arguments, told, self.http.clone()).await;
        self.logs.lock().push(sidecar.log.clone());
        sidecar
    }

    /// Runs a command to its end.
    pub(crate) async fn command(&self, command: &[&str], input: &str) -> Ended {
        let arguments = self.arguments();
        let mut all: Vec<&str> = command.to_vec();
        all.extend(arguments.iter().map(String::as_str));
        let ended = run(&all, input).await;
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        ended
    }

    /// Runs a command that must succeed.
    pub(crate) async fn done(&self, command: &[&str], input: &str) -> Ended {
        let ended = self.command(command, input).await;
        assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
        ended
    }

    /// Imports `lines`.
    pub(crate) async fn import(&self, lines: &[Value]) -> Ended {
        let text: String = lines
            .iter()
            .flat_map(|line| [line.to_string(), "\n".to_owned()])
            .collect();
        self.done(&["connections", "import"], &text).await
    }

    /// Imports a line whose user is connected already.
    pub(crate) async fn import_again(&self, line: &Value) {
        let input = format!("{line}\n");
        self.done(&["connections", "import", "--replace"], &input)
            .await;
    }

    /// A user of Calendly whose imported access token has ended.
    pub(crate) async fn expired_at_calendly(&self, name: &str) -> Created {
        let created = self.calendly_user(name);
        self.import(&[expired(&line("calendly", &created))]).await;
        created
    }

    /// A user of Calendly whose token lives for hours.
    pub(crate) async fn valid_at_calendly(&self, name: &str) -> Created {
        let created = self.calendly_user(name);
        self.import(&[line("calendly", &created)]).await;
        created
    }

    /// A user of Calendly whose token has `secs` seconds left: due, and usable.
    pub(crate) async fn due_at_calendly(&self, name: &str, secs: u64) -> Created {
        let created = self.calendly_user(name);
        let mut soon = line("calendly", &created);
        soon["expires_at"] = Value::Null;
        soon["expires_in"] = secs.into();
        self.import(&[soon]).await;
        created
    }

    /// A managed user of Cal.com whose token lives for an hour.
    pub(crate) async fn managed(&self, name: &str) -> Created {
        let order = NewUser::managed(name);
        let created = self.sandbox.calcom().create_user(&order).unwrap();
        self.import(&[line("calcom", &created)]).await;
        created
    }

    pub(crate) fn calendly_user(&self, name: &str) -> Created {
        let order = NewUser::named(name);
        self.sandbox.calendly().create_user(&order).unwrap()
    }

    /// The token calls that Calendly has answered so far, oldest first.
    pub(crate) fn calendly_calls(&self) -> Vec<TokenCall> {
        calls(&self.sandbox.calendly().entries(&Filter::default()))
    }

    /// The token calls that Cal.com has answered so far, oldest first.
    pub(crate) fn calcom_calls(&self) -> Vec<TokenCall> {
        calls(&self.sandbox.calcom().entries(&Filter::default()))
    }

    /// How many API calls Calendly has had.
    pub(crate) fn calendly_api_calls(&self) -> u64 {
        self.sandbox.calendly().stats().api_by_status.values().sum()
    }

    /// No refresh token was ever honoured twice.
    pub(crate) fn assert_no_double_redemption(&self) {
        for stats in [
            self.sandbox.calendly().stats(),
            self.sandbox.calcom().stats(),
        ] {
            for (token, used) in &stats.redemptions {
                assert!(used.ok <= 1, "{token}: {used:?}");
            }
        }
    }
}

fn calls(entries: &[Entry]) -> Vec<TokenCall> {
    let calls = entries.iter().filter(|entry| entry.kind == Kind::Token);
    calls.filter_map(|entry| entry.token_call.clone()).collect()
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

/// `line`, with an access token that has ended.
pub(crate) fn expired(line: &Value) -> Value {
    let mut line = line.clone();
    line["expires_at"] = json!(LONG_AGO);
    line
}

/// Whether any file under `folder` holds `needle`, in its name or its bytes.
pub(crate) fn file_with(folder: &Path, needle: &str) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return file_with(&path, needle);
        }
        let named = path.display().to_string().contains(needle);
        let bytes = fs::read(&path).unwrap_or_default();
        let holds = bytes
            .windows(needle.len())
            .any(|part| part == needle.as_bytes());
        (named || holds).then_some(path)
    })
}

impl Drop for World {
    fn drop(&mut self) {
        let logs: Vec<_> = self.logs.get_mut().iter().map(Written::text).collect();
        if thread::panicking() {
            for log in logs {
                eprintln!("--- log of a sidecar ---\n{log}");
            }
            return;
        }
        for log in logs {
            assert!(!log.contains("panicked"), "{log}");
        }
        assert_eq!(
            self.sandbox.calendly().stats().api_anonymous,
            0,
            "at Calendly"
        );
        assert_eq!(self.sandbox.calcom().stats().api_anonymous, 0, "at Cal.com");
    }
}
