//! The fleet, troubled for a while and left to settle, again and again; then judged.
//!
//! `DAYPASS_FLEET_SECONDS` says for how long, `DAYPASS_FLEET_SEED` what goes wrong; with
//! `DAYPASS_LONG_TESTS` it is five minutes, and written down. `DAYPASS_FLEET_BINARY` is another binary to
//! put to the test, and then it ends as soon as something is wrong.

use std::{sync::Arc, time::Duration};

use daypass::sandbox::Switches;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    chronicle::{Events, Stored, now},
    dice::Dice,
    fleet::Fleet,
    ground::{Ground, patiently},
    judge::{Judge, Kind, Rules, Verdict, Violation},
    keeper::{Backend, Keeper},
    place::is_another_binary,
    plan::{self, TROUBLE},
    redis_server,
    report::is_long,
    setting,
    strikes::carry_out,
};

mod words;

const PLACES: usize = 5;
const USERS: (usize, usize) = (20, 4);

const RULES: Rules = Rules {
    lease: 3_000,
    timeout: 1_500,
    lifetime: 6_000,
};

/// For how long a connection may be marked whose newest tokens a process still holds: the patience of a
/// store's client, and two offers of a spool.
const STORED_LATE: Duration = Duration::from_secs(15);

/// Renewals all the time, and no failure that is waited out for long.
const SETTINGS: &[&str] = &[
    "refresh.lease_ttl=3s",
    "refresh.timeout=1500ms",
    "refresh.cooldown=200ms",
    "refresh.cooldown_max=1s",
    "refresh.force_interval=1s",
    "outbound.response_timeout=5s",
    "telemetry.log=info,daypass::access=warn",
];

/// A run, its rounds and what was lost in them.
struct Run {
    fleet: Arc<Fleet>,
    dice: Dice,
    signals: &'static [&'static str],
    verdict: Verdict,
    /// How long it took until everything worked again, each time.
    settling: Vec<Duration>,
    /// How many connections were marked until the process that had their newest tokens stored them.
    came_back: u32,
}

/// What a run has come to.
struct Outcome {
    seed: u64,
    took: Duration,
    /// How many processes there were.
    processes: u32,
    events: Events,
    verdict: Verdict,
    settling: Vec<Duration>,
    came_back: u32,
}

// === impl Run ===

impl Run {
    /// Things go wrong for a while.
    async fn trouble(&self) {
        let scope = (PLACES, self.fleet.users.len());
        let strikes = plan::round(&self.dice, self.fleet.backend, self.signals, scope);
        let begun = Instant::now();
        let all = strikes.into_iter().map(|(at, strike)| {
            let fleet = Arc::clone(&self.fleet);
            async move {
                sleep_until(begun + at).await;
                carry_out(&fleet, strike).await;
            }
        });
        join_all(all).await;
        sleep_until(begun + TROUBLE).await;
        // A fault that nobody met would be met in peace.
        let forget = |switches: &mut Switches| switches.token_faults.clear();
        self.fleet.ground.sandbox.calendly().set(forget);
        self.fleet.ground.sandbox.calcom().set(forget);
    }

    /// Nothing goes wrong until everything works; who was lost connects again.
    async fn settle(&mut self) {
        let begun = Instant::now();
        if let Err(waited_for) = self.settled().await {
            let (kind, what) = (Kind::Unsettled, waited_for);
            self.verdict.violations.push(Violation { kind, what });
        }
        self.settling
            .push(Instant::now().saturating_duration_since(begun));
    }

    async fn settled(&mut self) -> Result<(), String> {
        let (fleet, since) = (Arc::clone(&self.fleet), now());
        patiently("everything is stored, and was renewed since", async || {
            let is_spooled = || {
                let places = &fleet.ground.places;
                places.iter().any(|place| !place.spooled().is_empty())
            };
            // In this order: what a spool was rid of is seen in the store then.
            let stored = !is_spooled() && fleet.look_at_store().await;
            (stored && fleet.renewed_since(since)).then_some(())
        })
        .await?;
        for (mark, judged) in self.lost_for_good().await {
            match judged {
                Ok(why) => *self.verdict.lost.entry(why).or_default() += 1,
                Err(what) => {
                    let kind = Kind::Lost;
                    self.verdict.violations.push(Violation { kind, what });
                    let told = |events: &mut Events| events.story(&mark.user, &mark.token);
                    eprintln!("{}:{}", mark.user, fleet.ground.chronicle.with(told));
                }
            }
            let user = fleet
                .users
                .iter()
                .find(|user| user.key() == mark.user)
                .unwrap();
            fleet.reconnect(user).await;
        }
        let served = (0..PLACES).map(|place| {
            let fleet = &fleet;
            async move {
                for user in &fleet.users {
                    let what = format!("{} is served at {place}", user.key());
                    patiently(&what, async || {
                        let outcome = fleet.call(place, user).await;
                        (outcome.as_deref() == Some("200")).then_some(())
                    })
                    .await?;
                }
                Ok(())
            }
        });
        join_all(served).await.into_iter().collect()
    }

    /// Who is marked, and why it had to be; or what is wrong with it, if that lasts. Tokens on their way
    /// to the store win over a mark.
    async fn lost_for_good(&mut self) -> Vec<(Stored, Result<String, String>)> {
        let fleet = Arc::clone(&self.fleet);
        let marked = || {
            let states = fleet.in_store().into_values();
            let marks = states.filter(|state| state.marked.is_some());
            let judge = |mark: &Stored| {
                let chronicle = &fleet.ground.chronicle;
                chronicle.with(|events| Judge::new(events, RULES).lost(mark))
            };
            let judged = marks.map(|mark| {
                let judged = judge(&mark);
                (mark, judged)
            });
            judged.collect::<Vec<_>>()
        };
        let begun = Instant::now();
        let first = marked();
        let mut last = first.clone();
        while last.iter().any(|(_, judged)| judged.is_err())
            && Instant::now().saturating_duration_since(begun) < STORED_LATE
        {
            sleep(Duration::from_millis(50)).await;
            fleet.look_at_store().await;
            last = marked();
        }
        let is_back = |(was, _): &&(Stored, _)| !last.iter().any(|(mark, _)| mark.user == was.user);
        self.came_back += u32::try_from(first.iter().filter(is_back).count()).unwrap();
        last
    }

    /// What the judge says of everything so far.
    async fn judged(&self) -> (Events, Verdict) {
        sleep(Duration::from_millis(100)).await;
        self.fleet.read_providers();
        let events = self.fleet.ground.chronicle.with(|events| events.clone());
        let judged = Judge::new(&events, RULES).all();
        let verdict = Verdict {
            violations: [self.verdict.violations.clone(), judged.violations].concat(),
            again: judged.again,
            lost: self.verdict.lost.clone(),
        };
        (events, verdict)
    }
}

/// Runs a fleet on `backend` for the default time, or as long as it is told to.
async fn soak(backend: Backend, default_secs: u64) {
    let seed = setting("DAYPASS_FLEET_SEED").unwrap_or(1);
    let default_secs = if is_long() { 300 } else { default_secs };
    let secs = setting("DAYPASS_FLEET_SECONDS").unwrap_or(default_secs);
    let (ground, signals) = ground(backend, seed).await;
    let short = |switches: &mut Switches| {
        switches.access_lifetime_secs = Some(u64::try_from(RULES.lifetime).unwrap() / 1000);
    };
    ground.sandbox.calendly().set(short);
    ground.sandbox.calcom().set(short);
    let fleet = Arc::new(Fleet::open(ground, backend, USERS).await);
    let mut watching = vec![
        tokio::spawn(Arc::clone(&fleet).watch_store()),
        tokio::spawn(Arc::clone(&fleet).watch_providers()),
    ];
    let begun = Instant::now();
    watching.extend(fleet.begin_load(seed));
    let mut run = Run {
        fleet: Arc::clone(&fleet),
        dice: Dice::new(seed),
        signals,
        verdict: Verdict::default(),
        settling: Vec::new(),
        came_back: 0,
    };
    while Instant::now().saturating_duration_since(begun) < Duration::from_secs(secs) {
        run.trouble().await;
        run.settle().await;
        let is_wrong = is_another_binary() && !run.judged().await.1.violations.is_empty();
        if is_wrong || !run.verdict.violations.is_empty() {
            break;
        }
    }
    let took = Instant::now().saturating_duration_since(begun);
    for task in watching {
        task.abort();
    }
    let (events, verdict) = run.judged().await;
    let outcome = Outcome {
        seed,
        took,
        processes: fleet.ground.places.iter().map(|place| place.life()).sum(),
        events,
        verdict,
        settling: run.settling,
        came_back: run.came_back,
    };
    words::tell(backend, &outcome);
    let mut violations = outcome.verdict.violations;
    violations.sort_by_key(|violation| violation.kind);
    for violation in &violations {
        eprintln!("VIOLATION: {violation}");
    }
    assert!(
        violations.is_empty(),
        "DAYPASS_FLEET_SEED={seed} DAYPASS_FLEET_SECONDS={secs} cargo test --test fleet soak"
    );
}

/// A fleet's ground, and the signals that its store may be ended by without losing anything.
async fn ground(backend: Backend, seed: u64) -> (Ground, &'static [&'static str]) {
    if backend != Backend::Redis {
        let ground = Ground::open(backend, PLACES, SETTINGS).await;
        let is_postgres = backend == Backend::Postgres;
        let signals: &[&str] = if is_postgres {
            &["INT", "QUIT", "KILL"]
        } else {
            &["KILL", "TERM"]
        };
        return (ground, signals);
    }
    // What a crash could cost a store that syncs every second, an orderly end does not.
    let (sync, signals): (_, &[&str]) = if seed % 2 == 1 {
        ("always", &["KILL", "TERM"])
    } else {
        ("everysec", &["TERM"])
    };
    let kept = ["--appendonly", "yes", "--appendfsync", sync];
    let keeper = Keeper::Redis(redis_server::Server::start(&kept));
    let home = tempfile::tempdir().unwrap();
    (Ground::on(keeper, home, PLACES, SETTINGS).await, signals)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_postgresql_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Postgres, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_redis_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Redis, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_a_redis_cluster_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Cluster, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_sqlite_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Sqlite, 10).await;
}
