//! Outages: the store is down, or the provider's token endpoint is. What works goes on working,
//! nobody storms, and everything is back by itself within seconds.
//!
//! Ten minutes with `DAYPASS_LONG_TESTS=1`, and then written down; seconds without.
//! Every setting but the log's is the default.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    ground::{Answer, Ground, line, until},
    report::is_long,
};

mod store;
mod tokens;
mod words;

const PLACES: usize = 5;

const SETTINGS: &[&str] = &["telemetry.log=info,daypass::access=warn"];

/// What a sidecar needs to find out that all is well again: no retry of its own is further apart.
const BACK: Duration = Duration::from_secs(30);

/// What a busy machine may add to a time.
const LATE: Duration = Duration::from_secs(1);

/// What happened in one part of an outage.
#[derive(Clone, Default)]
struct Part {
    name: &'static str,
    outcomes: BTreeMap<String, u64>,
    /// The longest that anybody waited for one.
    longest: Duration,
    provider_calls: u64,
    store_errors: u64,
    log_lines: u64,
}

/// How long an outage lasts, and what it is told of by.
#[derive(Clone)]
struct Outage {
    long: Duration,
    parts: Vec<Part>,
    /// How long after its end every sidecar was ready, everybody served everywhere, and nothing left in
    /// a spool.
    back: [Duration; 3],
}

// === impl Outage ===

impl Outage {
    fn new() -> Self {
        Self {
            long: Duration::from_secs(if is_long() { 600 } else { 20 }),
            parts: Vec::new(),
            back: [Duration::ZERO; 3],
        }
    }

    /// A minute of ten; of a short one, a tenth.
    fn part(&self) -> Duration {
        self.long / 10
    }
}

/// The figures of all processes together that only grow.
#[derive(Clone, Copy, Default)]
struct Figures {
    provider_calls: u64,
    store_errors: u64,
    log_lines: u64,
}

async fn figures(ground: &Ground) -> Figures {
    let mut sum = Figures::default();
    for place in 0..PLACES {
        let metrics = ground.admin(place, "/metrics").await.body;
        let total = |name: &str| -> u64 {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines
                .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum()
        };
        sum.provider_calls += total("daypass_renewals_total{");
        sum.store_errors += total("daypass_store_errors_total");
        sum.log_lines += u64::try_from(ground.places[place].lines().len()).unwrap();
    }
    sum
}

/// How an answer is called in the table.
fn outcome(answer: &Answer) -> String {
    match answer.slug() {
        slug if slug.is_empty() => answer.status.as_u16().to_string(),
        slug => format!("{} {slug}", answer.status.as_u16()),
    }
}

/// Connects users of Calendly whose tokens live for hours, and are in no memory yet.
async fn connect(ground: &Ground, names: &[String]) {
    let lines = names
        .iter()
        .map(|name| line("calendly", &ground.calendly_user(name)));
    ground.import(&lines.collect::<Vec<_>>()).await;
}

/// Connects users whose tokens were renewed just now, and live for `secs`; they are in every memory.
async fn connect_for(ground: &Ground, names: &[String], secs: u64) {
    let calendly = ground.sandbox.calendly();
    let lines = names.iter().map(|name| {
        let mut line = line("calendly", &ground.calendly_user(name));
        line["expires_at"] = json!("2020-01-01T00:00:00Z");
        line
    });
    ground.import(&lines.collect::<Vec<_>>()).await;
    calendly.set(|switches| switches.access_lifetime_secs = Some(secs));
    served(ground, names, Instant::now()).await;
    calendly.set(|switches| switches.access_lifetime_secs = None);
    calendly.clear_log();
}

fn names(prefix: &str, number: usize) -> Vec<String> {
    (0..number).map(|nth| format!("{prefix}-{nth}")).collect()
}

/// Every one of `users` at every place.
async fn ask_all(ground: &Ground, users: &[String]) -> Vec<(String, usize, Answer)> {
    let asking = users.iter().flat_map(|user| {
        (0..PLACES).map(move |place| async move {
            let answer = ground.get(place, user, "/calendly/users/me").await;
            (user.clone(), place, answer)
        })
    });
    join_all(asking).await
}

/// How long it takes until `users` are served everywhere.
async fn served(ground: &Ground, users: &[String], since: Instant) -> Duration {
    until("everybody is served everywhere", async || {
        let answers = ask_all(ground, users).await;
        for (user, _, answer) in &answers {
            assert_ne!(answer.status, 424, "{user}: {answer:?}");
        }
        answers
            .iter()
            .all(|(_, _, answer)| answer.status == 200)
            .then_some(())
    })
    .await;
    Instant::now().saturating_duration_since(since)
}

/// The health of the whole, and the reason that `component` gives.
async fn ready(ground: &Ground, place: usize, component: &str) -> (String, String) {
    let answer = ground.admin(place, "/readyz").await;
    assert_eq!(answer.status, 200, "it serves what it can: {answer:?}");
    let json = answer.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&json["status"]),
        text(&json["components"][component]["reason"]),
    )
}

async fn everywhere_ready(ground: &Ground, since: Instant) -> Duration {
    until("every sidecar is ready", async || {
        for place in 0..PLACES {
            if ready(ground, place, "store").await.0 != "ready" {
                return None;
            }
        }
        Some(())
    })
    .await;
    Instant::now().saturating_duration_since(since)
}

/// Who asks during an outage, each second, and what the answer may be.
struct Asker<'a> {
    user: &'a str,
    /// Always the same place, or one after the other.
    place: Option<usize>,
    /// Judges an answer that was asked for at that time of the outage.
    may_be: &'a (dyn Fn(Duration, &Answer) -> bool + Sync),
}

impl Outage {
    /// Lets everybody ask until the outage is over, and counts what happened part by part. What is
    /// done at the beginning of each part, and how it is called, `enter` says.
    #[expect(clippy::future_not_send, reason = "awaited where it is made")]
    async fn last(
        &mut self,
        ground: &Ground,
        askers: &[Asker<'_>],
        enter: impl AsyncFn(u32) -> &'static str,
    ) {
        let begun = Instant::now();
        let since = || Instant::now().saturating_duration_since(begun);
        let outcomes = parking_lot::Mutex::new(Vec::new());
        let asking = askers.iter().enumerate().map(|(nth, asker)| {
            let outcomes = &outcomes;
            async move {
                for round in nth.. {
                    let at = since();
                    let place = asker.place.unwrap_or(round % PLACES);
                    let answer = ground.get(place, asker.user, "/calendly/users/me").await;
                    let took = since().saturating_sub(at);
                    let fits = (asker.may_be)(at, &answer);
                    assert!(fits, "{} at {place} after {at:.1?}: {answer:?}", asker.user);
                    outcomes.lock().push((outcome(&answer), took));
                    sleep_until(begun + at + Duration::from_secs(1)).await;
                }
            }
        });
        let counting = async {
            let mut before = figures(ground).await;
            for nth in 1..=10 {
                let name = enter(nth).await;
                sleep_until(begun + self.part() * nth).await;
                let now = figures(ground).await;
                let mut part = Part {
                    name,
                    provider_calls: now.provider_calls - before.provider_calls,
                    store_errors: now.store_errors - before.store_errors,
                    log_lines: now.log_lines - before.log_lines,
                    ..Part::default()
                };
                for (outcome, took) in outcomes.lock().drain(..) {
                    *part.outcomes.entry(outcome).or_default() += 1;
                    part.longest = part.longest.max(took);
                }
                before = now;
                self.parts.push(part);
            }
        };
        tokio::select! {
            _never = join_all(asking) => unreachable!(),
            () = counting => {}
        }
    }

    fn calls(&self) -> u64 {
        self.parts.iter().map(|part| part.provider_calls).sum()
    }
}
