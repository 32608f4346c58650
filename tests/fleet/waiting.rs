//! Waiters: how soon a process learns that another has renewed. By notification within milliseconds;
//! where notifications are lost, by looking; at a file, always by looking.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::{
    chronicle::{Millis, now},
    ground::{Ground, line},
    keeper::{Backend, Keeper},
    postgres_server::{Bouncer, Server},
    redis_server::{self, cli},
};

const ROUNDS: usize = 9;

/// What a notification takes, at most, on a machine that does much else: half the time between two
/// looks, and far less than any look would need on average.
const NOTIFIED: Millis = 150;

/// Longer than the time between two looks, on such a machine.
const LOOKED: Millis = 2_000;

/// PostgreSQL that remembers when what was committed.
const TIMED: &[&str] = &["fsync=off", "track_commit_timestamp=on"];

/// How long after the commit by one process the waiting request of another was answered.
struct Waits(Vec<Millis>);

impl Waits {
    fn median(&self) -> Millis {
        self.0[self.0.len() / 2]
    }

    fn longest(&self) -> Millis {
        *self.0.last().unwrap()
    }

    fn told(self, of: &str) -> Self {
        eprintln!(
            "waiting, {of}: a waiter has its answer {} ms after the commit (median), {} ms at most",
            self.median(),
            self.longest()
        );
        self
    }
}

/// Two processes: the first renews slowly, the second waits. When the commit was, `committed` tells.
async fn waits(ground: &Ground, committed: impl AsyncFn(&str) -> Millis) -> Waits {
    let users: Vec<String> = (0..ROUNDS).map(|round| format!("user-{round}")).collect();
    let lines = users.iter().map(|user| {
        let mut line = line("calendly", &ground.calendly_user(user));
        line["expires_at"] = json!("2020-01-01T00:00:00Z");
        line
    });
    ground.import(&lines.collect::<Vec<_>>()).await;
    ground.start().await;
    let calendly = ground.sandbox.calendly();
    calendly.set(|switches| switches.token_latency_ms = 300);
    let mut waits = Vec::new();
    for user in &users {
        let renewing = ground.get(0, user, "/calendly/users/me");
        let waiting = async {
            sleep(Duration::from_millis(120)).await;
            let answer = ground.get(1, user, "/calendly/users/me").await;
            (answer, now())
        };
        let (renewed, (waited, at)) = tokio::join!(renewing, waiting);
        renewed.must_be(200);
        waited.must_be(200);
        waits.push(at - committed(user).await);
    }
    let minted = calendly.stats().minted();
    assert_eq!(minted, u64::try_from(ROUNDS).unwrap(), "one call each");
    waits.sort_unstable();
    Waits(waits)
}

async fn postgres(server: Server, settings: &[&str]) -> Waits {
    let home = tempfile::tempdir().unwrap();
    let ground = Ground::on(Keeper::Postgres(server), home, 2, settings).await;
    waits(&ground, async |user| {
        let sql = format!(
            "SELECT (extract(epoch FROM pg_xact_commit_timestamp(((xid % 4294967296)::text)::xid)) \
             * 1000)::int8 FROM daypass.changes WHERE user_id = '{user}' ORDER BY seq DESC LIMIT 1"
        );
        let keeper = ground.keeper.lock();
        let Keeper::Postgres(server) = &*keeper else {
            unreachable!()
        };
        server.sql("postgres", &sql).parse().unwrap()
    })
    .await
}

async fn redis(server: redis_server::Server, settings: &[&str]) -> Waits {
    let (port, home) = (server.port, tempfile::tempdir().unwrap());
    let ground = Ground::on(Keeper::Redis(server), home, 2, settings).await;
    waits(&ground, async |user| {
        let log = cli(port, &["XREVRANGE", "{daypass:log}:log", "+", "-"]);
        let lines: Vec<&str> = log.lines().collect();
        let name = format!("calendly {user}");
        let entry = lines.chunks(3).find(|entry| entry[2] == name).unwrap();
        entry[0].split('-').next().unwrap().parse().unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_tells_waiters_within_milliseconds() {
    let waits = postgres(Server::start(TIMED), &[]).await;
    assert!(waits.told("PostgreSQL, notified").median() < NOTIFIED);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_that_delivers_no_notifications_waiters_look() {
    let server = Server::start(TIMED);
    let bouncer = Bouncer::before(&server);
    let url = format!("store.url={}", bouncer.url("postgres"));
    let waits = postgres(server, &[&url]).await;
    assert!(waits.told("PostgreSQL behind PgBouncer, looking").longest() < LOOKED);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_tells_waiters_within_milliseconds() {
    let waits = redis(redis_server::Server::start(&[]), &[]).await;
    assert!(waits.told("Redis, notified").median() < NOTIFIED);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_to_subscribe_waiters_look() {
    let server = redis_server::Server::start(&[]);
    let deaf = [
        "ACL",
        "SETUSER",
        "deaf",
        "on",
        ">password",
        "~*",
        "&*",
        "+@all",
    ];
    let deaf = [&deaf[..], &["-subscribe", "-publish"]].concat();
    assert_eq!(cli(server.port, &deaf), "OK");
    let url = format!("store.url=redis://deaf:password@127.0.0.1:{}", server.port);
    let waits = redis(server, &[&url]).await;
    assert!(
        waits
            .told("Redis without publish and subscribe, looking")
            .longest()
            < LOOKED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_file_waiters_look() {
    let ground = Ground::open(Backend::Sqlite, 2, &[]).await;
    let path = ground.path("daypass.db");
    let waits = waits(&ground, async |user| {
        let db = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT updated_at FROM connections WHERE user = ?1";
        db.query_row(sql, [user], |row| row.get(0)).unwrap()
    })
    .await;
    assert!(waits.told("SQLite, looking").longest() < LOOKED);
}
