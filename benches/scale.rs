//! What a store of very many connections costs: saving, reading one, the sweep, the census, a page.
//!
//! `cargo bench --bench scale -- URL ROWS [READS]`, on an empty store, or with `0` for READS on one that
//! was filled before: then only a sweep is measured. Prints one JSON object.
//! `benches/scale.py` starts the stores and makes the table of `docs/scaling.md`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot be set up has nothing to measure, and what it measured is printed"
)]

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{Clock, SystemClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, GrantId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::{OsRandom, Random, SeededRandom},
    },
    http::tls::{self, Alpn},
    store::{
        Due, Filter, NewConnection, SealedTokens, SharedStore,
        postgres::{self, Postgres, Surroundings},
        redis::{self, Redis},
        seal::Sealed,
        sqlite::Sqlite,
    },
};
use tokio::time::Instant;

/// As `daypass connections import` does.
const BATCH: usize = 500;

const DAY: Duration = Duration::from_hours(24);

/// Of ten days of grants, those of the last three are due.
const KEEP_ALIVE: Duration = Duration::from_hours(7 * 24);

/// About as many as a sweep asks for.
const SWEPT: usize = 60;

fn provider() -> ProviderName {
    ProviderName::parse("calcom").unwrap()
}

fn key(n: usize) -> ConnectionKey {
    // Spread, so that neighbours in time are none in the order of keys.
    let spread = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ConnectionKey {
        provider: provider(),
        user: UserId::parse(&format!("user-{spread:016x}")).unwrap(),
    }
}

/// As long as an opaque token of a provider is when it is sealed.
fn sealed(random: &dyn Random, length: usize) -> Sealed {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    Sealed::from_bytes(bytes)
}

/// A connection whose grant was renewed some time in the last ten days, and ends after thirty.
fn new(n: usize, rows: usize, random: &dyn Random, now: Timestamp) -> NewConnection {
    let renewed_at = now.saturating_sub(10 * DAY * u32::try_from(n * 1000 / rows).unwrap() / 1000);
    NewConnection {
        key: key(n),
        id: ConnectionId::random(random),
        grant: GrantId::random(random),
        tokens: Some(SealedTokens {
            access: sealed(random, 180),
            refresh: Some(sealed(random, 180)),
            renewed_at,
            access_expires_at: renewed_at.saturating_add(Duration::from_mins(30)),
            refresh_expires_at: Some(renewed_at.saturating_add(30 * DAY)),
        }),
        external_id: Some(format!("{n}")),
        organization: None,
        managed_user_id: None,
        scope: Some("PROFILE_READ BOOKING_READ BOOKING_WRITE".to_owned()),
        fingerprint: Some(random.bytes()),
        at: now,
    }
}

async fn open(url: &str, lifecycle: &Lifecycle) -> SharedStore {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Arc::new(Sqlite::open(path, Arc::new(SystemClock)).unwrap());
    }
    if url.starts_with("postgres:") {
        let surroundings = Surroundings {
            tls: tls::client_config(None, Alpn::Unset).unwrap(),
            lifecycle: lifecycle.clone(),
            random: Arc::new(OsRandom),
        };
        let address = postgres::Address::parse(url).unwrap();
        return Arc::new(Postgres::open(&address, surroundings).await.unwrap());
    }
    let parts = redis::Parts {
        trust: None,
        time: redis::Time::Server,
        random: Arc::new(OsRandom),
        lifecycle: lifecycle.clone(),
    };
    let address = redis::Address::parse(url).unwrap();
    Arc::new(Redis::open(address, parts).await.unwrap())
}

/// The given and the hundredth part of `times`, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> serde_json::Value {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len() - 1);
        times.get(index).unwrap().as_micros()
    };
    serde_json::json!({"p50_us": at(50), "p99_us": at(99)})
}

async fn timed<T>(act: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let done = act.await;
    (Instant::now().saturating_duration_since(begun), done)
}

async fn save(store: &SharedStore, rows: usize, now: Timestamp) -> Duration {
    let random = SeededRandom::new(1);
    let (mut saving, mut n) = (Duration::ZERO, 0);
    while n < rows {
        let end = (n + BATCH).min(rows);
        let batch: Vec<_> = (n..end).map(|n| new(n, rows, &random, now)).collect();
        // A machine that does much else may keep a server from answering in time; saving again
        // completes the batch.
        let mut saved = timed(store.save(batch.clone())).await;
        while saved.1.is_err() {
            eprintln!("again: {:?}", saved.1.err());
            saving += saved.0;
            saved = timed(store.save(batch.clone())).await;
        }
        saving += saved.0;
        n = end;
    }
    saving
}

fn due(now: Timestamp) -> Due {
    Due {
        provider: provider(),
        renewed_before: now.saturating_sub(KEEP_ALIVE),
        refresh_ends_before: now.saturating_add(KEEP_ALIVE),
        now,
        longest_cooldown: now.saturating_add(Duration::from_mins(5)),
        limit: SWEPT,
    }
}

async fn measure(store: &SharedStore, rows: usize, reads: usize) -> serde_json::Value {
    let now = SystemClock.now();
    if reads == 0 {
        let (took, found) = timed(store.due(&due(now))).await;
        return serde_json::json!({"swept": found.unwrap().len(), "sweep_us": took.as_micros()});
    }
    let saving = save(store, rows, now).await;
    let random: &dyn Random = &SeededRandom::new(2);
    let any = || key(usize::try_from(random.next_u64() % rows as u64).unwrap());
    let mut loads = Vec::new();
    for _ in 0..reads {
        let (took, found) = timed(store.load(&any())).await;
        assert!(found.unwrap().is_some());
        loads.push(took);
    }
    let due = due(now);
    let (mut sweeps, mut counts, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let (took, found) = timed(store.due(&due)).await;
        assert_eq!(found.unwrap().len(), SWEPT);
        sweeps.push(took);
        let (took, census) = timed(store.census()).await;
        let count: u64 = census.unwrap().iter().map(|line| line.count).sum();
        assert_eq!(count, rows as u64);
        counts.push(took);
        let (took, page) = timed(store.page(&Filter::default(), Some(&any()), 100)).await;
        assert!(page.unwrap().len() <= 100);
        pages.push(took);
    }
    serde_json::json!({
        "rows": rows,
        "saving_ms": saving.as_millis(),
        "load": percentiles(loads),
        "sweep": percentiles(sweeps),
        "census": percentiles(counts),
        "page": percentiles(pages),
    })
}

fn main() {
    tls::install_crypto();
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [url, rows, reads @ ..] = arguments.as_slice() else {
        println!("nothing to measure: scale URL ROWS [READS]");
        return;
    };
    let rows = rows.parse().unwrap();
    let reads = reads.first().map_or(10_000, |reads| reads.parse().unwrap());
    let runtime = daypass::app::runtime().unwrap();
    let lifecycle = Lifecycle::new();
    let measured = runtime.block_on(async {
        let store = open(url, &lifecycle).await;
        let measured = measure(&store, rows, reads).await;
        lifecycle.drain(Duration::from_secs(5)).await;
        measured
    });
    println!("{measured}");
}
