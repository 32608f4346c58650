//! One process of the binary: started, listened to, asked, killed.

use std::{process::Stdio, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::{Instant, sleep},
};

/// No condition of these tests takes this long on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process has written to one of its outputs so far.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

/// A running sidecar. It is killed when dropped.
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) log: Written,
    /// `http://…` of the app's listener, or the path of its socket.
    pub(crate) outbound: String,
    /// `http://…` of the listener for providers and browsers.
    pub(crate) ingress: String,
    /// `http://…` of the admin listener.
    pub(crate) admin: String,
    http: reqwest::Client,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// Waits until `look` finds something, for what takes its time by design.
pub(crate) async fn until_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daypass"));
    command.env_clear().kill_on_drop(true);
    command
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) async fn run(arguments: &[&str], input: &str) -> Ended {
    let mut child = binary()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that refuses to start reads nothing.
    let _unread = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

// === impl Written ===

impl Written {
    fn listen(&self, mut from: impl AsyncRead + Unpin + Send + 'static) {
        let into = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut chunk).await {
                into.lock().extend_from_slice(&chunk[..read]);
            }
        });
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }

    /// The log lines as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The first line with this message.
    pub(crate) fn line(&self, message: &str) -> Option<Value> {
        self.lines()
            .into_iter()
            .find(|line| line["message"] == message)
    }

    /// The line of the first request whose path begins so; such lines may come a little later.
    pub(crate) async fn request(&self, path: &str) -> Value {
        let is_it = |line: &Value| {
            let is_here = |told: &str| told.starts_with(path);
            line["message"] == "request" && line["path"].as_str().is_some_and(is_here)
        };
        until("the line of a request", async || {
            self.lines().into_iter().find(is_it)
        })
        .await
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts `daypass run` and waits until it is ready. `told` are environment variables.
    pub(crate) async fn start(
        arguments: &[String],
        told: &[(&str, &str)],
        http: reqwest::Client,
    ) -> Self {
        let mut command = binary();
        command
            .arg("run")
            .args(arguments)
            .envs(told.iter().copied());
        Self::start_by(command, http).await
    }

    /// As [`Self::start`], by a command that becomes it.
    pub(crate) async fn start_by(mut command: Command, http: reqwest::Client) -> Self {
        let mut child = command
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Written::default();
        log.listen(child.stdout.take().unwrap());
        log.listen(child.stderr.take().unwrap());
        let ready = until("the sidecar is ready", async || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", log.text());
            log.line("ready")
        })
        .await;
        let address = |side: &str| {
            let text = ready[side].as_str().unwrap();
            if text.starts_with("unix:") {
                text.to_owned()
            } else {
                format!("http://{text}")
            }
        };
        Self {
            outbound: address("outbound"),
            ingress: address("ingress"),
            admin: address("admin"),
            child,
            log,
            http,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// SIGKILL, and the end of the process.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM only; [`Self::ended`] waits.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(done.unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap().unwrap().code()
    }

    /// A request of `user` at the app's side.
    pub(crate) fn request(
        &self,
        method: Method,
        user: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.outbound);
        self.http.request(method, url).header("x-user-id", user)
    }

    pub(crate) async fn get(&self, user: &str, path: &str) -> Answer {
        Answer::read(self.request(Method::GET, user, path)).await
    }

    pub(crate) async fn post(&self, user: &str, path: &str, body: Vec<u8>) -> Answer {
        Answer::read(self.request(Method::POST, user, path).body(body)).await
    }

    /// `GET` at the admin side.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Answer::read(self.http.get(format!("{}{path}", self.admin))).await
    }

    /// What the sidecar says of a connection.
    pub(crate) async fn connection(&self, user: &str, provider: &str) -> Answer {
        self.get(user, &format!("/-/{provider}/connection")).await
    }

    /// Waits until the sidecar says so.
    pub(crate) async fn until_generation(&self, user: &str, provider: &str, generation: u64) {
        until("the generation", async || {
            let connection = self.connection(user, provider).await;
            (connection.json()["generation"] == generation).then_some(())
        })
        .await;
    }
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

    /// The slug of a problem that the sidecar made.
    pub(crate) fn slug(&self) -> String {
        let json = self.json();
        let kind = json["type"].as_str().unwrap_or_default();
        let slug = kind
            .strip_prefix("urn:daypass:problem:")
            .unwrap_or_default();
        slug.to_owned()
    }

    /// Asserts an answer of the provider.
    pub(crate) fn must_be(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.slug(), "", "{self:?}");
        self
    }

    /// Asserts a problem of the sidecar, with everything that the contract demands of one.
    pub(crate) fn must_be_problem(&self, status: u16, slug: &str) -> &Self {
        assert_eq!(
            (self.status.as_u16(), self.slug()),
            (status, slug.to_owned()),
            "{self:?}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(
            self.header("proxy-status").starts_with("daypass; error="),
            "{self:?}"
        );
        if status == 503 {
            assert!((1..=300).contains(&self.retry_after()), "{self:?}");
        }
        self
    }

    pub(crate) fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().unwrap_or_default()
    }
}
