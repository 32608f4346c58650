//! The fleet, troubled for a while and left to settle, again and again; then judged.
//!
//! `DAYPASS_FLEET_SECONDS` says for how long, `DAYPASS_FLEET_SEED` what goes wrong.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use daypass::sandbox::Switches;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    chronicle::{Events, Millis, now},
    dice::Dice,
    fleet::Fleet,
    ground::{Ground, until},
    judge::{Judge, Rules, Verdict},
    keeper::{Backend, Keeper},
    plan::{self, TROUBLE},
    redis_server, setting,
    strikes::carry_out,
};

const PLACES: usize = 5;
const USERS: (usize, usize) = (20, 4);

const RULES: Rules = Rules {
    lease: 3_000,
    timeout: 1_500,
    lifetime: 6_000,
};

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
        let (fleet, begun, since) = (Arc::clone(&self.fleet), Instant::now(), now());
        until("everything is stored, and was renewed since", async || {
            let spooled = fleet
                .ground
                .places
                .iter()
                .any(|place| !place.spooled().is_empty());
            (!spooled && fleet.renewed_since(since)).then_some(())
        })
        .await;
        let marked: Vec<_> = fleet
            .in_store()
            .into_values()
            .filter(|state| state.marked.is_some())
            .collect();
        for mark in marked {
            let judged = fleet
                .ground
                .chronicle
                .with(|events| Judge::new(events, RULES).lost(&mark));
            match judged {
                Ok(why) => *self.verdict.lost.entry(why).or_default() += 1,
                Err(wrong) => self.verdict.violations.push(wrong),
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
                    until(&what, async || {
                        let outcome = fleet.call(place, user).await;
                        (outcome.as_deref() == Some("200")).then_some(())
                    })
                    .await;
                }
            }
        });
        join_all(served).await;
        self.settling
            .push(Instant::now().saturating_duration_since(begun));
    }
}

/// Runs a fleet on `backend` for the default time, or as long as it is told to.
async fn soak(backend: Backend, default_secs: u64) {
    let seed = setting("DAYPASS_FLEET_SEED").unwrap_or(1);
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
    };
    while Instant::now().saturating_duration_since(begun) < Duration::from_secs(secs) {
        run.trouble().await;
        run.settle().await;
    }
    for task in watching {
        task.abort();
    }
    sleep(Duration::from_millis(100)).await;
    fleet.read_providers();
    let took = Instant::now().saturating_duration_since(begun);
    let events = fleet.ground.chronicle.with(|events| events.clone());
    let judged = Judge::new(&events, RULES).all();
    let lost = std::mem::take(&mut run.verdict.lost);
    let verdict = Verdict {
        violations: [run.verdict.violations, judged.violations].concat(),
        again: judged.again,
        lost,
    };
    let secs_taken = took.as_secs();
    let title = format!("fleet on {backend:?}, seed {seed}: {secs_taken} s");
    let report = report(&events, &verdict, &run.settling);
    eprintln!("{title}\n{report}");
    assert!(
        verdict.violations.is_empty(),
        "DAYPASS_FLEET_SEED={seed} DAYPASS_FLEET_SECONDS={secs} cargo test --test fleet soak"
    );
}

/// A fleet's ground, and the signals that its store may be ended by without losing anything.
async fn ground(backend: Backend, seed: u64) -> (Ground, &'static [&'static str]) {
    if backend != Backend::Redis {
        let ground = Ground::open(backend, PLACES, SETTINGS).await;
        return (ground, &["INT", "QUIT", "KILL"]);
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

/// What happened, and what the judge says.
fn report(events: &Events, verdict: &Verdict, settling: &[Duration]) -> String {
    let mut waits: Vec<Millis> = events
        .requests
        .iter()
        .map(|request| request.until - request.from)
        .collect();
    waits.sort_unstable();
    let wait = |part: usize| waits[(waits.len() - 1) * part / 1000];
    let longest = settling.iter().max().copied().unwrap_or_default();
    let lines = [
        format!(
            "{PLACES} processes, {} users, {} rounds of {} s of trouble",
            USERS.0 + USERS.1,
            settling.len(),
            TROUBLE.as_secs(),
        ),
        format!(
            "requests: {}",
            count(events.requests.iter().map(|request| &*request.outcome))
        ),
        format!(
            "waits: {} ms median, {} ms one in a hundred, {} ms one in a thousand, {} ms at most",
            wait(500),
            wait(990),
            wait(999),
            wait(1000)
        ),
        format!(
            "redemptions: {} sent, {} accepted, {} refused",
            events.sendings.len(),
            events.accepted.len(),
            events.refused.values().sum::<u64>(),
        ),
        format!(
            "faults: {}",
            count(events.faults.iter().map(|fault| fault.what))
        ),
        format!(
            "users who connected again: {}",
            events.reconnected.len() / 2
        ),
        format!(
            "spent tokens sent again, explained by: {}",
            list(&verdict.again)
        ),
        format!("connections lost, explained by: {}", list(&verdict.lost)),
        format!("everything worked again after {longest:.1?} at most"),
        format!(
            "spent twice, lost, wrong, unanswered, withheld without explanation: {}",
            verdict.violations.len()
        ),
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "  {line}").unwrap();
    }
    for violation in &verdict.violations {
        writeln!(text, "  VIOLATION: {violation}").unwrap();
    }
    text
}

fn count<'w>(what: impl Iterator<Item = &'w str>) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    what.for_each(|one| *counts.entry(one.to_owned()).or_default() += 1);
    list(&counts)
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<_> = counts
        .iter()
        .map(|(what, n)| format!("{what}: {n}"))
        .collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_postgresql_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Postgres, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_redis_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Redis, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_on_sqlite_spends_nothing_twice_and_loses_nothing() {
    soak(Backend::Sqlite, 15).await;
}
