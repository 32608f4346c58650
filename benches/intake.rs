//! Durable intake: how many events a store accepts, and how long each takes until it would survive a
//! power cut; and how fast they come out again.
//!
//! `cargo bench --bench intake [-- sqlite|postgres]`. Events carry 2 KiB, and are for one of a thousand
//! users each. Every commit waits for the disk, whose own time is told first; server and bench share
//! the machine.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench that cannot be set up has nothing to measure, and says what it has measured"
)]

use std::{
    fs::File,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daypass::{
    app,
    base::{
        clock::{Clock as _, SystemClock},
        ids::{ConnectionKey, EventId, OwnerId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
    },
    http::tls::{self, Alpn},
    store::{
        Everything, NewEvent, Settled,
        postgres::{self, Postgres},
        seal::Sealed,
        sqlite::Sqlite,
    },
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::postgres_server::Server;

#[path = "../tests/store_contract/postgres_server.rs"]
#[expect(dead_code, reason = "tests do more to their servers")]
mod postgres_server;

/// What a webhook of either provider has, headers included.
const PAYLOAD: usize = 2048;

const USERS: u64 = 1000;

/// For each number of callers.
const LASTS: Duration = Duration::from_secs(5);

const HOLD: Duration = Duration::from_secs(15);

fn event(n: u64) -> NewEvent {
    let mut dedupe = [0; 32];
    // As scattered as digests are.
    dedupe[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    dedupe[8..16].copy_from_slice(&n.to_le_bytes());
    let user = UserId::parse(&format!("user-{}", n % USERS)).unwrap();
    let provider = ProviderName::parse("calendly").unwrap();
    NewEvent {
        id: EventId::random(&OsRandom),
        provider: provider.clone(),
        name: "invitee.created".to_owned(),
        dedupe,
        payload: Sealed::from_bytes(vec![7; PAYLOAD]),
        recipients: vec![ConnectionKey { provider, user }],
        accounts: Vec::new(),
        at: SystemClock.now(),
    }
}

/// Accepts events from `callers` callers for a while; how long each took.
async fn intake(store: &Arc<dyn Everything>, callers: usize, next: &AtomicU64) -> Vec<Duration> {
    let end = Instant::now() + LASTS;
    let call = async || {
        let mut took = Vec::new();
        loop {
            let begun = Instant::now();
            if begun >= end {
                return took;
            }
            let event = event(next.fetch_add(1, Ordering::Relaxed));
            store.accept(event).await.unwrap();
            took.push(Instant::now() - begun);
        }
    };
    let all = join_all((0..callers).map(|_| call())).await;
    all.into_iter().flatten().collect()
}

/// One worker claims and settles for a while; how many it has delivered.
async fn drain(store: &Arc<dyn Everything>) -> usize {
    let (me, end) = (OwnerId::random(&OsRandom), Instant::now() + LASTS);
    let mut delivered = 0;
    while Instant::now() < end {
        let claimed = store.claim_lines(me, HOLD, 64).await.unwrap();
        let settling = claimed
            .iter()
            .map(|line| store.settle(line.delivery.id, me, Settled::Delivered));
        let settled = join_all(settling).await;
        assert!(settled.iter().all(|settled| *settled.as_ref().unwrap()));
        delivered += settled.len();
        if settled.is_empty() {
            break;
        }
    }
    delivered
}

async fn measure(name: &str, store: Arc<dyn Everything>) {
    let next = AtomicU64::new(1);
    for callers in [1, 16, 64] {
        let mut took = intake(&store, callers, &next).await;
        took.sort();
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a place in a list of some thousands"
            )]
            let place = (took.len() as f64 * share) as usize;
            took[place.min(took.len() - 1)].as_secs_f64() * 1e3
        };
        println!(
            "{name:<28} {callers:>3} callers {:>8.0} events/s   p50 {:>6.1} ms   p99 {:>6.1} ms   most {:>6.1} ms",
            rate(took.len()),
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
    let delivered = drain(&store).await;
    println!(
        "{name:<28}   1 worker  {:>8.0} deliveries/s claimed and settled",
        rate(delivered)
    );
}

fn rate(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
    let count = count as f64;
    count / LASTS.as_secs_f64()
}

/// How long the disk takes to make 4 KiB last.
fn disk() {
    let folder = folder();
    let mut file = File::create(folder.path().join("probe")).unwrap();
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            Instant::now() - begun
        })
        .collect();
    took.sort();
    println!(
        "the disk: 4 KiB last after {:.2} ms (median), {:.2} ms (99 of 100)",
        took[100].as_secs_f64() * 1e3,
        took[198].as_secs_f64() * 1e3
    );
}

/// On the disk, not in memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

async fn on_postgres(server: &Server, connections: usize) {
    let database = format!("intake_{connections}");
    server.sql("postgres", &format!("CREATE DATABASE {database}"));
    let lifecycle = Lifecycle::new();
    let surroundings = postgres::Surroundings {
        tls: tls::client_config(None, Alpn::Unset).unwrap(),
        lifecycle: lifecycle.clone(),
        random: Arc::new(OsRandom),
    };
    let mut options = postgres::Options::default();
    options.connections = connections;
    let address = postgres::Address::parse(&server.url(&database)).unwrap();
    let store = Postgres::open_with(&address, surroundings, options).await;
    let name = format!("PostgreSQL, {connections} connections");
    measure(&name, Arc::new(store.unwrap())).await;
}

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|word| name.contains(word));
    tls::install_crypto();
    let runtime = app::runtime().unwrap();
    disk();
    if is_asked("sqlite") {
        let folder = folder();
        let store = Sqlite::open(folder.path().join("daypass.db"), Arc::new(SystemClock)).unwrap();
        runtime.block_on(measure("SQLite", Arc::new(store)));
    }
    if is_asked("postgres") {
        let server = Server::start(&[]);
        for connections in [4, 16] {
            runtime.block_on(on_postgres(&server, connections));
        }
    }
}
