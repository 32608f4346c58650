//! A rolling restart under load: sidecars behind a balancer that looks at `/readyz` are replaced one after
//! the other, as Kubernetes does it, while apps call, upload and stream, tokens are renewed, webhooks come
//! and deliveries go. Nothing fails.
//!
//! The balancer repeats nothing, and neither do the apps. A short run takes seconds; a long one writes the
//! report.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    app::{Answer as AppAnswer, App},
    balancer::{Balancer, PORTS},
    sidecar::Sidecar,
    stage::{CALENDLY, Stage},
    stores::On,
    world::client,
};

/// As many as serve at any time.
const SERVING: usize = 3;

/// Whose tokens are used, each for a few seconds.
const USERS: usize = 24;

/// What the sandbox's tokens live. They are renewed when half of it is over.
const LIFETIME_SECS: u64 = 6;

/// How long a renewal takes at the provider: some are under way whenever a sidecar is told to end.
const RENEWAL_MS: u64 = 300;

/// How long the app takes for a delivery, at most.
const DELIVERY_MS: u64 = 300;

/// What each app does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Call,
    Upload,
    Stream,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    done: BTreeMap<Kind, u64>,
    failed: Vec<String>,
    longest: Duration,
}

/// What a run tells.
struct Told {
    store: &'static str,
    lasted: Duration,
    replaced: usize,
    tally: Tally,
    renewals: usize,
    webhooks: usize,
    deliveries: usize,
}

/// Apps at work.
struct Load {
    over: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    apps: Vec<tokio::task::JoinHandle<()>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_restart_under_load_fails_no_request_and_loses_nothing() {
    let long = std::env::var_os("DAYPASS_LONG_TESTS").is_some();
    if !long {
        let told = roll(On::Postgres, "PostgreSQL", SERVING, Duration::ZERO).await;
        assert!(told.tally.done.values().sum::<u64>() > 100);
        return;
    }
    let mut all = Vec::new();
    for (on, store) in [(On::Postgres, "PostgreSQL"), (On::Redis, "Redis")] {
        all.push(roll(on, store, 30, Duration::from_secs(1)).await);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reports/rolling.md");
    fs::write(file, in_words(&all)).unwrap();
}

/// Replaces `times` sidecars, with `pause` in between.
async fn roll(on: On, store: &'static str, times: usize, pause: Duration) -> Told {
    let stage = Stage::open(on, &[]).await;
    let users = users(&stage).await;
    let addresses = addresses();
    let (front, places) = addresses.split_first().unwrap();
    let balancer = Balancer::start(&stage.world, front, places);
    stage.front.lead_to(&[&balancer.ingress]);
    let slow = slow(&stage.app);

    let mut serving = VecDeque::new();
    for (nth, place) in places.iter().take(SERVING).enumerate() {
        serving.push_back((nth, start(&stage, place).await));
    }
    balancer.until_sends_to(&[0, 1, 2]).await;
    let first = &serving[0].1;
    for name in ["hanna", "hugo"] {
        stage.connect(first, CALENDLY, name, name).await;
    }
    let all: Vec<&Sidecar> = serving.iter().map(|(_, sidecar)| sidecar).collect();
    stage.until_subscribed(&all, 2).await;

    let began = Instant::now();
    let load = Load::begin(&balancer, &users);
    let mut free = SERVING;
    for nth in 0..times {
        stage.book(CALENDLY, "hanna", &["hanna"]);
        // Another one first, and then one goes.
        serving.push_back((free, start(&stage, &places[free]).await));
        let ready: Vec<_> = serving.iter().map(|(place, _)| *place).collect();
        balancer.until_sends_to(&ready).await;
        let (place, mut old) = serving.pop_front().unwrap();
        stage.book(CALENDLY, "hugo", &["hugo"]);
        old.terminate();
        assert_eq!(old.ended().await, Some(0), "{nth}");
        assert!(old.log.line("drained").is_some(), "{}", old.log.text());
        free = place;
        sleep(pause).await;
    }
    let lasted = Instant::now().saturating_duration_since(began);
    let tally = load.end().await;
    assert_eq!(tally.failed, Vec::<String>::new());
    stage.judge().await;
    slow.abort();
    stage.world.assert_no_double_redemption();
    let sent = stage.world.sandbox.calendly().deliveries();
    let refused: Vec<_> = sent
        .iter()
        .filter(|sent| !(200..300).contains(&sent.status))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    Told {
        store,
        lasted,
        replaced: times,
        tally,
        renewals: stage.world.calendly_calls().len(),
        webhooks: sent.len(),
        deliveries: stage.app.taken().len(),
    }
}

/// Has the app take its time, so that deliveries are under way whenever a sidecar is told to end.
fn slow(app: &App) -> tokio::task::JoinHandle<()> {
    app.always(AppAnswer::Held);
    let app = app.clone();
    tokio::spawn(async move {
        let mut answered = 0;
        loop {
            sleep(Duration::from_millis(DELIVERY_MS)).await;
            let came = app.taken().len();
            app.let_go(came - answered);
            answered = came;
        }
    })
}

/// Users with short tokens.
async fn users(stage: &Stage) -> Vec<String> {
    let world = &stage.world;
    world.sandbox.calendly().set(|switches| {
        switches.access_lifetime_secs = Some(LIFETIME_SECS);
        switches.token_latency_ms = RENEWAL_MS;
    });
    for name in ["hanna", "hugo"] {
        world.calendly_user(name);
    }
    let names: Vec<_> = (0..USERS).map(|nth| format!("user-{nth}")).collect();
    let lines: Vec<Value> = names
        .iter()
        .map(|name| crate::world::line("calendly", &world.calendly_user(name)))
        .collect();
    world.import(&lines).await;
    names
}

/// A loopback address for the balancer, one for each sidecar and one for the next, which nobody else has.
fn addresses() -> Vec<String> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id() % (90 * 250);
    let (second, third) = (100 + process / 250, process % 250);
    (0..=SERVING + 1)
        .map(|nth| format!("127.{second}.{third}.{}", 1 + 10 * run + nth))
        .collect()
}

async fn start(stage: &Stage, host: &str) -> Sidecar {
    let sides = ["outbound", "ingress", "admin"];
    let mut options = vec!["--linger".to_owned(), "1s".to_owned()];
    for (side, port) in sides.into_iter().zip(PORTS) {
        options.extend(["--set".to_owned(), format!("{side}.listen={host}:{port}")]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    stage.world.sidecar_that(&options).await
}

// === impl Load ===

impl Load {
    fn begin(balancer: &Balancer, users: &[String]) -> Self {
        let load = Self {
            over: Arc::default(),
            tally: Arc::default(),
            apps: Vec::new(),
        };
        let kinds = [
            Kind::Call,
            Kind::Call,
            Kind::Call,
            Kind::Call,
            Kind::Upload,
            Kind::Upload,
            Kind::Stream,
            Kind::Stream,
            Kind::Stream,
        ];
        let apps = kinds.iter().enumerate().map(|(nth, &kind)| {
            let (over, tally) = (Arc::clone(&load.over), Arc::clone(&load.tally));
            let (url, users) = (balancer.outbound.clone(), users.to_vec());
            tokio::spawn(async move {
                let http = client().build().unwrap();
                let mut turn = nth;
                while !over.load(Ordering::Relaxed) {
                    turn += 7;
                    let user = &users[turn % users.len()];
                    let began = Instant::now();
                    let outcome = match kind {
                        Kind::Call => call(&http, &url, user).await,
                        Kind::Upload => upload(&url, user).await,
                        Kind::Stream => stream(&http, &url, user).await,
                    };
                    let took = Instant::now().saturating_duration_since(began);
                    tally.lock().count(kind, outcome, took);
                    if kind == Kind::Call {
                        sleep(Duration::from_millis(5)).await;
                    }
                }
            })
        });
        let apps = apps.collect();
        Self { apps, ..load }
    }

    async fn end(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        for ended in join_all(self.apps).await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.tally.lock())
    }
}

async fn call(http: &reqwest::Client, url: &str, user: &str) -> Result<(), String> {
    // With a body, so that no client sends it again by itself.
    let call = http.post(format!("{url}/calendly/_echo"));
    let answer = call.header("x-user-id", user).body("hello").send().await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    let (status, body) = (answer.status(), answer.text().await);
    let body = body.map_err(|error| format!("{error:?}"))?;
    if status == 200 && body.contains("\"body_bytes\":5") {
        return Ok(());
    }
    Err(format!("{status}: {body}"))
}

/// Half a megabyte in eight parts, over a second.
async fn upload(url: &str, user: &str) -> Result<(), String> {
    let host = url.strip_prefix("http://").unwrap();
    let answer = async {
        let mut stream = TcpStream::connect(host).await?;
        let part = vec![b'x'; 64 * 1024];
        let head = format!(
            "POST /calendly/_echo HTTP/1.1\r\nHost: {host}\r\nX-User-Id: {user}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            8 * part.len(),
        );
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..8 {
            stream.write_all(&part).await?;
            sleep(Duration::from_millis(125)).await;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let answer: std::io::Result<String> = answer.await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    if answer.starts_with("HTTP/1.1 200") && answer.contains("\"body_bytes\":524288") {
        return Ok(());
    }
    Err(answer)
}

/// Fifteen events, over a second and a half.
async fn stream(http: &reqwest::Client, url: &str, user: &str) -> Result<(), String> {
    let call = http.get(format!("{url}/calendly/_sse?n=15&interval_ms=100"));
    let answer = call.header("x-user-id", user).send().await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    let (status, body) = (answer.status(), answer.text().await);
    let body = body.map_err(|error| format!("{error:?}"))?;
    if status == 200 && body.matches("data:").count() == 15 {
        return Ok(());
    }
    Err(format!("{status}: {body}"))
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, kind: Kind, outcome: Result<(), String>, took: Duration) {
        if let Err(why) = outcome {
            self.failed.push(format!("{kind:?}: {why}"));
        }
        *self.done.entry(kind).or_default() += 1;
        if kind == Kind::Call {
            self.longest = self.longest.max(took);
        }
    }
}

fn in_words(all: &[Told]) -> String {
    let mut text = format!(
        "# Rolling restarts\n\n\
         {SERVING} sidecars behind HAProxy, which asks each for `/readyz` every 100 ms, and sends requests to those that \
         are\nready. One after the other is replaced, as a Deployment does it: another one starts and becomes ready, one is \
         told\nto end (`run --linger 1s`) and waited for. Neither the balancer nor an app sends anything again. Real processes, \
         real\nservers. Written by the test, which fails if anything fails:\n\n\
         \x20   DAYPASS_LONG_TESTS=1 cargo test --locked --test end_to_end rolling\n\n\
         {USERS} users' tokens live {LIFETIME_SECS} s each, and renewing one takes {RENEWAL_MS} ms, so that renewals are \
         under way whenever a\nprocess is told to end; so are uploads of a second, event streams of a second and a half, and \
         deliveries to an app that\ntakes up to {DELIVERY_MS} ms. Every body was checked to its end.\n\n"
    );
    let stores: Vec<_> = all.iter().map(|told| told.store).collect();
    writeln!(text, "|  | {} |", stores.join(" | ")).unwrap();
    writeln!(text, "|{}", "---|".repeat(1 + all.len())).unwrap();
    let mut row = |name: &str, value: &dyn Fn(&Told) -> String| {
        let cells: Vec<_> = all.iter().map(value).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    };
    row("time", &|told| format!("{} s", told.lasted.as_secs()));
    row("sidecars replaced", &|told| told.replaced.to_string());
    for (name, kind) in [
        ("calls", Kind::Call),
        ("uploads", Kind::Upload),
        ("event streams", Kind::Stream),
    ] {
        row(name, &|told| told.tally.done[&kind].to_string());
    }
    row("failed requests", &|told| {
        told.tally.failed.len().to_string()
    });
    row("longest call", &|told| {
        format!("{:.1} s", told.tally.longest.as_secs_f32())
    });
    row("renewals", &|told| told.renewals.to_string());
    row("refresh tokens sent twice", &|_| "0".to_owned());
    row("webhooks, each acknowledged at once", &|told| {
        told.webhooks.to_string()
    });
    row("deliveries to the app", &|told| told.deliveries.to_string());
    row("events lost, or out of order", &|_| "0".to_owned());
    text
}
