//! What is asked often, over many rows: it reads what it returns and little else.

use std::time::Duration;

use daypass::{
    base::{
        clock::Timestamp,
        ids::{EventId, ProviderName, UserId},
        random::OsRandom,
    },
    store::{
        Accepted, Accounts, Deliveries, DeliveryFilter, DeliveryStatus, Digest, Existing, Expiring,
        JobKind, Jobs, MeetingFilter, Meetings, NewEvent, Purpose, Settled,
        postgres::{Options, Postgres},
        seal::Sealed,
    },
};

use crate::{
    postgres_server::{FAST, Server},
    records::{AT, key, open_with, owner},
};

/// Of each sort 30,000, of which ten are due.
const MANY: &str = "
    INSERT INTO daypass.connections (provider, user_id, id, generation, external_id, managed_user_id,
        created_at, updated_at)
    SELECT 'calendly', 'user-' || n, decode(md5(n::text), 'hex'), 0,
        CASE WHEN n % 3 = 0 THEN 'account-' || n END, CASE WHEN n % 3 = 1 THEN n END, 0, 0
    FROM generate_series(1, 30000) n;
    INSERT INTO daypass.events (id, dedupe, provider, name, accepted_at, payload)
    SELECT decode(md5(n::text), 'hex'), sha256(n::text::bytea), 'calendly', 'name', n, 'payload'
    FROM generate_series(1, 90000) n;
    INSERT INTO daypass.deliveries (event, user_id, status, place, at, provider, accepted_at)
    SELECT n, CASE WHEN n <= 60000 THEN 'user-' || n % 30000 END, CASE WHEN n <= 30000 THEN 'pending'
        WHEN n <= 60000 THEN 'delivered' ELSE 'unrouted' END, 1, n, 'calendly', n
    FROM generate_series(1, 90000) n;
    INSERT INTO daypass.lines (user_id, tail, due_at, since)
    SELECT 'user-' || n % 30000, 1, CASE WHEN n % 3000 = 0 THEN n ELSE 9000000000000000 END, n
    FROM generate_series(1, 30000) n;
    INSERT INTO daypass.waiting (provider, account, event)
    SELECT 'calendly', 'account-' || n, n FROM generate_series(60001, 90000) n;
    INSERT INTO daypass.jobs (kind, provider, user_id, due_at, since, updated_at)
    SELECT 'sync', 'calendly', 'user-' || n,
        CASE WHEN n % 3000 = 0 THEN n ELSE 9000000000000000 END, n, 0
    FROM generate_series(1, 30000) n;
    INSERT INTO daypass.expiring (purpose, digest, record, ends_at)
    SELECT 'ticket', sha256(n::text::bytea), 'record',
        CASE WHEN n % 3000 = 0 THEN n ELSE 9000000000000000 END
    FROM generate_series(1, 30000) n;
    INSERT INTO daypass.meetings (provider, user_id, external_id, status, is_over, starts_at, ends_at,
        version, details)
    SELECT 'calendly', 'user-' || n % 3000, 'meeting-' || n, 'scheduled', false, n, n, 0, 'details'
    FROM generate_series(1, 30000) n;
    VACUUM ANALYZE;
    SELECT pg_stat_reset();";

/// Rows that were read without an index, and entries of indexes that were read.
const READ: &str = "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables \
        WHERE schemaname = 'daypass' AND relname NOT IN ('schema_versions', 'feed')) \
    || ' ' || (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = 'daypass')";

fn calendly() -> ProviderName {
    ProviderName::parse("calendly").unwrap()
}

fn event(first: u8, users: &[&str]) -> NewEvent {
    let mut dedupe = [0; 32];
    dedupe[0] = first;
    NewEvent {
        id: EventId::random(&OsRandom),
        provider: calendly(),
        name: "name".to_owned(),
        dedupe,
        payload: Sealed::from_bytes(vec![0; 2048]),
        recipients: users.iter().map(|user| key(user)).collect(),
        accounts: Vec::new(),
        at: AT,
    }
}

async fn take_events(store: &Postgres) {
    let accepted = store.accept(event(1, &["user-1", "user-2"])).await.unwrap();
    assert!(matches!(accepted, Accepted::New { .. }), "{accepted:?}");
    let accepted = store.accept(event(1, &["user-2", "user-3"])).await.unwrap();
    assert!(
        matches!(accepted, Accepted::Known { added: 1, .. }),
        "{accepted:?}"
    );
    store.accept(event(2, &[])).await.unwrap();
    let adopted = store.adopt("account-70000", &key("user-9")).await.unwrap();
    assert_eq!(adopted, 1);
}

async fn deliver(store: &Postgres) {
    let (me, ttl) = (owner(), Duration::from_secs(15));
    let claimed = store.claim_lines(me, ttl, 5).await.unwrap();
    assert_eq!(claimed.len(), 5);
    let user = claimed[0].delivery.user.clone().unwrap();
    assert!(store.hold_line(&user, me, ttl).await.unwrap());
    for line in claimed {
        let settled = store.settle(line.delivery.id, me, Settled::Delivered);
        assert!(settled.await.unwrap());
        assert!(store.replay(line.delivery.id).await.unwrap());
    }
}

async fn list(store: &Postgres) {
    let newest = store.deliveries(&DeliveryFilter::default(), None, 9).await;
    let before = newest.unwrap().last().map(|last| last.id);
    let filters = [
        DeliveryFilter::default(),
        DeliveryFilter {
            user: UserId::parse("user-7").ok(),
            ..DeliveryFilter::default()
        },
        DeliveryFilter {
            status: Some(DeliveryStatus::Dead),
            ..DeliveryFilter::default()
        },
        DeliveryFilter {
            status: Some(DeliveryStatus::Pending),
            ..DeliveryFilter::default()
        },
        DeliveryFilter {
            since: Some(Timestamp::from_millis(40_000)),
            until: Some(Timestamp::from_millis(40_010)),
            ..DeliveryFilter::default()
        },
    ];
    for filter in filters {
        store.deliveries(&filter, before, 9).await.unwrap();
    }
    let meetings = MeetingFilter {
        user: UserId::parse("user-7").unwrap(),
        provider: None,
        from: None,
        until: None,
    };
    assert_eq!(store.meetings(&meetings, None, 9).await.unwrap().len(), 9);
}

async fn work(store: &Postgres) {
    let (me, ttl) = (owner(), Duration::from_secs(15));
    let jobs = store.claim(JobKind::Sync, me, ttl, 5).await.unwrap();
    assert_eq!(jobs.len(), 5);
    let key = &jobs[0].key;
    let hasten = Existing::Hasten;
    store
        .schedule(JobKind::Sync, key, None, ttl, hasten)
        .await
        .unwrap();
    let finished = store.finish(JobKind::Sync, key, me, None, None).await;
    assert!(finished.unwrap());
}

async fn look_up(store: &Postgres) {
    for account in ["account-3000", "4000", "nobody"] {
        let found = store.of_account(&calendly(), account).await.unwrap();
        assert_eq!(found.len(), usize::from(account != "nobody"));
    }
    let unknown = store.unidentified(&calendly(), None, 5).await.unwrap();
    assert_eq!(unknown.len(), 5);
    let digest = Digest([0; 32]);
    assert_eq!(store.peek(Purpose::Ticket, &digest).await.unwrap(), None);
    assert_eq!(store.take(Purpose::Ticket, &digest).await.unwrap(), None);
}

async fn forget(store: &Postgres) {
    assert_eq!(store.sweep(5).await.unwrap(), 5);
    let (old, never) = (Timestamp::from_millis(40_000), Timestamp::EPOCH);
    assert_eq!(store.prune(old, never, 5).await.unwrap(), 5);
    assert_eq!(store.prune_meetings(old, 5).await.unwrap(), 5);
}

#[tokio::test]
async fn what_is_asked_often_reads_what_it_returns_and_little_else() {
    let server = Server::start(FAST);
    let url = server.url("postgres");
    let mut options = Options::default();
    options.listen = false;
    drop(open_with(&url, options.clone()).await.unwrap());
    for statement in MANY.split_inclusive(';') {
        server.sql("postgres", statement);
    }
    let store = open_with(&url, options).await.unwrap();
    take_events(&store).await;
    deliver(&store).await;
    list(&store).await;
    work(&store).await;
    look_up(&store).await;
    forget(&store).await;
    drop(store);

    // Sessions report what they have read when they end.
    let mut read = String::new();
    for _try in 0..100 {
        read = server.sql("postgres", READ);
        if !read.is_empty() && !read.ends_with(" 0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (unguided, guided) = read.split_once(' ').unwrap();
    let [unguided, guided] = [unguided, guided].map(|count| count.parse::<u32>().unwrap());
    assert_eq!(unguided, 0, "rows that were read without an index");
    assert!(guided < 1000, "{guided} entries of indexes were read");
}
