//! The server's own time is set back by a year. No test can do that to it, so what was written is set
//! forward instead. The contract of a store tries all the rest, by a clock of its own.

use std::time::Duration;

use daypass::{
    base::{ids::OwnerId, random::OsRandom},
    store::{Deliveries, Existing, JobKind, Jobs, Settled, redis::Redis},
};
use tokio::time::{Instant, sleep};

use crate::{
    servers::{Server, cli},
    world::{event, key, open},
};

/// How long everything is claimed or put off for.
const TTL: Duration = Duration::from_millis(300);

/// Longer than anything takes that is not stuck.
const LONG: Duration = Duration::from_secs(30);

const SYNC: JobKind = JobKind::Sync;

/// As if the time had been a year ahead until now: in the sets, in who claims, and in what waits.
const AHEAD: &str = "\
    local year = 31536000000 \
    for _, key in ipairs(redis.call('KEYS', '*')) do \
        local is = redis.call('TYPE', key).ok \
        if is == 'zset' and (string.find(key, ':due$') or string.find(key, ':set$')) then \
            for _, thing in ipairs(redis.call('ZRANGE', key, 0, -1)) do \
                redis.call('ZINCRBY', key, year, thing) \
            end \
        elseif is == 'hash' then \
            for _, field in ipairs({ 'till', 'at', 'due' }) do \
                if redis.call('HEXISTS', key, field) == 1 then \
                    redis.call('HINCRBY', key, field, year) \
                end \
            end \
        end \
    end";

fn set_back(server: &Server) {
    assert_eq!(cli(server.port, &["EVAL", AHEAD, "0"]).trim(), "");
}

/// How long it takes until `attempt` succeeds, asking all the time.
async fn took(mut attempt: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !attempt().await {
        assert!(Instant::now() - begun < LONG, "it never succeeds");
        sleep(Duration::from_millis(10)).await;
    }
    Instant::now() - begun
}

async fn lines(store: &Redis, owner: OwnerId, ttl: Duration) -> usize {
    store.claim_lines(owner, ttl, 9).await.unwrap().len()
}

async fn jobs(store: &Redis, owner: OwnerId, ttl: Duration) -> usize {
    store.claim(SYNC, owner, ttl, 9).await.unwrap().len()
}

async fn started(users: &[&str]) -> (Server, Redis) {
    let server = Server::start(&[]);
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await;
    let store = store.unwrap();
    store.accept(event("one", users)).await.unwrap();
    for user in users {
        let key = key(user);
        let asked = store.schedule(SYNC, &key, None, Duration::ZERO, Existing::Hasten);
        asked.await.unwrap();
    }
    (server, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_before_is_taken_over_after_its_own_length() {
    let (server, store) = started(&["anna", "ben", "carl"]).await;
    let (dead, me) = (OwnerId::random(&OsRandom), OwnerId::random(&OsRandom));
    assert_eq!(lines(&store, dead, TTL).await, 3);
    assert_eq!(jobs(&store, dead, TTL).await, 3);
    set_back(&server);
    assert_eq!(lines(&store, me, LONG).await, 0);
    assert_eq!(jobs(&store, me, LONG).await, 0);
    took(async || lines(&store, me, LONG).await == 3).await;
    took(async || jobs(&store, me, LONG).await == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_off_before_waits_no_longer() {
    let (server, store) = started(&["anna"]).await;
    let me = OwnerId::random(&OsRandom);
    set_back(&server);
    // What is due at once still is.
    let line = store.claim_lines(me, LONG, 9).await.unwrap();
    assert_eq!(line.len(), 1);
    assert_eq!(jobs(&store, me, LONG).await, 1);
    let failed = Settled::Failed {
        what: "HTTP 500".to_owned(),
        next_in: TTL,
    };
    assert!(store.settle(line[0].delivery.id, me, failed).await.unwrap());
    let finished = store.finish(SYNC, &key("anna"), me, None, Some(TTL)).await;
    assert!(finished.unwrap());
    set_back(&server);
    let waited = took(async || lines(&store, me, LONG).await == 1).await;
    assert!(waited >= TTL, "it is put off all the same");
    took(async || jobs(&store, me, LONG).await == 1).await;
}
