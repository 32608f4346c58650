//! Exact copies: read whole, written whole, and never over something newer.

use std::time::Duration;

use daypass::{
    base::{
        clock::Timestamp,
        ids::{Generation, GrantId},
    },
    store::{
        Attempt, Begun, Committed, Connection, Cooldown, Due, Filter, Found, Intent, Lease,
        NewConnection, ReauthReason, Record, Redemption, Restored, Saved, Spent, Status,
    },
};

use crate::bench::{
    Bench, START, TTL, calendly, cooldown, fence, key, new, owner, renewed, tokens,
};

/// A connection that has all that one can have, at generation 7.
fn everything(user: &str) -> Record {
    let later = |secs| START.saturating_add(Duration::from_secs(secs));
    let mut tokens = tokens("kept");
    tokens.refresh_expires_at = Some(later(90 * 86_400));
    let connection = Connection {
        key: key("calcom", user),
        id: new(&calendly(user), "").id,
        status: Status::NeedsReauth {
            reason: ReauthReason::LostRotation,
            since: later(5),
        },
        generation: Generation::new(7),
        grant: GrantId::from_stored(i64::MAX).unwrap(),
        tokens: Some(tokens),
        external_id: Some("über \u{1f511}".to_owned()),
        organization: Some("https://api.calendly.com/organizations/O1".to_owned()),
        managed_user_id: Some(i64::MAX),
        scope: Some("READ_PROFILE BOOKING_READ".to_owned()),
        intent: Some(Intent {
            owner: owner(),
            redemption: Redemption::Force,
            attempts: 3,
            at: later(4),
        }),
        cooldown: Some(Cooldown {
            until: later(300),
            failures: 9,
        }),
        forced_at: Some(later(2)),
        created_at: START.saturating_sub(Duration::from_hours(1)),
        updated_at: later(6),
    };
    Record {
        connection,
        before: Some(Attempt {
            owner: owner(),
            redemption: Redemption::Standard,
            at: later(3),
        }),
        fingerprint: Some([0xfe; 32]),
    }
}

/// A connection of which nothing is known but that it is.
fn nothing(user: &str) -> Record {
    let all = everything(user);
    Record {
        connection: Connection {
            status: Status::Active,
            generation: Generation::NONE,
            grant: GrantId::UNNAMED,
            tokens: None,
            external_id: None,
            organization: None,
            managed_user_id: None,
            scope: None,
            intent: None,
            cooldown: None,
            forced_at: None,
            ..all.connection
        },
        before: None,
        fingerprint: None,
    }
}

/// As `record`, at `generation`, changed last at `updated_at`.
fn at(record: &Record, generation: u64, updated_at: Timestamp) -> Record {
    let mut changed = record.clone();
    changed.connection.generation = Generation::new(generation);
    changed.connection.updated_at = updated_at;
    changed.connection.scope = Some(format!("{generation} at {updated_at}"));
    changed
}

async fn restore(bench: &Bench, record: &Record) -> Restored {
    let done = bench.archive.restore(vec![record.clone()]).await.unwrap();
    let [done] = done.as_slice() else {
        panic!("{done:?}");
    };
    *done
}

/// What is kept of the connection of `record`, and whether it is leased.
async fn kept(bench: &Bench, record: &Record) -> (Record, bool) {
    let found = bench.archive.record(&record.connection.key).await.unwrap();
    match found {
        Some(Found::Whole { record, leased }) => (*record, leased),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_copy_reads_back_as_it_was(bench: &Bench) {
    for record in [everything("all"), nothing("none")] {
        assert_eq!(restore(bench, &record).await, Restored::Written);
        assert_eq!(kept(bench, &record).await, (record.clone(), false));
        assert_eq!(bench.read(&record.connection.key).await, record.connection);
    }
    let absent = bench.archive.record(&calendly("absent")).await.unwrap();
    assert!(absent.is_none());
}

pub(crate) async fn copies_follow_each_other_in_the_order_of_keys(bench: &Bench) {
    let mut asked = Vec::new();
    for (provider, user) in [
        ("calendly", "a"),
        ("calcom", "~"),
        ("calcom", "A"),
        ("calcom", "a"),
    ] {
        let mut record = everything(user);
        record.connection.key = key(provider, user);
        asked.push(record);
    }
    bench.archive.restore(asked.clone()).await.unwrap();
    let mut walked: Vec<Record> = Vec::new();
    loop {
        let after = walked.last().map(|record| &record.connection.key);
        let page = bench.archive.records(after, 3).await.unwrap();
        let full = page.len() == 3;
        walked.extend(page.into_iter().map(|found| match found {
            Found::Whole { record, .. } => *record,
            Found::Broken { .. } => panic!("{found:?}"),
        }));
        if !full {
            break;
        }
    }
    asked.sort_by(|one, other| one.connection.key.cmp(&other.connection.key));
    assert_eq!(walked, asked);
}

pub(crate) async fn a_copy_replaces_what_is_older(bench: &Bench) {
    let first = everything("anna");
    let (now, earlier) = (
        first.connection.updated_at,
        first.connection.updated_at.saturating_sub(TTL),
    );
    restore(bench, &first).await;
    // Newer tokens count, whatever the clocks say; then the last change; and the same again is fine.
    for newer in [
        at(&nothing("anna"), 8, earlier),
        at(&first, 8, now),
        at(&first, 8, now),
        at(&first, 9, earlier),
    ] {
        let mut newer = newer;
        newer.connection.id = first.connection.id;
        assert_eq!(restore(bench, &newer).await, Restored::Written);
        assert_eq!(kept(bench, &newer).await.0, newer);
    }
}

pub(crate) async fn a_copy_never_replaces_what_is_newer(bench: &Bench) {
    let stands = everything("anna");
    let (now, later) = (
        stands.connection.updated_at,
        stands.connection.updated_at.saturating_add(TTL),
    );
    restore(bench, &stands).await;
    for older in [
        at(&stands, 6, later),
        at(&stands, 7, now.saturating_sub(Duration::from_millis(1))),
        at(&stands, 0, now),
    ] {
        assert_eq!(restore(bench, &older).await, Restored::Newer);
        assert_eq!(kept(bench, &stands).await.0, stands);
    }
}

pub(crate) async fn a_copy_spares_another_connection_with_its_key(bench: &Bench) {
    let first = bench.connect("anna").await;
    let mut copy = everything("anna");
    copy.connection.key = first.key.clone();
    assert_eq!(restore(bench, &copy).await, Restored::Other);
    assert_eq!(bench.read(&first.key).await, first);
}

pub(crate) async fn each_copy_of_a_batch_has_its_own_outcome_in_its_order(bench: &Bench) {
    let (newer, fresh, older) = (
        everything("newer"),
        everything("fresh"),
        everything("older"),
    );
    let other = everything("other");
    let mut elder = other.clone();
    elder.connection.id = fresh.connection.id;
    let now = newer.connection.updated_at;
    let stand = vec![at(&newer, 9, now), at(&older, 1, now), other.clone()];
    bench.archive.restore(stand).await.unwrap();
    let batch = vec![fresh.clone(), older.clone(), elder, newer.clone()];
    let done = bench.archive.restore(batch).await.unwrap();
    let expected = [
        Restored::Written,
        Restored::Written,
        Restored::Other,
        Restored::Newer,
    ];
    assert_eq!(done, expected);
    assert_eq!(kept(bench, &fresh).await.0, fresh);
    assert_eq!(kept(bench, &older).await.0, older);
    assert_eq!(kept(bench, &other).await.0, other);
    assert!(bench.archive.restore(Vec::new()).await.unwrap().is_empty());
}

pub(crate) async fn a_copy_is_told_to_others_if_it_is_written(bench: &Bench) {
    let record = everything("anna");
    let start = bench.other.changes(None, Duration::ZERO).await.unwrap();
    restore(bench, &record).await;
    let told = bench.other.changes(Some(start.cursor), TTL).await.unwrap();
    assert_eq!(told.keys, Some(vec![record.connection.key.clone()]));
    let mut older = at(&record, 1, START);
    restore(bench, &older).await;
    older.connection.id = everything("another").connection.id;
    restore(bench, &older).await;
    let quiet = bench.other.changes(Some(told.cursor), Duration::ZERO).await;
    assert_eq!(quiet.unwrap().keys, Some(Vec::new()));
}

pub(crate) async fn a_copy_keeps_the_lease_and_shows_it(bench: &Bench) {
    let (record, me) = (everything("anna"), owner());
    let key = record.connection.key.clone();
    restore(bench, &record).await;
    assert!(!kept(bench, &record).await.1);
    bench.lease(&key, me).await;
    assert!(kept(bench, &record).await.1);
    restore(bench, &record).await;
    let asked = bench.other.acquire(&key, owner(), TTL).await.unwrap();
    assert!(matches!(asked, Lease::Held(_)), "{asked:?}");
    bench.clock.advance(TTL);
    assert!(!kept(bench, &record).await.1, "it has ended");
}

/// Removed and restored, with two attempts under way.
async fn moved(bench: &Bench, first: &Connection) {
    let (was, me) = (fence(first), owner());
    let later = START.saturating_add(Duration::from_secs(9));
    bench.lease(&first.key, me).await;
    for (redemption, at) in [(Redemption::Standard, START), (Redemption::Force, later)] {
        let begun = bench.store.begin(&was, me, redemption, at).await.unwrap();
        assert!(matches!(begun, Begun::Recorded { .. }), "{begun:?}");
    }
    let (copy, _) = kept(bench, &everything_of(first)).await;
    bench.store.remove(&first.key).await.unwrap();
    restore(bench, &copy).await;
}

/// What was copied goes on in its new place as it would have in the old one.
pub(crate) async fn a_copy_goes_on_from_where_it_was(bench: &Bench) {
    let line = imported("anna");
    let first = bench.save(line.clone()).await;
    moved(bench, &first).await;
    // The first attempt is remembered behind the second one.
    let was = fence(&first);
    let failed = bench.store.fail(&was, cooldown(), Spent::No).await;
    failed.unwrap();
    let intent = bench.read(&first.key).await.intent.unwrap();
    let shown = (intent.redemption, intent.attempts, intent.at);
    assert_eq!(shown, (Redemption::Standard, 1, START));
    // The same line is recognised.
    let saved = bench.store.save(vec![line]).await.unwrap();
    assert!(matches!(saved.as_slice(), [Saved::Unchanged(_)]));
    // And tokens that were minted from it elsewhere are taken.
    let committed = bench.store.commit(&was, renewed("second")).await.unwrap();
    assert!(matches!(committed, Committed::Stored(_)));
    let read = bench.read(&first.key).await;
    assert_eq!(read.generation, first.generation.next());
    assert_eq!((read.intent, read.cooldown), (None, None));
}

fn imported(user: &str) -> NewConnection {
    NewConnection {
        fingerprint: Some([7; 32]),
        ..new(&calendly(user), "imported")
    }
}

/// Something with the key of `connection`.
fn everything_of(connection: &Connection) -> Record {
    let mut record = everything("any");
    record.connection.key = connection.key.clone();
    record
}

pub(crate) async fn a_copy_is_listed_counted_and_swept_like_any_other(bench: &Bench) {
    let marked = everything("marked");
    let mut active = everything("active");
    active.connection.status = Status::Active;
    active.connection.cooldown = None;
    let due = Due {
        provider: marked.connection.key.provider.clone(),
        renewed_before: START.saturating_add(TTL),
        refresh_ends_before: START,
        now: START,
        longest_cooldown: START.saturating_add(TTL),
        limit: 9,
    };
    bench
        .archive
        .restore(vec![marked.clone(), active.clone()])
        .await
        .unwrap();
    let swept = bench.store.due(&due).await.unwrap();
    assert_eq!(swept, [active.connection.key.clone()]);
    assert_eq!(census(bench).await, [(false, 1), (true, 1)]);
    // A newer copy moves it from one list to the other.
    let mut mended = at(&marked, 8, marked.connection.updated_at);
    mended.connection.status = Status::Active;
    restore(bench, &mended).await;
    assert_eq!(census(bench).await, [(false, 2)]);
    let filter = Filter {
        needs_reauth: Some(true),
        ..Filter::default()
    };
    let page = bench.store.page(&filter, None, 9).await.unwrap();
    assert_eq!(page, Vec::new());
}

async fn census(bench: &Bench) -> Vec<(bool, u64)> {
    let lines = bench.store.census().await.unwrap().into_iter();
    lines.map(|line| (line.needs_reauth, line.count)).collect()
}

pub(crate) async fn every_check_is_felt_in_the_pulse(bench: &Bench) {
    let pulse = async || bench.archive.pulse().await.unwrap();
    let still = pulse().await;
    bench.connect("anna").await;
    assert_eq!(pulse().await, still, "other writes are none");
    bench.other.check().await.unwrap();
    assert!(pulse().await > still);
}
